"""LBP-SIP and an SVM: local binary patterns with six intersection points. 1,500 features.

Wang, See, Phan, Oh: LBP with Six Intersection Points: Reducing Redundant Information in LBP-TOP for
Micro-expression Recognition, ACCV 2014. Its abstract and descriptions of it by others were to be
had, not the whole text.
"""

import dataclasses

import numpy as np
from jaxtyping import Float32
from sklearn.pipeline import Pipeline

from atnet_jax.features.lbp_sip import lbp_sip
from atnet_jax.features.linear_svm import linear_machine
from atnet_jax.features.tim import interpolate
from atnet_jax.preprocessing.optical_flow import FlowMethod
from atnet_jax.preprocessing.prepared_clip import PreparedClip

INPUTS = ("frames",)
TITLE = "LBP-SIP"
PAPER_ROW = None
DEVIATIONS = (
    "Every clip is interpolated to 10 frames (TIM) and the radii are 1 pixel and 1 frame; the"
    " publication's are not known.",
    "The number of levels of the Gaussian pyramid is not known; it has 3.",
    "5×5 blocks on every database; 8×8 are reported for SMIC.",
    "The kernel of the SVM is not known; a linear one, C = 1, on standardised features stands in:"
    " linear as that of three of its authors' Riesz wavelets.",
)


@dataclasses.dataclass(frozen=True)
class Features:
    """Frames around the apex → 20 features for each block and level.

    Attributes:
      blocks: along each side of the picture.
      levels: of the Gaussian pyramid.
      radius: of the neighbours in space, in pixels of the level.
      time_radius: of the neighbours in time, in frames.
      length: frames that every clip is interpolated to.
      interpolation: "tim" or "linear".
    """

    blocks: int = 5
    levels: int = 3
    radius: int = 1
    time_radius: int = 1
    length: int = 10
    interpolation: str = "tim"

    def __call__(self, clip: PreparedClip, flow: FlowMethod) -> Float32[np.ndarray, " feature"]:
        del flow  # Reads the frames alone.
        assert clip.frames is not None, "named in INPUTS"
        frames = interpolate(clip.frames, self.length, self.interpolation)
        return lbp_sip(frames, self.blocks, self.levels, self.radius, self.time_radius)

    def machine(self) -> Pipeline:
        return linear_machine()
