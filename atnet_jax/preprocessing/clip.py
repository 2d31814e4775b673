"""The whole line for one clip: frames → crops → flow → ADM and flow map."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from atnet_jax.preprocessing.adm import adm_matrix
from atnet_jax.preprocessing.alternation import alternating_part
from atnet_jax.preprocessing.annotation import Clip
from atnet_jax.preprocessing.crops import Crops, cut
from atnet_jax.preprocessing.face import Box
from atnet_jax.preprocessing.flow_map import flow_map
from atnet_jax.preprocessing.head_motion import rigid_part
from atnet_jax.preprocessing.optical_flow import FlowMethod, flow_method
from atnet_jax.preprocessing.window import flow_pairs


@dataclass(frozen=True)
class Features:
    """What the networks see of a clip.

    Attributes:
        apex: Face crop of the apex frame, grey 0–255.
        adm: Average direction-magnitude features, one row a flow; rows without one are zero.
        flow_map: u, v (pixels of the 224×224 crop) and strain of the flow from onset to apex.
        window: Face crops of the frames around the apex: of the window's 65, those that lie within
            onset…offset, in order.
        crop_box: The crop: x0, y0, x1, y1 in pixels of the raw frame.
    """

    apex: UInt8[np.ndarray, "224 224"]
    adm: Float32[np.ndarray, "64 128"]
    flow_map: Float32[np.ndarray, "28 28 3"]
    window: UInt8[np.ndarray, "frame 224 224"]
    crop_box: Box


def describe(
    crops: Crops,
    *,
    flow: FlowMethod,
    circular: bool = False,
    cancel_alternation: bool = False,
    remove_head_motion: bool = False,
) -> Features:
    """Compute a clip's features from its face crops.

    Args:
        crops: The frames, cut with the method's reach.
        flow: The flow method.
        circular: Average the ADM's directions on the circle.
        cancel_alternation: Where even and odd frames are found to lie apart, take that out of the
            flows.
        remove_head_motion: Take the shift, rotation and scaling of the whole face out of each flow.
    """
    pairs = flow_pairs(crops.onset, crops.apex, crops.offset)
    window = crops.window
    frames = flow.smooth(crops.frames, crops.numbers, [*window, crops.onset])
    neighbours, onset = frames[:-1], frames[-1:]
    apex = neighbours[window.index(crops.apex)][None]
    # Onset to apex goes along as one more pair.
    flows = flow.solve(
        np.concatenate([neighbours[:-1], onset]), np.concatenate([neighbours[1:], apex])
    )
    if cancel_alternation and (part := alternating_part(flows[:-1])) is not None:
        flows -= _signs(crops, window)[:, None, None, None] * part
    if remove_head_motion:
        flows = np.stack([each - rigid_part(each) for each in flows])
    rows = {row: flows[index] for index, (row, _, _) in enumerate(pairs)}
    return Features(
        apex=crops.at([crops.apex])[0],
        adm=adm_matrix(rows, circular=circular),
        flow_map=flow_map(flows[-1]),
        window=crops.at(window),
        crop_box=crops.crop_box,
    )


def _signs(crops: Crops, window: list[int]) -> Float32[np.ndarray, " pair"]:
    """How often each flow holds the displacement of the window's second frame against its first."""
    odd = [number % 2 != window[0] % 2 for number in (*window, crops.onset, crops.apex)]
    position = np.array(odd, np.float32)
    return np.append(np.diff(position[:-2]), position[-1] - position[-2])


def extract(clip: Clip, *, face: str, box: Box | None, flow: str, **options: bool) -> Features:
    """A clip's features from its frames: `cut` and `describe` in one.

    Args:
        clip: The clip.
        face: Face detector, `mtcnn` or `none`; not asked where a box is given.
        box: The face's box in pixels of the raw frame, if given by hand.
        flow: Name of the flow method.
        **options: Those of `describe`.

    Raises:
        UserError: See `cut`; or there is no such flow method.
    """
    method = flow_method(flow)
    crops = cut(clip, face=face, box=box, reach=method.reach)
    return describe(crops, flow=method, **options)
