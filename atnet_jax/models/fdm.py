"""FDM and an SVM: the facial dynamics map of flows between neighbouring frames. 512 features.

Only the publication's abstract was available. The steps follow the abstract; their details are
reconstructed.
"""

import dataclasses
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float, Float32, Float64

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
    "The granularity is not known; the clip is divided into 8×8 cuboids in space and 4 in time.",
    "The iteration for the principal direction is not known; here the vectors within 45° of the"
    " mean are averaged until the selected vectors no longer change.",
    "The shift that aligns a flow is found by mean shift and subtracted from the flow; frames are"
    " not moved.",
    "Faces are cropped but not aligned by landmarks first.",
    "The kernel of the SVM is not known; a linear SVM, C = 1, on standardised features is used"
    " instead.",
    "The flow method is the one chosen for all methods.",
)


@dataclasses.dataclass(frozen=True)
class Features(BaseFeatures):
    """Frames around the apex → two features for each cuboid.

    Attributes:
        blocks: Number of cuboids along each side of the picture.
        parts: Number of cuboids in time.
        angle: Largest deviation of a vector's direction from the principal one, in degrees.
    """

    blocks: int = 8
    parts: int = 4
    angle: Annotated[float, number(1, 180)] = 45.0

    def __call__(self, clip: PreparedClip, flow: FlowMethod) -> Float32[np.ndarray, " feature"]:
        assert clip.frames is not None, "named in INPUTS"
        # A clip of a single frame has no motion: repeat the frame to get a flow of zero.
        frames = clip.frames if len(clip.frames) > 1 else clip.frames.repeat(2, axis=0)
        return facial_dynamics_map(flow.flows(frames), self.blocks, self.parts, self.angle)

    def size(self) -> int:
        return 2 * self.blocks**2 * self.parts

    def machine(self) -> Any:
        return linear_machine()


# The search for the mode uses every fourth pixel, which is enough because the flow is smooth.
_STEP = 4
# Both searches converge in a few rounds. These limits end searches that would oscillate.
_MOST_SHIFTS = 50
_MOST_ROUNDS = 20


def facial_dynamics_map(
    flows: Float32[np.ndarray, "flow height width 2"],
    blocks: int = 8,
    parts: int = 4,
    angle: float = 45.0,
) -> Float32[np.ndarray, " feature"]:
    """Compute the principal direction of motion in each cuboid.

    This follows Xu, Zhang and Wang (IEEE Transactions on Affective Computing 2017). Each flow is
    aligned by the shift of most of its pixels (`mode`), which is the head's motion. The clip is
    then divided into cuboids in space and time. Each cuboid is described by the direction of most
    of its motion (`principal_vector`).

    Args:
        flows: Flows between neighbouring frames: u to the right and v downwards, in pixels.
        blocks: Number of cuboids along each side of the picture.
        parts: Number of cuboids in time.
        angle: Largest deviation of a vector's direction from the principal one, in degrees.

    Returns:
        u and v of each cuboid, in pixels per frame: part by part, and row by row within a part. If
        there are fewer flows than parts, a part without a flow is zero.
    """
    still = np.stack([flow - mode(flow[::_STEP, ::_STEP].reshape(-1, 2)) for flow in flows])
    vectors = [
        principal_vector(still[cuboid].reshape(-1, 2), angle)
        for cuboid in cuboids(still.shape[:3], (parts, blocks, blocks))
    ]
    return np.concatenate(vectors, dtype=np.float32)


def mode(vectors: Float[np.ndarray, "vector 2"]) -> Float32[np.ndarray, "2"]:
    """Return the mode of a set of vectors, found by mean shift with a flat kernel.

    The search starts at the median and moves to the mean of all vectors within a radius until it
    no longer moves. The radius is the median distance from the start, so the first circle contains
    half of the vectors, for motions of any size.

    Args:
        vectors: One or more vectors.
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
    """Average the vectors that agree on a direction.

    The search starts with the mean of all vectors. It selects the vectors whose direction differs
    from the mean's by at most `angle`, averages them, and repeats until the selection no longer
    changes.

    Args:
        vectors: Any number of vectors.
        angle: Largest deviation from the mean's direction, in degrees.

    Returns:
        The last mean. The search also ends if no vector is within `angle` of the mean, for example
        if two directions balance. Without vectors the result is zero.
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
