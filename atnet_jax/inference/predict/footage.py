"""Footage of a user: a video file or a folder of numbered pictures, read frame by frame."""

import dataclasses
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from atnet_jax.errors import UserError
from atnet_jax.preprocessing.frame_files import (
    ANY_FRAME,
    PICTURE_SUFFIXES,
    numbered_frames,
    visible,
)
from atnet_jax.preprocessing.frames import (
    HIGHEST_RATE,
    Survey,
    bits_used,
    open_video,
    read_image,
    survey,
)

# More than an hour at 200 frames per second.
MOST_FRAMES = 1_000_000
# More than 8K. Decoding a picture of this many pixels takes 64 MB.
_MOST_PIXELS = 2**26


@dataclasses.dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        number: Index in the video, from 0, or the number in the name of the picture.
        image: Grey levels, or RGB.
    """

    number: int
    image: UInt8[np.ndarray, "height width *channel"]


@dataclasses.dataclass(frozen=True)
class Footage:
    """A clip of the user.

    Attributes:
        path: The video file or the folder.
        numbers: Numbers of the frames that can be decoded.
        frame_rate: Frames per second; 0 if unknown.
        files: File of each frame; None for a video.
        survey: What the frames of a video state; None for a folder.
        bits: Number of bits that the pictures of a folder use.
    """

    path: Path
    numbers: range
    frame_rate: float
    files: Mapping[int, Path] | None = None
    survey: Survey | None = None
    bits: int = 8

    def frames(
        self, wanted: Collection[int] | None = None, colour: bool = False
    ) -> Iterator[Frame]:
        """Yield frames in order; a video is decoded from its start.

        Args:
            wanted: Numbers of the frames; None for all frames.
            colour: Whether to yield RGB instead of grey levels.

        Raises:
            UserError: A picture cannot be read, frames differ in size, or a wanted frame is
                missing.
        """
        chosen = set(self.numbers if wanted is None else wanted)
        if not chosen:
            return
        left = set(chosen)
        size = None
        source = (
            self._decode(chosen, colour)
            if self.files is None
            else self._read(self.files, chosen, colour)
        )
        for frame in source:
            size = size or frame.image.shape
            if frame.image.shape != size:
                height, width = frame.image.shape[:2]
                raise UserError(
                    f"{self.path}: frame {frame.number} has {width}x{height} pixels, earlier frames"
                    f" have {size[1]}x{size[0]}. All frames must have the same size."
                )
            left.discard(frame.number)
            yield frame
        if left:
            raise UserError(
                f"{self.path}: the video ends before frame {min(left)}. Pass an onset, apex and"
                " offset within the video."
            )

    def _read(
        self, files: Mapping[int, Path], chosen: Collection[int], colour: bool
    ) -> Iterator[Frame]:
        for number in sorted(chosen):
            image = read_image(files[number], colour, self.bits)
            _check_size(files[number], *image.shape[:2])
            yield Frame(number, image)

    def _decode(self, chosen: Collection[int], colour: bool) -> Iterator[Frame]:
        last = max(chosen)
        with open_video(self.path) as video:
            for number in range(last + 1):
                if not video.grab():
                    return
                if number in chosen:
                    yield Frame(number, video.retrieve(number, colour))


def open_footage(path: Path, frame_rate: float | None = None) -> Footage:
    """Open a clip. A video is decoded once, because its header can be wrong.

    Args:
        path: A video file, or a folder of pictures whose names end in the frame number.
        frame_rate: Frames per second, which replaces the rate in the file; None for the latter.

    Returns:
        The clip with the numbers of its frames and its frame rate.

    Raises:
        UserError: The path does not exist or is not a clip, the clip is too long or too large, a
            frame is missing, or the frame rate is out of range.
    """
    if frame_rate is not None and not 0 < frame_rate <= HIGHEST_RATE:
        raise UserError(
            f"The frame rate is {frame_rate:g}, expected a number above 0 and up to"
            f" {HIGHEST_RATE:g}, in frames per second."
        )
    check_present(path)
    return (_open_folder if path.is_dir() else _open_video)(path, frame_rate)


def check_present(path: Path) -> None:
    """Check that a path is a file or a folder, without reading it.

    Args:
        path: Path of a clip.

    Raises:
        UserError: Nothing of this name exists, or something else such as a pipe.
    """
    try:
        present = path.is_dir() or path.is_file()
    except (OSError, ValueError) as error:  # The name is too long or contains a null character.
        raise UserError(f"{str(path)[:100]}: not a valid file name ({error}).") from None
    if not present:
        raise UserError(f"{path}: no such video file or folder of frames.")


def _open_video(path: Path, frame_rate: float | None) -> Footage:
    if path.suffix.lower() in PICTURE_SUFFIXES:
        raise UserError(
            f"{path}: a single picture shows no motion. Pass a video or a folder of numbered"
            " frames."
        )
    found = survey(path, MOST_FRAMES, _MOST_PIXELS)
    return Footage(path, range(found.frames), frame_rate or found.frame_rate, survey=found)


def _open_folder(path: Path, frame_rate: float | None) -> Footage:
    try:
        files = numbered_frames(path, ANY_FRAME, only=True)
    except OSError as error:
        raise UserError(f"{path}: this folder cannot be read ({error.strerror}).") from None
    if not files:
        raise UserError(
            f"{path}: this folder contains no frames. Expected pictures whose names end in the"
            " frame number, such as img12.jpg."
        )
    numbers = range(min(files), max(files) + 1)
    missing = next((number for number in numbers if number not in files), None)
    if missing is not None:
        # The frame may have an ending that is not read.
        name = re.compile(rf"(?:.*[^0-9])?0*{missing}\.[^.]+")
        other = next((each.name for each in visible(path) if name.fullmatch(each.name)), None)
        if other is not None:
            known = ", ".join(sorted(PICTURE_SUFFIXES))
            raise UserError(
                f"{path}: frame {missing} is {other}, whose ending is not read. Convert it to one"
                f" of {known}."
            )
        raise UserError(
            f"{path}: frame {missing} is missing between frames {numbers[0]} and {numbers[-1]}."
            " Computing motion needs every frame."
        )
    if len(numbers) > MOST_FRAMES:
        raise UserError(f"{path}: the clip has more than {MOST_FRAMES} frames. Cut it into parts.")
    return Footage(path, numbers, frame_rate or 0.0, files, bits=bits_used(files.values()))


def _check_size(path: Path, height: int, width: int) -> None:
    if height * width > _MOST_PIXELS:
        raise UserError(
            f"{path}: {width}x{height} pixels exceed the limit of {_MOST_PIXELS} pixels. Reduce the"
            " frames, for example to 4K."
        )
