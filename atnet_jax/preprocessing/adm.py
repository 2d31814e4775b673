"""The average direction-magnitude feature (ADM), the input of the temporal stream."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32

from atnet_jax.errors import UserError
from atnet_jax.preprocessing.flow_shape import check_flow
from atnet_jax.preprocessing.window import FLOWS

BLOCKS = 8


def average_direction_magnitude(
    flow: Float32[np.ndarray, "height width 2"], *, circular: bool = False
) -> Float32[np.ndarray, "128"]:
    """Compute the mean direction and magnitude of a flow in each of 8×8 blocks (paper, eqs. 5, 6).

    The paper averages directions arithmetically, so directions just above −π and just below π
    average to about 0. `circular` computes atan2(mean sin θ, mean cos θ) instead.

    Args:
        flow: u and v of each pixel, in pixels; height and width are multiples of 8.
        circular: Use the circular mean of the directions.

    Returns:
        θ₁ ρ₁ θ₂ ρ₂ … θ₆₄ ρ₆₄, blocks row by row, as in the authors' release. θ = atan2(v, u) is
        in (−π, π] radians, clockwise from right as seen in the image, ρ in pixels. A pixel without
        motion has θ = 0.

    Raises:
        UserError: The array is not a flow of such a size.
    """
    check_flow(flow, BLOCKS)
    height, width, _ = flow.shape
    blocks = flow.reshape(BLOCKS, height // BLOCKS, BLOCKS, width // BLOCKS, 2)
    u, v = np.moveaxis(blocks + np.float32(0), -1, 0)  # + 0 turns −0 into 0, whose direction is 0
    direction = np.arctan2(v, u)
    pi = np.float32(np.pi)
    direction[direction == -pi] = pi  # v is so small that float32 rounds the angle to −π

    def mean(values: np.ndarray) -> np.ndarray:
        return values.mean(axis=(1, 3), dtype=np.float64)

    if circular:
        theta = np.arctan2(mean(np.sin(direction)), mean(np.cos(direction)))
    else:
        theta = mean(direction)
    rho = mean(np.hypot(u, v))
    return np.stack([theta, rho], axis=-1).reshape(-1).astype(np.float32)


def adm_matrix(
    flows: Mapping[int, np.ndarray], *, circular: bool = False
) -> Float32[np.ndarray, "64 128"]:
    """Compute the ADM of a clip, one row per flow of the window.

    Args:
        flows: Flows by row 0…63, float32 `[224, 224, 2]` in pixels; rows may be missing.
        circular: Use the circular mean of the directions.

    Returns:
        The rows as `average_direction_magnitude` returns them; rows without a flow are zero.

    Raises:
        UserError: A row does not exist, or an array is not a flow.
    """
    if outside := [row for row in flows if not 0 <= row < FLOWS]:
        raise UserError(f"A flow has the row {outside[0]}, expected 0 to {FLOWS - 1}.")
    matrix = np.zeros((FLOWS, 2 * BLOCKS * BLOCKS), np.float32)
    for row, flow in flows.items():
        matrix[row] = average_direction_magnitude(flow, circular=circular)
    return matrix
