"""The whole line for one clip: frames → crop → flow → ADM and flow map."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from atnet_jax.errors import UserError
from atnet_jax.preprocessing.adm import adm_matrix
from atnet_jax.preprocessing.annotation import Clip
from atnet_jax.preprocessing.apex import check_apex
from atnet_jax.preprocessing.face import Box, FaceNotFoundError, crop_face, find_face
from atnet_jax.preprocessing.flow_map import flow_map
from atnet_jax.preprocessing.frames import read_frames
from atnet_jax.preprocessing.optical_flow import flow_method
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


def extract(
    clip: Clip, *, face: str, box: Box | None, flow: str, circular: bool = False
) -> Features:
    """Compute a clip's features from its frames.

    The face is found once, in the apex frame; the same crop is applied to every frame (paper,
    section III-A). Frames outside onset…offset are never read.

    Args:
        clip: The clip.
        face: Face detector, `mtcnn` or `none`; not asked where a box is given.
        box: The face's box in pixels of the raw frame, if given by hand.
        flow: Name of the flow method.
        circular: Average the ADM's directions on the circle.

    Raises:
        FaceNotFoundError: The detector finds no face in the apex frame.
        UserError: The apex lies outside onset…offset or is the onset itself (there is no motion to
            see), a frame cannot be used, the box misses the frame, or an option is unknown.
    """
    check_apex(clip.onset, clip.apex, clip.offset, where=clip.key)
    if clip.apex == clip.onset:
        raise UserError(
            f"{clip.key}: apex and onset are both frame {clip.apex}, so there is no motion between "
            "them; correct the annotation or leave the clip out"
        )
    motion = flow_method(flow)
    pairs = flow_pairs(clip.onset, clip.apex, clip.offset)
    window = sorted(set[int]().union(*((a, b) for _, a, b in pairs)))
    frames = read_frames(clip, {clip.onset, clip.apex, *window})

    try:
        crop_box = find_face(frames[clip.apex], face) if box is None else box
        crops = {number: crop_face(frame, crop_box) for number, frame in frames.items()}
    except FaceNotFoundError as error:
        raise FaceNotFoundError(f"{clip.key}, apex frame {clip.apex}: {error}") from None
    except UserError as error:
        raise UserError(f"{clip.key}: {error}") from None

    return Features(
        apex=crops[clip.apex],
        adm=adm_matrix({row: motion(crops[a], crops[b]) for row, a, b in pairs}, circular=circular),
        flow_map=flow_map(crops[clip.onset], crops[clip.apex], motion),
        window=np.stack([crops[number] for number in window]),
        crop_box=crop_box,
    )
