"""Reading of a clip's frames as pictures, grey or in colour."""

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from atnet_jax.errors import UserError
from atnet_jax.preprocessing.annotation import Clip
from atnet_jax.system.files import refuse_pointer
from atnet_jax.words import numbered

# Formats that contain the pictures themselves. FFmpeg would also follow a playlist, whatever its
# file name, to other files and hosts.
_CONTAINERS = "mov,mp4,matroska,webm,avi,mpeg,mpegts,asf,flv,ogg"
# OpenCV and FFmpeg read these when a file is opened. Our own errors replace their messages.
os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = (
    f"protocol_whitelist;file|format_whitelist;{_CONTAINERS}"
)
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


def read_image(path: Path, colour: bool = False) -> UInt8[np.ndarray, "height width *channel"]:
    """Return one picture, 0–255, read from a file.

    Grey levels of a colour picture are its luma as defined by the codec.

    Args:
        path: Picture in any format that OpenCV decodes; its name may contain any character.
        colour: Return RGB instead of grey; the channels of a grey picture are equal.

    Raises:
        UserError: The file is missing, truncated or not a picture.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot read this frame ({error.strerror}).") from None
    if not content:
        raise UserError(f"{path}: this frame is an empty file. Copy it again.")
    refuse_pointer(path, content)
    # OpenCV 4.10 fills the missing part of a truncated JPEG with grey and reports no error. Coded
    # pixels escape 0xFF, so a complete file has its end marker after the start of its last scan.
    if content.startswith(b"\xff\xd8") and content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda"):
        raise UserError(f"{path}: this JPEG is truncated. Copy it again.")
    try:
        flags = cv2.IMREAD_COLOR if colour else cv2.IMREAD_GRAYSCALE
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:  # The picture exceeds OpenCV's limit of pixels.
        raise UserError(f"{path}: OpenCV rejects this picture ({error.err}).") from None
    if image is None:
        raise UserError(
            f"{path}: OpenCV cannot decode this picture. Copy it again, or convert it, e.g. to PNG."
        )
    if colour:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return image.astype(np.uint8, copy=False)


def grey(
    image: UInt8[np.ndarray, "height width *channel"],
) -> UInt8[np.ndarray, "height width"]:
    """Return an RGB picture as grey levels (luma, ITU-R BT.601), or a grey one as it is."""
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def read_frames(
    clip: Clip, numbers: Collection[int], colour: bool = False
) -> dict[int, UInt8[np.ndarray, "height width *channel"]]:
    """Read some frames of a clip, each once.

    Frame n of a video is its n-th frame, counted from 0. The video is decoded from its start,
    because seeking is inaccurate by several frames in many formats.

    Args:
        clip: Annotation of the clip.
        numbers: Numbers of the frames, within onset…offset of the clip.
        colour: Return RGB instead of grey.

    Returns:
        The frames by number, ascending, all of the same size, 0–255.

    Raises:
        UserError: A frame is missing, unreadable or differs in size from the others; a video cannot
            be opened or ends before the clip's offset. The message names the file.
    """
    wanted = sorted(set(numbers))
    if isinstance(clip.frames, Mapping):
        sources = clip.frames
        missing = [number for number in wanted if number not in sources]
        if missing:
            raise UserError(f"{clip.key}: the file of frame {missing[0]} is missing.")
        read = ((number, sources[number], read_image(sources[number], colour)) for number in wanted)
    else:
        path = clip.frames.path
        read = ((n, path, image) for n, image in _decode_video(path, wanted, clip.offset, colour))

    frames: dict[int, np.ndarray] = {}
    for number, path, image in read:
        first = next(iter(frames.values()), image)
        if image.shape != first.shape:
            raise UserError(
                f"{path}: frame {number} has {image.shape[1]}x{image.shape[0]} pixels, the clip's"
                f" earlier frames have {first.shape[1]}x{first.shape[0]}. All frames of a clip must"
                " have the same size."
            )
        frames[number] = image
    return frames


def _decode_video(
    path: Path, wanted: list[int], last: int, colour: bool
) -> Iterator[tuple[int, UInt8[np.ndarray, "height width *channel"]]]:
    """Decode frames 0…last of a video and yield the wanted ones."""
    with open_video(path) as capture:
        remaining = set(wanted)
        for number in range(last + 1):
            if not capture.grab():
                raise UserError(
                    f"{path}: the video ends after {numbered(number, 'frame')}"
                    f" (0…{number - 1}), but the"
                    f" clip's offset is frame {last}. Frames are counted from 0."
                )
            if number in remaining:
                yield number, retrieve(capture, path, number, colour)


@contextmanager
def open_video(path: Path) -> Iterator[cv2.VideoCapture]:
    """Open a video file for the duration of the block.

    Args:
        path: Video in a format that OpenCV decodes.

    Yields:
        The video, positioned before its first frame.

    Raises:
        UserError: The file is missing, unreadable, empty or not a video that OpenCV can open.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such video file.")
    try:
        if not path.stat().st_size:
            raise UserError(f"{path}: this video is an empty file. Copy it again.")
        with path.open("rb") as file:
            refuse_pointer(path, file.read(1024))
    except OSError as error:
        raise UserError(f"{path}: cannot read this video ({error.strerror}).") from None
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        # FFmpeg cannot mistake an absolute path for a URL or for a pattern of picture files.
        capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG)
    finally:
        cv2.utils.logging.setLogLevel(level)
    try:
        if not capture.isOpened():
            raise UserError(
                f"{path}: OpenCV cannot open this video. It may be damaged, truncated or in an"
                " unsupported format. Copy it again or convert it, e.g. to MJPEG AVI."
            )
        yield capture
    finally:
        capture.release()


def retrieve(
    capture: cv2.VideoCapture, path: Path, number: int, colour: bool = False
) -> UInt8[np.ndarray, "height width *channel"]:
    """Return the frame that `capture.grab()` has read, 0–255.

    Args:
        capture: The video.
        path: Path of the video, for the error message.
        number: Number of the frame, for the error message.
        colour: Return RGB instead of grey.

    Raises:
        UserError: The frame cannot be decoded.
    """
    decoded, image = capture.retrieve()
    if not decoded:
        raise UserError(f"{path}: frame {number} cannot be decoded.")
    code = cv2.COLOR_BGR2RGB if colour else cv2.COLOR_BGR2GRAY
    return cv2.cvtColor(image, code).astype(np.uint8, copy=False)
