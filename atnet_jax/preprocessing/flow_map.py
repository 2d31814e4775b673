"""The map of the flow from onset to apex, the input of STSTNet."""

import numpy as np
from jaxtyping import Float32, UInt8

from atnet_jax.preprocessing.optical_flow import FlowMethod

MAP_SIZE = 28


def optical_strain(
    flow: Float32[np.ndarray, "height width 2"],
) -> Float32[np.ndarray, "height width"]:
    """Magnitude of the infinitesimal strain (Liong et al., FG 2019, section II).

    sqrt(u_x² + v_y² + (u_y + v_x)² / 2), derivatives by central differences (one-sided at the
    border), so a pure shift has none.

    Args:
        flow: u and v of each pixel, in pixels.

    Returns:
        The strain, without unit (pixels per pixel).
    """
    u_y, u_x = np.gradient(flow[..., 0])
    v_y, v_x = np.gradient(flow[..., 1])
    return np.sqrt(u_x**2 + v_y**2 + (u_y + v_x) ** 2 / 2)


def flow_map(
    onset: UInt8[np.ndarray, "size size"], apex: UInt8[np.ndarray, "size size"], flow: FlowMethod
) -> Float32[np.ndarray, "28 28 3"]:
    """Flow from onset to apex and its strain, as a small picture of three channels.

    Flow and strain are computed at the size of the crops and then averaged over the area of each
    of the map's pixels.

    Args:
        onset: Crop of the onset frame; its size is a multiple of 28.
        apex: The same crop of the apex frame.
        flow: The flow method.

    Returns:
        u and v in pixels of the crop (right and down positive), and the strain.
    """
    motion = flow(onset, apex)
    channels = np.dstack([motion, optical_strain(motion)])
    step = len(onset) // MAP_SIZE
    cells = channels.reshape(MAP_SIZE, step, MAP_SIZE, step, 3)
    return cells.mean(axis=(1, 3), dtype=np.float64).astype(np.float32)
