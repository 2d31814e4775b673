"""First half of the preprocessing of a clip: frames to face crops, without slow imports."""

from collections.abc import Callable, Collection, Iterable, Sequence
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
    """Frames of a clip, cropped to the face.

    Attributes:
        onset: Number of the clip's first frame.
        apex: Number of its apex frame.
        offset: Number of its last frame.
        numbers: Numbers of the frames in `frames`, ascending, all within onset…offset: the onset,
            the window around the apex, and their neighbours within the reach of the flow method.
        frames: Face crops, grey 0–255.
        crop_box: Crop as x0, y0, x1, y1 in pixels of the raw frame.
        colour: RGB crops of the frames in `colour_numbers`.
        landmarks: Landmarks of the apex frame in pixels of the crop, in the order of `Landmarks`;
            None if not found.
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
        """Numbers of the frames between which the flows of the window are computed."""
        return _window(self.onset, self.apex, self.offset)

    def at(self, numbers: Sequence[int]) -> UInt8[np.ndarray, "number 224 224"]:
        """Return the grey crops of the frames `numbers`, in this order."""
        place = {number: index for index, number in enumerate(self.numbers)}
        return self.frames[[place[number] for number in numbers]]


def cut(
    clip: Clip, *, face: str, box: Box | None, reach: int = 0, notes: list[str] | None = None
) -> Crops:
    """Read and crop the frames of a clip that its inputs are computed from.

    The face is located once, in the apex frame, and the same crop is applied to every frame (paper,
    section III-A). Frames outside onset…offset are never read.

    Args:
        clip: Annotation of the clip.
        face: Face detector, `mtcnn` or `none`; not used if `box` is given.
        box: Manually annotated box of the face in pixels of the raw frame, or None.
        reach: Number of neighbours on each side that contribute to a frame's flow
            (`FlowMethod.reach`).
        notes: Receives what a reader should know of the face, such as that there are several.

    Returns:
        The crops, with colour and landmarks.

    Raises:
        FaceNotFoundError: The detector finds no face in the apex frame.
        UserError: The apex lies outside onset…offset or equals the onset (so that there is no
            motion), a frame cannot be used, the box leaves the frame, or the detector is unknown.
    """
    check_apex(clip.onset, clip.apex, clip.offset, where=clip.key)
    if clip.apex == clip.onset:
        raise UserError(
            f"{clip.key}: apex and onset are both frame {clip.apex}, so there is no motion between"
            " them. Correct the annotation or leave the clip out."
        )
    frames = read_frames(clip, frames_needed(clip.onset, clip.apex, clip.offset, reach))
    try:
        crop_box, points = locate_face(frames[clip.apex], face, box, notes=notes)
    except FaceNotFoundError as error:
        raise FaceNotFoundError(f"{clip.key}, apex frame {clip.apex}: {error}") from None
    except UserError as error:
        raise UserError(f"{clip.key}: {error}") from None

    def read(numbers: Sequence[int], colour: bool) -> Iterable[tuple[int, np.ndarray]]:
        return (read_frames(clip, numbers, colour=True) if colour else frames).items()

    excerpt = Excerpt(clip.onset, clip.apex, clip.offset, crop_box, points)
    return cut_all([excerpt], read, reach, where=clip.key)[0]


@dataclass(frozen=True)
class Excerpt:
    """An expression to cut out of footage, with the location of the face.

    Attributes:
        onset: Number of its first frame.
        apex: Number of its apex frame.
        offset: Number of its last frame.
        box: Box of the face in all of its frames, in pixels of the frame.
        landmarks: Landmarks of the face in the apex frame, in pixels of the frame; None if the
            detector returned none.
    """

    onset: int
    apex: int
    offset: int
    box: Box
    landmarks: Landmarks | None


def cut_all(
    excerpts: Sequence[Excerpt],
    read: Callable[[Sequence[int], bool], Iterable[tuple[int, np.ndarray]]],
    reach: int,
    *,
    where: str,
    inputs: Collection[str] = ("colour", "landmarks"),
) -> list[Crops]:
    """Cut excerpts out of footage, reading it once, or twice if colour is needed.

    Memory holds only the crops, never all frames.

    Args:
        excerpts: Excerpts to cut out.
        read: Function that returns the frames of given numbers (ascending, without repetition),
            each as (number, frame): grey, or RGB if its second argument is true. It raises an
            error if a frame is missing.
        reach: Number of neighbours on each side that contribute to a frame's flow
            (`FlowMethod.reach`).
        where: Name of the footage, for messages.
        inputs: Optional inputs to produce, any of "colour" and "landmarks".

    Returns:
        The crops of each excerpt.

    Raises:
        UserError: A box lies outside the frame, or `read` raises this error.
    """

    def crop(needed: list[list[int]], colour: bool) -> list[np.ndarray]:
        crops: list[dict[int, np.ndarray]] = [{} for _ in excerpts]
        for number, frame in read(sorted(set().union(*needed)), colour):
            for excerpt, numbers, found in zip(excerpts, needed, crops, strict=True):
                if number in numbers:
                    try:
                        found[number] = crop_face(frame, excerpt.box)
                    except UserError as error:
                        raise UserError(f"{where}: {error}") from None
        return [
            np.stack([found[number] for number in numbers])
            for numbers, found in zip(needed, crops, strict=True)
        ]

    spans = [(each.onset, each.apex, each.offset) for each in excerpts]
    needed = [frames_needed(*span, reach) for span in spans]
    grey, colour = crop(needed, False), [None] * len(spans)
    if "colour" in inputs:
        colour = crop([colour_numbers(*span) for span in spans], True)
    cut = []
    for each, numbers, frames, rgb in zip(excerpts, needed, grey, colour, strict=True):
        points = None
        if "landmarks" in inputs:
            apex = frames[numbers.index(each.apex)]
            points = landmarks(apex, each.box, each.landmarks)
        span = each.onset, each.apex, each.offset
        cut.append(Crops(*span, tuple(numbers), frames, each.box, rgb, points))
    return cut


def landmarks(
    crop: UInt8[np.ndarray, "224 224"], box: Box, of_frame: Landmarks | None
) -> Float32[np.ndarray, "5 2"] | None:
    """Return the landmarks of a face crop in pixels of the crop, or None if none are found.

    Args:
        crop: Face crop, in which the landmarks are searched if `of_frame` is None.
        box: Box of the crop, in pixels of the frame.
        of_frame: Landmarks that the detector found in the frame, in pixels of the frame.
    """
    if of_frame is not None:
        return of_frame.within(box).as_array()
    faces = find_faces(crop)
    return faces[0].landmarks.as_array() if faces else None


COLOUR_ONSET, COLOUR_APEX = 2, 5


def colour_numbers(onset: int, apex: int, offset: int) -> list[int]:
    """Return the numbers of the frames kept in colour: onset, onset + 1, apex - 2 … apex + 2.

    Networks on pictures use the neighbours of onset and apex as additional training examples.
    Numbers outside the clip are replaced by its first or last frame.

    Args:
        onset: Number of the clip's first frame.
        apex: Number of its apex frame.
        offset: Number of its last frame.
    """
    numbers = [*range(onset, onset + COLOUR_ONSET), *range(apex - 2, apex - 2 + COLOUR_APEX)]
    return [min(max(number, onset), offset) for number in numbers]


def frames_needed(onset: int, apex: int, offset: int, reach: int) -> list[int]:
    """Return the numbers of the frames in `Crops`, ascending.

    Args:
        onset: Number of the clip's first frame.
        apex: Number of its apex frame.
        offset: Number of its last frame.
        reach: Number of neighbours on each side that contribute to a frame's flow
            (`FlowMethod.reach`).
    """
    used = [onset, *_window(onset, apex, offset)]
    near = {other for number in used for other in range(number - reach, number + reach + 1)}
    return sorted(near & set(range(onset, offset + 1)))


def _window(onset: int, apex: int, offset: int) -> list[int]:
    pairs = flow_pairs(onset, apex, offset)
    return [pairs[0][1], *(after for _, _, after in pairs)]
