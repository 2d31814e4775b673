"""FDM and an SVM: the facial dynamics map of flows between neighbouring frames. 512 features.

Only the publication's abstract was available: the steps are its own, how each is done is
reconstructed.
"""

import dataclasses
from typing import Annotated

import numpy as np
from jaxtyping import Float, Float32, Float64
from sklearn.pipeline import Pipeline

from atnet_jax.models.handcrafted.blocks import cuboids
from atnet_jax.models.handcrafted.features import BaseFeatures
from atnet_jax.models.handcrafted.svm import linear_machine
from atnet_jax.preprocessing.optical_flow import FlowMethod
from atnet_jax.preprocessing.prepared_clip import PreparedClip
from atnet_jax.values import number

INPUTS = ("frames",)
TITLE = "FDM"
SOURCE = (
    "Xu, Zhang, Wang: Microexpression Identification and Categorization Using a Facial Dynamics"
    " Map, IEEE Transactions on Affective Computing 8(2), 2017"
)
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
class Features(BaseFeatures):
    """Frames around the apex → two features for each cuboid.

    Attributes:
        blocks: Cuboids along each side of the picture.
        parts: Cuboids in time.
        angle: What a vector's direction may differ from the principal one, in degrees.
    """

    blocks: int = 8
    parts: int = 4
    angle: Annotated[float, number(1, 180)] = 45.0

    def __call__(self, clip: PreparedClip, flow: FlowMethod) -> Float32[np.ndarray, " feature"]:
        assert clip.frames is not None, "named in INPUTS"
        # A single frame does not move.
        frames = clip.frames if len(clip.frames) > 1 else clip.frames.repeat(2, axis=0)
        return facial_dynamics_map(flow.flows(frames), self.blocks, self.parts, self.angle)

    def size(self) -> int:
        return 2 * self.blocks**2 * self.parts

    def machine(self) -> Pipeline:
        return linear_machine()


# The search for the mode looks at every how many pixels of the flow, which is smooth.
_STEP = 4
# Both searches settle in a few rounds; these end the ones that would go to and fro.
_MOST_SHIFTS = 50
_MOST_ROUNDS = 20


def facial_dynamics_map(
    flows: Float32[np.ndarray, "flow height width 2"],
    blocks: int = 8,
    parts: int = 4,
    angle: float = 45.0,
) -> Float32[np.ndarray, " feature"]:
    """The principal direction of motion in each cuboid.

    After Xu, Zhang and Wang (IEEE Transactions on Affective Computing 2017): each flow is aligned
    by the shift that most of its pixels follow (`mode`), which is the head's; the clip is cut into
    cuboids in space and time; and each cuboid is described by the one direction that most of its
    motion follows (`principal_vector`).

    Args:
        flows: Between neighbouring frames: u to the right and v downwards, in pixels.
        blocks: Number of cuboids along each side of the picture.
        parts: Number of cuboids in time.
        angle: What a vector's direction may differ from the principal one, in degrees.

    Returns:
        u and v of each cuboid, in pixels per frame: part by part, in each row by row. Where there
        are fewer flows than parts, a part without a flow is zero.
    """
    still = np.stack([flow - mode(flow[::_STEP, ::_STEP].reshape(-1, 2)) for flow in flows])
    vectors = [
        principal_vector(still[cuboid].reshape(-1, 2), angle)
        for cuboid in cuboids(still.shape[:3], (parts, blocks, blocks))
    ]
    return np.concatenate(vectors, dtype=np.float32)


def mode(vectors: Float[np.ndarray, "vector 2"]) -> Float32[np.ndarray, "2"]:
    """The vector around which most of these lie.

    Mean shift with a flat kernel: from the median, move to the mean of all vectors within a radius
    until it stays. The radius is the median distance from the start, so at first it holds half of
    the vectors, and it suits motions of any size.

    Args:
        vectors: One or more.
    """
    vectors = vectors.astype(np.float64)
    centre = np.median(vectors, axis=0)
    radius = np.median(np.hypot(*(vectors - centre).T))
    for _ in range(_MOST_SHIFTS):
        near = np.hypot(*(vectors - centre).T) <= radius
        if not near.any():
            break
        moved = vectors[near].mean(axis=0)
        if np.array_equal(moved, centre):
            break
        centre = moved
    return centre.astype(np.float32)


def principal_vector(
    vectors: Float[np.ndarray, "vector 2"], angle: float
) -> Float64[np.ndarray, "2"]:
    """Mean of the vectors that agree on a direction.

    Start with the mean of all; keep the vectors whose direction differs from the mean's by `angle`
    at most, and average those; repeat until they stay the same.

    Args:
        vectors: Any number.
        angle: In degrees.

    Returns:
        The last mean. If no vector is that near to a mean, as where two directions balance, that
        mean. Of no vectors it is zero.
    """
    if not len(vectors):
        return np.zeros(2)
    components = vectors.T.astype(np.float64, order="C")
    magnitude = np.sqrt((components**2).sum(axis=0))
    nearest = np.cos(np.deg2rad(angle)) * magnitude
    mean = components.mean(axis=1)
    kept = np.ones(len(vectors), bool)
    for _ in range(_MOST_ROUNDS):
        agree = (magnitude > 0) & (mean @ components >= nearest * np.hypot(*mean))
        count = np.count_nonzero(agree)
        if not count or np.array_equal(agree, kept):
            break
        mean, kept = components @ agree / count, agree
    return mean
