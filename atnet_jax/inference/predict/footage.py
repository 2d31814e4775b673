"""What a user films: a video file, or a folder of numbered pictures, read frame by frame."""

import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from atnet_jax.errors import UserError
from atnet_jax.preprocessing.frame_files import ANY_FRAME, PICTURE_SUFFIXES, numbered_frames
from atnet_jax.preprocessing.frames import open_video, read_image, retrieve

# 100 s at 200 frames a second. The face crops of so many frames are 1 GB of memory.
MOST_FRAMES = 20_000
# More than 8K. A picture of this many pixels is 64 MB as it is decoded.
_MOST_PIXELS = 2**26
# Beyond, a file's frame rate is a time base or nonsense.
_HIGHEST_RATE = 2000.0


@dataclasses.dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        number: Of a video, counted from 0; of a picture, the number in its name.
        image: Grey levels, or RGB.
        seconds: When it is shown, as the video says; NaN for a picture.
    """

    number: int
    image: UInt8[np.ndarray, "height width *channel"]
    seconds: float


@dataclasses.dataclass(frozen=True)
class Footage:
    """A clip as it was given.

    Attributes:
        path: The video file or the folder.
        numbers: The frames' numbers. A video may turn out to end earlier than it says.
        frame_rate: Frames per second, 0 if unknown.
        files: The picture of each frame; None for a video.
    """

    path: Path
    numbers: range
    frame_rate: float
    files: Mapping[int, Path] | None

    def frames(
        self, wanted: Collection[int] | None = None, colour: bool = False
    ) -> Iterator[Frame]:
        """The frames in order, or those wanted; a video is decoded from its start.

        Raises:
            UserError: A picture cannot be read, frames differ in size, or a video ends before a
                frame that is wanted. If all are, the end of the video ends this.
        """
        chosen = set(self.numbers if wanted is None else wanted)
        if not chosen:
            return
        left = set(wanted or ())
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
                    f"{self.path}: frame {frame.number} is {width}x{height} pixels, earlier ones"
                    f" are {size[1]}x{size[0]}; all must be of one size"
                )
            left.discard(frame.number)
            yield frame
        if left:
            raise UserError(
                f"{self.path}: the video ends before frame {min(left)}; give an onset, apex and"
                " offset within it"
            )

    def _read(
        self, files: Mapping[int, Path], chosen: Collection[int], colour: bool
    ) -> Iterator[Frame]:
        for number in sorted(chosen):
            image = read_image(files[number], colour)
            _check_size(files[number], *image.shape[:2])
            yield Frame(number, image, math.nan)

    def _decode(self, chosen: Collection[int], colour: bool) -> Iterator[Frame]:
        last = max(chosen)
        with open_video(self.path) as capture:
            for number in range(last + 1):
                if not capture.grab():
                    return
                if number in chosen:
                    seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                    yield Frame(number, retrieve(capture, self.path, number, colour), seconds)


def open_footage(path: Path, frame_rate: float | None = None) -> Footage:
    """Looks at a clip without decoding all of it.

    Args:
        path: A video file, or a folder of pictures whose names end in their frames' numbers.
        frame_rate: Frames per second, where the file does not know better.

    Raises:
        UserError: There is nothing of that name, it is no clip, it is too long or too large, or
            frames are missing.
    """
    if frame_rate is not None and not 0 < frame_rate <= _HIGHEST_RATE:
        raise UserError(
            f"the frame rate is {frame_rate:g}, expected frames per second, up to {_HIGHEST_RATE:g}"
        )
    try:
        kind = "folder" if path.is_dir() else "file" if path.is_file() else ""
    except (OSError, ValueError) as error:  # A name that is too long, or holds a null.
        raise UserError(f"{str(path)[:100]}: no name of a file ({error})") from None
    if not kind:
        raise UserError(f"{path}: no such video file or folder of frames")
    return (_open_folder if kind == "folder" else _open_video)(path, frame_rate)


def _open_video(path: Path, frame_rate: float | None) -> Footage:
    if path.suffix.lower() in PICTURE_SUFFIXES:
        raise UserError(
            f"{path}: one picture has no motion; give a video, or a folder of numbered frames"
        )
    with open_video(path) as capture:
        width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        told = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        rate = capture.get(cv2.CAP_PROP_FPS)
    _check_size(path, height, width)
    # Some containers do not tell; frames are then read until there are no more.
    count = int(told) if 0 < told < 1e9 else MOST_FRAMES
    _check_count(path, count)
    if frame_rate is None:
        frame_rate = rate if math.isfinite(rate) and 0 < rate <= _HIGHEST_RATE else 0.0
    return Footage(path, range(count), frame_rate, None)


def _open_folder(path: Path, frame_rate: float | None) -> Footage:
    try:
        files = numbered_frames(path, ANY_FRAME, only=True)
    except OSError as error:
        raise UserError(f"{path}: cannot read this folder ({error.strerror})") from None
    if not files:
        raise UserError(
            f"{path}: no frames in this folder; expected pictures such as img12.jpg, whose names"
            " end in their numbers"
        )
    numbers = range(min(files), max(files) + 1)
    missing = next((number for number in numbers if number not in files), None)
    if missing is not None:
        raise UserError(
            f"{path}: frame {missing} is missing between frames {numbers[0]} and {numbers[-1]};"
            " motion needs every frame"
        )
    _check_count(path, len(numbers))
    return Footage(path, numbers, frame_rate or 0.0, files)


def _check_count(path: Path, count: int) -> None:
    if count > MOST_FRAMES:
        raise UserError(
            f"{path}: {count} frames, at most {MOST_FRAMES} are taken at once; cut the video into"
            " parts"
        )


def _check_size(path: Path, height: int, width: int) -> None:
    if height * width > _MOST_PIXELS:
        raise UserError(f"{path}: {width}x{height} pixels are too many; reduce them, e.g. to 4K")
