"""Footage of a user: a video file or a folder of numbered pictures, read frame by frame."""

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

# 100 s at 200 frames per second. The face crops of this many frames take 1 GB of memory.
MOST_FRAMES = 20_000
# More than 8K. Decoding a picture of this many pixels takes 64 MB.
_MOST_PIXELS = 2**26
# A higher frame rate in a file is a time base or an error.
_HIGHEST_RATE = 2000.0


@dataclasses.dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        number: Index in the video, from 0, or the number in the name of the picture.
        image: Grey levels, or RGB.
        seconds: Time stamp in the video, in seconds; NaN for a picture.
    """

    number: int
    image: UInt8[np.ndarray, "height width *channel"]
    seconds: float


@dataclasses.dataclass(frozen=True)
class Footage:
    """A clip of the user.

    Attributes:
        path: The video file or the folder.
        numbers: Numbers of the frames. A video can end earlier than its header states.
        frame_rate: Frames per second; 0 if unknown.
        files: File of each frame; None for a video.
    """

    path: Path
    numbers: range
    frame_rate: float
    files: Mapping[int, Path] | None

    def frames(
        self, wanted: Collection[int] | None = None, colour: bool = False
    ) -> Iterator[Frame]:
        """Yield frames in order; a video is decoded from its start.

        Args:
            wanted: Numbers of the frames; None for all frames that can be decoded.
            colour: Whether to yield RGB instead of grey levels.

        Raises:
            UserError: A picture cannot be read, frames differ in size, or the video ends before a
                wanted frame.
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
    """Open a clip without decoding its frames.

    Args:
        path: A video file, or a folder of pictures whose names end in the frame number.
        frame_rate: Frames per second, which replaces the rate in the file; None for the latter.

    Returns:
        The clip with the numbers of its frames and its frame rate.

    Raises:
        UserError: The path does not exist or is not a clip, the clip is too long or too large, a
            frame is missing, or the frame rate is out of range.
    """
    if frame_rate is not None and not 0 < frame_rate <= _HIGHEST_RATE:
        raise UserError(
            f"The frame rate is {frame_rate:g}, expected a number above 0 and up to"
            f" {_HIGHEST_RATE:g}, in frames per second."
        )
    try:
        kind = "folder" if path.is_dir() else "file" if path.is_file() else ""
    except (OSError, ValueError) as error:  # The name is too long or contains a null character.
        raise UserError(f"{str(path)[:100]}: not a valid file name ({error}).") from None
    if not kind:
        raise UserError(f"{path}: no such video file or folder of frames.")
    return (_open_folder if kind == "folder" else _open_video)(path, frame_rate)


def _open_video(path: Path, frame_rate: float | None) -> Footage:
    if path.suffix.lower() in PICTURE_SUFFIXES:
        raise UserError(
            f"{path}: a single picture shows no motion. Pass a video or a folder of numbered"
            " frames."
        )
    with open_video(path) as capture:
        width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        told = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        rate = capture.get(cv2.CAP_PROP_FPS)
    _check_size(path, height, width)
    # Some containers do not store the number of frames; frames are then read until the end.
    count = int(told) if 0 < told < 1e9 else MOST_FRAMES
    _check_count(path, count)
    if frame_rate is None:
        frame_rate = rate if math.isfinite(rate) and 0 < rate <= _HIGHEST_RATE else 0.0
    return Footage(path, range(count), frame_rate, None)


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
        raise UserError(
            f"{path}: frame {missing} is missing between frames {numbers[0]} and {numbers[-1]}."
            " Computing motion needs every frame."
        )
    _check_count(path, len(numbers))
    return Footage(path, numbers, frame_rate or 0.0, files)


def _check_count(path: Path, count: int) -> None:
    if count > MOST_FRAMES:
        raise UserError(
            f"{path}: the clip has {count} frames, at most {MOST_FRAMES} are allowed. Cut it into"
            " parts."
        )


def _check_size(path: Path, height: int, width: int) -> None:
    if height * width > _MOST_PIXELS:
        raise UserError(
            f"{path}: {width}x{height} pixels exceed the limit of {_MOST_PIXELS} pixels. Reduce the"
            " frames, for example to 4K."
        )
