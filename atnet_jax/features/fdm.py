"""FDM: the facial dynamics map, the principal direction of motion in each cuboid of a clip."""

import numpy as np
from jaxtyping import Float, Float32, Float64

from atnet_jax.errors import UserError
from atnet_jax.features.blocks import even_slices

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

    Raises:
        UserError: The angle is not in 0…180, or the number of blocks or parts is under 1.
    """
    if not 0 < angle <= 180:
        raise UserError(f"the angle of FDM must be over 0 and at most 180 degrees, not {angle}")
    still = np.stack([flow - mode(flow[::_STEP, ::_STEP].reshape(-1, 2)) for flow in flows])
    cuboids = [
        still[times, rows, columns].reshape(-1, 2)
        for times in even_slices(flows.shape[0], parts)
        for rows in even_slices(flows.shape[1], blocks)
        for columns in even_slices(flows.shape[2], blocks)
    ]
    return np.concatenate([principal_vector(cuboid, angle) for cuboid in cuboids], dtype=np.float32)


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
