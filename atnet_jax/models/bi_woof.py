"""Bi-WOOF and an SVM: bi-weighted oriented optical flow from onset to apex. 200 features.

Liong, See, Wong, Phan: Less Is More: Micro-expression Recognition from Video Using Apex Frame,
Signal Processing: Image Communication 62, 2018; blocks, bins and weights as in its released code.
"""

import dataclasses

import numpy as np
from jaxtyping import Float32
from sklearn.svm import SVC

from atnet_jax.features.bi_woof import bi_woof
from atnet_jax.preprocessing.optical_flow import FlowMethod
from atnet_jax.preprocessing.prepared_clip import PreparedClip
from atnet_jax.published import Published

INPUTS = ("flow",)
TITLE = "Bi-WOOF"
PAPER_ROW = None
PUBLISHED = Published(
    cde={
        "full": (0.630, 0.623),
        "smic": (0.573, 0.583),
        "casme2": (0.781, 0.803),
        "samm": (0.521, 0.514),
    },
    note="as printed with STSTNet (FG 2019)",
)
DEVIATIONS = (
    "The flow is that of the prepared data, not TV-L1, on a face crop of 224×224 pixels, not of"
    " 170×140.",
    "Derivatives of the strain are central differences, as in the flow maps; code by others of the"
    " same group has backward ones.",
    "C = 10,000 of the linear SVM is as commonly reported of this method; the released code ends"
    " with the features.",
)


@dataclasses.dataclass(frozen=True)
class Features:
    """Flow from onset to apex → `bins` features for each block.

    Attributes:
      blocks: along each side of the picture.
      bins: of direction, over the whole circle.
    """

    blocks: int = 5
    bins: int = 8

    def __call__(self, clip: PreparedClip, flow: FlowMethod) -> Float32[np.ndarray, " feature"]:
        del flow  # Reads the flow that was prepared.
        assert clip.flow is not None, "named in INPUTS"
        return bi_woof(clip.flow, self.blocks, self.bins)

    def machine(self) -> SVC:
        """Linear; the features are of length 1 and are not standardised."""
        return SVC(C=10_000.0, kernel="linear", decision_function_shape="ovo")
