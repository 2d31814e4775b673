"""FDM and an SVM: the facial dynamics map of flows between neighbouring frames. 512 features.

Xu, Zhang, Wang: Microexpression Identification and Categorization Using a Facial Dynamics Map, IEEE
Transactions on Affective Computing 8(2), 2017. Its abstract was to be had, not the whole text: the
steps are its own, how each is done is reconstructed.
"""

import dataclasses

import numpy as np
from jaxtyping import Float32
from sklearn.pipeline import Pipeline

from atnet_jax.features.fdm import facial_dynamics_map
from atnet_jax.features.linear_svm import linear_machine
from atnet_jax.preprocessing.optical_flow import FlowMethod
from atnet_jax.preprocessing.prepared_clip import PreparedClip

INPUTS = ("frames",)
TITLE = "FDM"
PAPER_ROW = None
DEVIATIONS = (
    "The granularity is not known; the clip is cut into 8×8 cuboids in space and 4 in time.",
    "How the principal direction is iterated is not known; here the vectors within 45° of the mean"
    " are averaged until they stay the same.",
    "The shift that aligns a flow is found by mean shift and taken from the flow; frames are not"
    " moved.",
    "Faces are not aligned by landmarks before; they are cropped.",
    "The kernel of the SVM is not known; a linear one, C = 1, on standardised features stands in.",
    "The flow method is the one chosen for all methods.",
)


@dataclasses.dataclass(frozen=True)
class Features:
    """Frames around the apex → two features for each cuboid.

    Attributes:
      blocks: cuboids along each side of the picture.
      parts: cuboids in time.
      angle: what a vector's direction may differ from the principal one, in degrees.
    """

    blocks: int = 8
    parts: int = 4
    angle: float = 45.0

    def __call__(self, clip: PreparedClip, flow: FlowMethod) -> Float32[np.ndarray, " feature"]:
        assert clip.frames is not None, "named in INPUTS"
        # A single frame does not move.
        frames = clip.frames if len(clip.frames) > 1 else clip.frames.repeat(2, axis=0)
        return facial_dynamics_map(flow.flows(frames), self.blocks, self.parts, self.angle)

    def machine(self) -> Pipeline:
        return linear_machine()
