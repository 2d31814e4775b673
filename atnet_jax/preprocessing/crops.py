"""The first part of the line for one clip: frames → face → crops; imports nothing slow."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from atnet_jax.errors import UserError
from atnet_jax.preprocessing.annotation import Clip
from atnet_jax.preprocessing.apex import check_apex
from atnet_jax.preprocessing.face import Box, FaceNotFoundError, crop_face, find_face
from atnet_jax.preprocessing.frames import read_frames
from atnet_jax.preprocessing.window import flow_pairs


@dataclass(frozen=True)
class Crops:
    """A clip's frames, cropped to the face.

    Attributes:
        onset: Number of the clip's first frame.
        apex: Number of its apex frame.
        offset: Number of its last frame.
        numbers: Numbers of the frames that are here, ascending, all within onset…offset: the onset,
            the window around the apex, and their neighbours as far as they were asked for.
        frames: Face crops, grey 0–255.
        crop_box: The crop: x0, y0, x1, y1 in pixels of the raw frame.
    """

    onset: int
    apex: int
    offset: int
    numbers: tuple[int, ...]
    frames: UInt8[np.ndarray, "frame 224 224"]
    crop_box: Box

    @property
    def window(self) -> list[int]:
        """Numbers of the frames that the window's flows lie between."""
        return _window(self.onset, self.apex, self.offset)

    def at(self, numbers: Sequence[int]) -> UInt8[np.ndarray, "number 224 224"]:
        """The crops of the frames of these numbers, in this order."""
        place = {number: index for index, number in enumerate(self.numbers)}
        return self.frames[[place[number] for number in numbers]]


def cut(clip: Clip, *, face: str, box: Box | None, reach: int = 0) -> Crops:
    """Read and crop the frames that a clip's features are made of.

    The face is found once, in the apex frame; the same crop is applied to every frame (paper,
    section III-A). Frames outside onset…offset are never read.

    Args:
        clip: The clip.
        face: Face detector, `mtcnn` or `none`; not asked where a box is given.
        box: The face's box in pixels of the raw frame, if given by hand.
        reach: How many neighbours of a frame have a part in its flow (`FlowMethod.reach`).

    Raises:
        FaceNotFoundError: The detector finds no face in the apex frame.
        UserError: The apex lies outside onset…offset or is the onset itself (there is no motion to
            see), a frame cannot be used, the box misses the frame, or the detector is unknown.
    """
    check_apex(clip.onset, clip.apex, clip.offset, where=clip.key)
    if clip.apex == clip.onset:
        raise UserError(
            f"{clip.key}: apex and onset are both frame {clip.apex}, so there is no motion between "
            "them; correct the annotation or leave the clip out"
        )
    numbers = frames_needed(clip.onset, clip.apex, clip.offset, reach)
    frames = read_frames(clip, numbers)

    try:
        crop_box = find_face(frames[clip.apex], face) if box is None else box
        crops = [crop_face(frames[number], crop_box) for number in numbers]
    except FaceNotFoundError as error:
        raise FaceNotFoundError(f"{clip.key}, apex frame {clip.apex}: {error}") from None
    except UserError as error:
        raise UserError(f"{clip.key}: {error}") from None
    return Crops(clip.onset, clip.apex, clip.offset, tuple(numbers), np.stack(crops), crop_box)


def frames_needed(onset: int, apex: int, offset: int, reach: int) -> list[int]:
    """Numbers of the frames that `Crops` holds, ascending.

    Args:
        onset: Number of the clip's first frame.
        apex: Number of its apex frame.
        offset: Number of its last frame.
        reach: How many neighbours of a frame have a part in its flow (`FlowMethod.reach`).
    """
    used = [onset, *_window(onset, apex, offset)]
    near = {other for number in used for other in range(number - reach, number + reach + 1)}
    return sorted(near & set(range(onset, offset + 1)))


def _window(onset: int, apex: int, offset: int) -> list[int]:
    pairs = flow_pairs(onset, apex, offset)
    return [pairs[0][1], *(after for _, _, after in pairs)]
