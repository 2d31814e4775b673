"""Second half of the preprocessing of a clip: face crops to flow, ADM and flow map."""

import dataclasses

import numpy as np
from jaxtyping import Float32

from atnet_jax.preprocessing.adm import adm_matrix
from atnet_jax.preprocessing.alternation import alternating_part
from atnet_jax.preprocessing.crops import Crops
from atnet_jax.preprocessing.flow_map import flow_map
from atnet_jax.preprocessing.head_motion import rigid_part
from atnet_jax.preprocessing.optical_flow import FlowMethod
from atnet_jax.preprocessing.prepared_clip import PreparedClip
from atnet_jax.preprocessing.window import flow_pairs


def describe(
    crops: Crops,
    *,
    flow: FlowMethod,
    key: str = "",
    frame_rate: float = 0.0,
    circular: bool = False,
    cancel_alternation: bool = False,
    remove_head_motion: bool = False,
) -> PreparedClip:
    """Return all inputs of a clip, computed from its face crops.

    Args:
        crops: Face crops, cut with the reach of the flow method.
        flow: Flow method.
        key: Name of the clip, for messages.
        frame_rate: Frames per second; 0 if unknown.
        circular: Use circular mean directions in the ADM.
        cancel_alternation: Subtract the displacement of odd frames against even ones from the
            flows, if there is any.
        remove_head_motion: Subtract the shift, rotation and scaling of the whole face from each
            flow.
    """
    pairs = flow_pairs(crops.onset, crops.apex, crops.offset)
    window = crops.window
    frames = flow.smooth(crops.frames, crops.numbers, [*window, crops.onset])
    around, onset = frames[:-1], frames[-1:]
    apex = around[window.index(crops.apex)][None]
    # The pair of onset and apex is solved in the same call.
    flows = flow.solve(np.concatenate([around[:-1], onset]), np.concatenate([around[1:], apex]))
    if cancel_alternation and (part := alternating_part(flows[:-1])) is not None:
        flows -= _signs(crops, window)[:, None, None, None] * part
    if remove_head_motion:
        flows = np.stack([each - rigid_part(each) for each in flows])
    rows = {row: flows[index] for index, (row, _, _) in enumerate(pairs)}
    return dataclasses.replace(
        pictures(crops, key=key, frame_rate=frame_rate),
        adm=adm_matrix(rows, circular=circular),
        flow_map=flow_map(flows[-1]),
        flow=flows[-1],
    )


def pictures(crops: Crops, *, key: str = "", frame_rate: float = 0.0) -> PreparedClip:
    """Return all inputs of a clip that need no optical flow; see `describe`."""
    return PreparedClip(
        key=key,
        apex=crops.at([crops.apex])[0],
        frames=crops.at(crops.window),
        apex_index=crops.window.index(crops.apex),
        colour=crops.colour,
        landmarks=crops.landmarks,
        frame_rate=frame_rate,
        crop_box=crops.crop_box,
    )


def _signs(crops: Crops, window: list[int]) -> Float32[np.ndarray, " pair"]:
    """Return the factor, −1, 0 or 1, of the alternating displacement in each flow."""
    odd = [number % 2 != window[0] % 2 for number in (*window, crops.onset, crops.apex)]
    position = np.array(odd, np.float32)
    return np.append(np.diff(position[:-2]), position[-1] - position[-2])
