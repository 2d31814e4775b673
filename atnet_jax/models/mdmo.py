"""MDMO and an SVM: main directional mean optical flow of 36 regions of the face. 72 features.

Liu, Zhang, Yan, Wang, Zhao, Fu: A Main Directional Mean Optical Flow Feature for Spontaneous
Micro-expression Recognition, IEEE Transactions on Affective Computing 7(4), 2016. Its abstract was
to be had, not the whole text. Regions and averages follow a public re-implementation, without two
slips of it: there the directions about -45° count as those about 0°, and frames are weighted by the
sum of their angles. The alignment follows published MATLAB code of it.
"""

import dataclasses

import numpy as np
from jaxtyping import Float32
from sklearn.svm import SVC

from atnet_jax.features.mdmo import mdmo
from atnet_jax.preprocessing.optical_flow import FlowMethod
from atnet_jax.preprocessing.prepared_clip import STANDARD_LANDMARKS, PreparedClip

INPUTS = ("frames", "landmarks")
TITLE = "MDMO"
PAPER_ROW = None
DEVIATIONS = (
    "The regions hang on 68 landmarks; those of a standard face, brought onto the five that were"
    " found by an affine map, stand in.",
    "The five landmarks are those of the apex frame, not of the first.",
    "The clip begins with the window's first frame, at most 32 before the apex.",
    "The flow method is the one chosen for all methods; the publication's is not known.",
    "b, C and the radial kernel of the SVM are, rounded, those of a public re-implementation, which"
    " seems to have tuned them on this very composite; the publication's are not known.",
)


@dataclasses.dataclass(frozen=True)
class Features:
    """Frames around the apex → magnitude and direction of each of 36 regions.

    Attributes:
      weight: b, of the magnitudes; directions have 1 - b.
    """

    weight: float = 0.8

    def __call__(self, clip: PreparedClip, flow: FlowMethod) -> Float32[np.ndarray, " feature"]:
        assert clip.frames is not None, "named in INPUTS"
        # A single frame does not move.
        frames = clip.frames if len(clip.frames) > 1 else clip.frames.repeat(2, axis=0)
        smoothed = flow.smooth(frames)
        first = np.broadcast_to(smoothed[:1], smoothed[1:].shape)
        landmarks = STANDARD_LANDMARKS if clip.landmarks is None else clip.landmarks
        return mdmo(flow.solve(first, smoothed[1:]), landmarks, self.weight)

    def machine(self) -> SVC:
        """Radial; not standardised, as b weights magnitudes against directions."""
        return SVC(
            C=28.0,
            kernel="rbf",
            gamma=0.27,  # pyright: ignore[reportArgumentType] (the stubs know only its names)
            decision_function_shape="ovo",
        )
