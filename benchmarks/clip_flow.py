"""Flow of a clip as in prepared data, and its means over blocks."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from atnet_jax.preprocessing.adm import average_direction_magnitude
from atnet_jax.preprocessing.alternation import alternating_part
from atnet_jax.preprocessing.head_motion import rigid_part
from atnet_jax.preprocessing.motion import motion_named
from atnet_jax.preprocessing.optical_flow import flow_method

FlowOfClip = Callable[[np.ndarray], np.ndarray]
"""Function from frames `[frame, height, width]` to the flow between neighbouring frames, float32
`[frame - 1, height, width, 2]`."""


def flow_of_clip(name: str) -> FlowOfClip:
    """Return the function that computes the flow of prepared data.

    Args:
        name: A value of config.data.flow.

    Raises:
        UserError: The name is unknown.
    """
    motion = motion_named(name)
    method = flow_method(motion.flow)

    def flows_of(frames: np.ndarray) -> np.ndarray:
        flows = method.flows(frames)
        if motion.cancel_alternation and (part := alternating_part(flows)) is not None:
            flows[::2] -= part
            flows[1::2] += part
        if motion.remove_head_motion:
            flows = np.stack([flow - rigid_part(flow) for flow in flows])
        return flows

    return flows_of


def blocks_of(flows: np.ndarray) -> np.ndarray:
    """Return the mean direction (radians, circular mean) and magnitude (pixels) of each block.

    Args:
        flows: Flow of each pair, float32 `[pair, 224, 224, 2]`, in pixels.

    Returns:
        Direction and magnitude, float64 `[pair, 64, 2]`.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rows = pool.map(lambda flow: average_direction_magnitude(flow, circular=True), flows)
        return np.stack(list(rows)).astype(np.float64).reshape(len(flows), -1, 2)
