"""A clip in memory: frames as an array, prepared like the clips of a database."""

import math
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import SupportsIndex

import numpy as np
from jaxtyping import UInt8

from atnet_jax.errors import UserError
from atnet_jax.names import DEFAULT_FLOW
from atnet_jax.preprocessing.apex import check_apex
from atnet_jax.preprocessing.clip import describe
from atnet_jax.preprocessing.crops import Excerpt, cut_all
from atnet_jax.preprocessing.face import Box, locate_face
from atnet_jax.preprocessing.frames import grey
from atnet_jax.preprocessing.motion import motion_named
from atnet_jax.preprocessing.optical_flow import flow_method
from atnet_jax.preprocessing.prepared_clip import PreparedClip
from atnet_jax.words import numbered


def prepare_frames(
    frames: np.ndarray | Sequence[np.ndarray],
    apex: SupportsIndex,
    *,
    onset: SupportsIndex = 0,
    offset: SupportsIndex | None = None,
    face: str = "mtcnn",
    box: Box | None = None,
    flow: str = DEFAULT_FLOW,
    frame_rate: float = 0.0,
    name: str = "clip",
) -> PreparedClip:
    """Prepare a clip from its frames, as `atnet prepare` prepares those of a database.

    The face is found in the apex frame and cropped to 224×224 pixels in every frame. Flow, ADM and
    flow map are computed from the crops (paper, section III-A).

    Args:
        frames: Frames of one size, uint8, 0–255: grey `[frame, height, width]` or RGB
            `[frame, height, width, 3]`.
        apex: Index of the apex frame; it lies after `onset` and not after `offset`.
        onset: Index of the first frame of the expression.
        offset: Index of its last frame; None for the last frame there is.
        face: Face detector: "mtcnn", or "none" if the frames are cropped to the face already.
        box: x0, y0, x1, y1 of the face in pixels, instead of a detector's box.
        flow: Optical flow, named as in `config.data.flow`, such as "spatiotemporal" or "paper".
        frame_rate: Frames per second, 0 if unknown.
        name: Name of the clip, for error messages.

    Returns:
        The prepared clip. Its `colour` is None if the frames are grey.

    Raises:
        FaceNotFoundError: The detector finds no face in the apex frame.
        UserError: The frames are not such an array, the numbers do not fit them, or the flow or
            the detector does not exist.
    """
    frames = _checked(frames, name)
    for what, index in (("apex", apex), ("onset", onset), ("offset", offset)):
        if index is not None and (isinstance(index, bool) or not isinstance(index, Integral)):
            raise UserError(f"{name}: {what} is {index!r}, expected the index of a frame.")
    # Python's integers: those of NumPy may be unsigned.
    apex, onset, offset = int(apex), int(onset), None if offset is None else int(offset)
    if not 0 <= frame_rate < math.inf:
        raise UserError(f"{name}: frame_rate is {frame_rate!r}, expected a number, 0 if unknown.")
    last = len(frames) - 1 if offset is None else offset
    if onset < 0 or last >= len(frames):
        raise UserError(
            f"{name}: onset {onset} and offset {last} must be indices of the"
            f" {numbered(len(frames), 'frame')}."
        )
    check_apex(onset, apex, last, where=name)
    if apex == onset:
        raise UserError(
            f"{name}: apex and onset are both frame {apex}; there is no motion between."
        )
    motion = motion_named(flow)
    method = flow_method(motion.flow)
    located, landmarks = locate_face(grey(frames[apex]), face, box)
    coloured = frames.ndim == 4

    def read(numbers: Sequence[int], colour: bool) -> Iterable[tuple[int, np.ndarray]]:
        return ((number, frames[number] if colour else grey(frames[number])) for number in numbers)

    [crops] = cut_all(
        [Excerpt(onset, apex, last, located, landmarks)],
        read,
        method.reach,
        where=name,
        inputs=("colour", "landmarks") if coloured else ("landmarks",),
    )
    return describe(crops, flow=method, key=name, frame_rate=frame_rate, **motion.options)


def _checked(
    frames: np.ndarray | Sequence[np.ndarray], name: str
) -> UInt8[np.ndarray, "frame height width *channel"]:
    """Return the frames as one array.

    Raises:
        UserError: They are not grey or RGB pictures of one size.
    """
    try:
        array = np.asarray(frames)
    except ValueError as error:
        raise UserError(f"{name}: the frames differ in size.") from error
    coloured = array.ndim == 4 and array.shape[-1] == 3
    if array.dtype != np.uint8 or not array.size or not (array.ndim == 3 or coloured):
        raise UserError(
            f"{name}: the frames are {array.dtype} {array.shape}, expected uint8 [frame, height,"
            " width] or [frame, height, width, 3] with values from 0 to 255."
        )
    return array
