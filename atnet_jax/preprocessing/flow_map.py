"""The flow map from onset to apex, the input of STSTNet."""

import numpy as np
from jaxtyping import Float32

from atnet_jax.preprocessing.flow_shape import check_flow

MAP_SIZE = 28


def optical_strain(
    flow: Float32[np.ndarray, "height width 2"],
) -> Float32[np.ndarray, "height width"]:
    """Compute the magnitude of the infinitesimal strain (Liong et al., FG 2019, section II).

    The strain is sqrt(u_x² + v_y² + (u_y + v_x)² / 2), with central differences as derivatives
    (one-sided at the border). The strain of a pure shift is 0.

    Args:
        flow: u and v of each pixel, in pixels.

    Returns:
        The strain, a number without unit (pixels per pixel).

    Raises:
        UserError: The array is not a flow.
    """
    check_flow(flow)
    u_y, u_x = np.gradient(flow[..., 0])
    v_y, v_x = np.gradient(flow[..., 1])
    return np.sqrt(u_x**2 + v_y**2 + (u_y + v_x) ** 2 / 2)


def flow_channels(
    flow: Float32[np.ndarray, "height width 2"],
) -> Float32[np.ndarray, "height width 3"]:
    """Return u, v and strain of each pixel of a flow; u and v are in pixels."""
    return np.dstack([flow, optical_strain(flow)])


def flow_map(flow: Float32[np.ndarray, "size size 2"]) -> Float32[np.ndarray, "28 28 3"]:
    """Compute the flow map: u, v and strain of the flow from onset to apex, at 28×28 pixels.

    Strain is computed at the size of the flow. All three are then averaged over the area of each
    pixel of the map.

    Args:
        flow: Flow from onset to apex, u and v of each pixel in pixels; its size is a multiple of
            28.

    Returns:
        u and v (positive to the right and down) in pixels of the flow, and the strain.

    Raises:
        UserError: The array is not a flow of such a size.
    """
    check_flow(flow, MAP_SIZE)
    channels = flow_channels(flow)
    step = len(flow) // MAP_SIZE
    cells = channels.reshape(MAP_SIZE, step, MAP_SIZE, step, 3)
    return cells.mean(axis=(1, 3), dtype=np.float64).astype(np.float32)
