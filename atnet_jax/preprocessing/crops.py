"""The first part of the line for one clip: frames → face → crops; imports nothing slow."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from atnet_jax.errors import UserError
from atnet_jax.preprocessing.annotation import Clip
from atnet_jax.preprocessing.apex import check_apex
from atnet_jax.preprocessing.face import (
    Box,
    FaceNotFoundError,
    Landmarks,
    crop_face,
    find_faces,
    locate_face,
)
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
        colour: RGB crops of the frames of `colour_numbers`.
        landmarks: The apex frame's, see `Landmarks`, in pixels of the crop; None if not found.
    """

    onset: int
    apex: int
    offset: int
    numbers: tuple[int, ...]
    frames: UInt8[np.ndarray, "frame 224 224"]
    crop_box: Box
    colour: UInt8[np.ndarray, "7 224 224 3"] | None = None
    landmarks: Float32[np.ndarray, "5 2"] | None = None

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
    wanted = colour_numbers(clip.onset, clip.apex, clip.offset)
    colour = read_frames(clip, wanted, colour=True)

    try:
        if box is None:
            crop_box, points = locate_face(frames[clip.apex], face)
        else:
            crop_box, points = box, None
        crops = [crop_face(frames[number], crop_box) for number in numbers]
        colour_crops = {number: crop_face(frame, crop_box) for number, frame in colour.items()}
    except FaceNotFoundError as error:
        raise FaceNotFoundError(f"{clip.key}, apex frame {clip.apex}: {error}") from None
    except UserError as error:
        raise UserError(f"{clip.key}: {error}") from None
    return Crops(
        clip.onset,
        clip.apex,
        clip.offset,
        tuple(numbers),
        np.stack(crops),
        crop_box,
        np.stack([colour_crops[number] for number in wanted]),
        landmarks(crops[numbers.index(clip.apex)], crop_box, points),
    )


def landmarks(
    crop: UInt8[np.ndarray, "224 224"], box: Box, of_frame: Landmarks | None
) -> Float32[np.ndarray, "5 2"] | None:
    """The landmarks of a face crop, in its pixels, or None.

    Args:
        crop: The face, looked at where the detector has not told them.
        box: Of the crop, in pixels of the frame.
        of_frame: The landmarks in pixels of the frame, where the detector has told them.
    """
    if of_frame is not None:
        return of_frame.within(box).as_array()
    faces = find_faces(crop)
    return faces[0].landmarks.as_array() if faces else None


COLOUR_ONSET, COLOUR_APEX = 2, 5


def colour_numbers(onset: int, apex: int, offset: int) -> list[int]:
    """Numbers of the frames that are kept in colour: onset and the next, apex - 2 … apex + 2.

    Networks on pictures take the neighbours of onset and apex as further examples of them. Where
    the clip ends before, its first or last frame stands again.

    Args:
        onset: Number of the clip's first frame.
        apex: Number of its apex frame.
        offset: Number of its last frame.
    """
    numbers = [*range(onset, onset + COLOUR_ONSET), *range(apex - 2, apex - 2 + COLOUR_APEX)]
    return [min(max(number, onset), offset) for number in numbers]


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
