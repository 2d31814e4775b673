"""The whole line for one clip: frames → crops → flow → ADM and flow map."""

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
    """Compute all that methods read of a clip from its face crops.

    Args:
        crops: The frames, cut with the method's reach.
        flow: The flow method.
        key: The clip's name, for messages.
        frame_rate: Frames per second, 0 if unknown.
        circular: Average the ADM's directions on the circle.
        cancel_alternation: Where even and odd frames are found to lie apart, take that out of the
            flows.
        remove_head_motion: Take the shift, rotation and scaling of the whole face out of each flow.
    """
    pairs = flow_pairs(crops.onset, crops.apex, crops.offset)
    window = crops.window
    frames = flow.smooth(crops.frames, crops.numbers, [*window, crops.onset])
    around, onset = frames[:-1], frames[-1:]
    apex = around[window.index(crops.apex)][None]
    # Onset to apex goes along as one more pair.
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
    """What methods read of a clip but for its motion; see `describe`."""
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
    """How often each flow holds the displacement of the window's second frame against its first."""
    odd = [number % 2 != window[0] % 2 for number in (*window, crops.onset, crops.apex)]
    position = np.array(odd, np.float32)
    return np.append(np.diff(position[:-2]), position[-1] - position[-2])
