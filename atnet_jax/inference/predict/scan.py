"""First pass over a clip: finds a face and crops every frame to it, for the spotting."""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import UInt8

from atnet_jax.errors import UserError
from atnet_jax.inference.predict import caveats
from atnet_jax.inference.predict.caveats import Caveat
from atnet_jax.inference.predict.footage import Footage, Frame
from atnet_jax.preprocessing.face import (
    Box,
    Face,
    check_box,
    crop_face,
    find_faces,
    whole_frame,
)

# A face is sought in this many frames near the beginning, at most 10 frames apart, and then in as
# many as this over the rest of the clip.
_TRIES, _MOST_TRIES = 10, 200
# Frames between two that are checked for interlacing.
_COMBING = 10


@dataclasses.dataclass(frozen=True)
class Watched:
    """The face that is watched throughout a clip.

    Attributes:
        footage: The clip.
        frame: Number of the frame in which the face was found.
        box: Box of the face, in pixels of the frame.
        faces: Faces in that frame, first the one that is watched; empty if the user passed a box or
            the frames are already cropped.
        crop: Face crop of that frame.
    """

    footage: Footage
    frame: int
    box: Box
    faces: list[Face]
    crop: UInt8[np.ndarray, "224 224"]

    @property
    def warnings(self) -> list[Caveat]:
        """Reasons to distrust what was watched."""
        return list(caveats.of_face(self.faces, self.box, self.crop))


class Crops:
    """The frames of a part of a clip, cropped to the watched face while they are read.

    Memory holds one frame. Iterate once; `warnings` then describes all frames.
    """

    def __init__(
        self, watched: Watched, first: int, last: int, progress: Callable[[int], None]
    ) -> None:
        """Prepare the reading of a part of a clip.

        Args:
            watched: The face.
            first: Number of the first frame of the part.
            last: Number of its last frame.
            progress: Called with the number of frames read, every 100 frames.
        """
        self._watched = watched
        self._numbers = range(first, last + 1)
        self._progress = progress
        self._changes: list[float] = []
        self._combing: list[float] = []

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "224 224"]]:
        """Yield the crops in order."""
        before = None
        for count, frame in enumerate(self._watched.footage.frames(self._numbers)):
            crop = crop_face(frame.image, self._watched.box)
            # A sixteenth of the pixels is enough; differences of bytes need 16 bits.
            some = crop[::4, ::4].astype(np.int16)
            if before is not None:
                self._changes.append(float(np.abs(some - before).mean()))
            before = some
            if count % _COMBING == 0:
                self._combing.append(caveats.combing(frame.image, self._watched.box))
            if count % 100 == 0 and count:
                self._progress(count)
            yield crop

    @property
    def moves(self) -> bool:
        """Whether any two neighbouring frames differ."""
        return any(self._changes)

    def warnings(self, frame_rate: float) -> Iterator[Caveat]:
        """Yield warnings that concern the frames.

        Args:
            frame_rate: Frames per second.
        """
        yield from caveats.of_changes(self._changes, self._numbers[0], frame_rate)
        yield from caveats.of_combing(self._combing)


def watch(footage: Footage, box: Box | None, detector: str) -> Watched:
    """Find the face to watch, anywhere in the clip.

    Args:
        footage: The clip.
        box: Box of the face in pixels, if the user passed one.
        detector: "mtcnn" or "none"; not used if a box is given.

    Returns:
        The largest face in the first frame that shows one.

    Raises:
        UserError: No face is found, or the box leaves the frame.
    """
    faces: list[Face] = []
    tries = _tries(footage.numbers)
    for frame in footage.frames(tries):
        if box is None and detector != "none":
            faces = find_faces(frame.image)
            if not faces:
                continue
            box = faces[0].box
        elif box is None:
            box = whole_frame(frame.image)
        else:
            checked_box(footage, box, frame)
        return Watched(footage, frame.number, box, faces, crop_face(frame.image, box))
    raise UserError(no_face(footage, f"{len(tries)} frames throughout the clip"))


def checked_box(footage: Footage, box: Box, frame: Frame) -> Box:
    """Check that a box that the user passed lies in a frame, and return it.

    Args:
        footage: The clip, for the error message.
        box: The box.
        frame: A frame of the clip.

    Returns:
        The box.

    Raises:
        UserError: The box leaves the frame.
    """
    try:
        check_box(box, frame.image)
    except UserError as error:
        raise UserError(f"{footage.path}: {error}") from None
    return box


def no_face(footage: Footage, where: str) -> str:
    """Return the error message for a clip in which no face was found.

    Args:
        footage: The clip.
        where: The frames that were searched.
    """
    return (
        f"{footage.path}: no face was found in {where}. It may be dark, small, covered, turned"
        " away or lying on its side. Pass its box as --box=x0,y0,x1,y1, or pass --face=none if the"
        " frames are already cropped to the face."
    )


def _tries(numbers: range) -> list[int]:
    """Return the numbers of the frames in which a face is sought, ascending."""
    near = max(1, min(len(numbers) // _TRIES, 10))
    far = max(near, -(-len(numbers) // _MOST_TRIES))
    begin = near * _TRIES
    return [*numbers[: begin + 1 : near], *numbers[begin + far :: far]]
