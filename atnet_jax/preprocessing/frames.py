"""Reading of a clip's frames as pictures, grey or in colour."""

import dataclasses
import math
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float64, UInt8, UInt16

from atnet_jax.errors import UserError
from atnet_jax.preprocessing import container
from atnet_jax.preprocessing.annotation import Clip
from atnet_jax.system.files import refuse_pointer
from atnet_jax.words import numbered

# Formats that contain the pictures themselves. FFmpeg would also follow a playlist, whatever its
# file name, to other files and hosts.
_CONTAINERS = (
    "mov,mp4,matroska,webm,avi,mpeg,mpegts,asf,flv,ogg,gif,yuv4mpegpipe,h264,hevc,ivf,mxf,nut"
)
# OpenCV and FFmpeg read these when a file is opened. Our own errors replace their messages.
os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = (
    f"protocol_whitelist;file|format_whitelist;{_CONTAINERS}"
)
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


_DEPTHS = (8, 10, 12, 14, 16)
# A higher frame rate in a file is a time base or an error.
HIGHEST_RATE = 2000.0
# Tolerated difference between the frame rates of the header and of the frames' times.
_SAME_RATE = 0.01
# A time step belongs to the usual ones if it differs from their median by at most this fraction.
_USUAL_STEP = 0.5
# Larger ratios of the sides of a pixel are errors.
_LARGEST_RATIO = 8.0


def read_image(
    path: Path, colour: bool = False, bits: int = 0
) -> UInt8[np.ndarray, "height width *channel"]:
    """Return one picture, 0–255, read from a file.

    Grey levels of a colour picture are its luma as defined by the codec. Cameras of 10, 12 or 14
    bits write pictures of 16 bits that use the lower bits only.

    Args:
        path: Picture in any format that OpenCV decodes; its name may contain any character.
        colour: Return RGB instead of grey; the channels of a grey picture are equal.
        bits: Number of bits that a picture of 16 bits uses, see `bits_used`; 0 to determine it from
            this picture. It has no effect on pictures of 8 bits.

    Raises:
        UserError: The file is missing, truncated or not a picture.
    """
    image = _decode(path, colour)
    if image.dtype == np.uint16:
        image = (image >> ((bits or bits_needed(image)) - 8)).clip(0, 255)
    if colour:
        image = cv2.cvtColor(image.astype(np.uint8), cv2.COLOR_BGR2RGB)
    return image.astype(np.uint8, copy=False)


def bits_used(paths: Iterable[Path]) -> int:
    """Return the number of bits that the frames of a clip use, 8 to 16.

    A dark frame uses fewer bits than the others. All frames of a clip must be scaled alike.

    Args:
        paths: Files of the frames. If the first has 8 bits, the others are not read.

    Raises:
        UserError: A file is missing, truncated or not a picture.
    """
    most = 8
    for path in paths:
        image = _decode(path, colour=False)
        if image.dtype != np.uint16:
            return 8
        most = max(most, bits_needed(image))
    return most


def bits_needed(image: UInt16[np.ndarray, "height width *channel"]) -> int:
    """Return the smallest usual number of bits that holds all values of a picture of 16 bits."""
    return next(bits for bits in _DEPTHS if int(image.max()) < 2**bits)


def _decode(path: Path, colour: bool) -> np.ndarray:
    """Return one picture as stored, of 8 or 16 bits, grey or BGR."""
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
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:  # The picture exceeds OpenCV's limit of pixels.
        raise UserError(f"{path}: OpenCV rejects this picture ({error.err}).") from None
    if image is None:
        raise UserError(
            f"{path}: OpenCV cannot decode this picture. Copy it again, or convert it, e.g. to PNG."
        )
    if image.dtype not in (np.uint8, np.uint16):
        raise UserError(
            f"{path}: the pixels are {image.dtype} numbers, expected 8 or 16 bits. Convert the"
            " picture, e.g. to PNG."
        )
    return image


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
            be opened, ends before the clip's offset, or all its frames are equal. The message names
            the file.
    """
    wanted = sorted(set(numbers))
    if isinstance(clip.frames, Mapping):
        sources = clip.frames
        missing = [number for number in wanted if number not in sources]
        if missing:
            raise UserError(f"{clip.key}: the file of frame {missing[0]} is missing.")
        of_clip = (sources[n] for n in range(clip.onset, clip.offset + 1) if n in sources)
        bits = bits_used(of_clip)  # Each call for this clip must scale alike.
        read = (
            (number, sources[number], read_image(sources[number], colour, bits))
            for number in wanted
        )
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
    pictures = list(frames.values())
    if not isinstance(clip.frames, Mapping) and _all_equal(pictures):
        raise UserError(f"{clip.frames.path}: {_NOT_CONVERTED}")
    return frames


# OpenCV does not convert interlaced frames. It reports no error and returns its buffer as it is:
# black, or with the last frame of another video.
_NOT_CONVERTED = (
    "all frames that OpenCV returns are equal. If a player shows motion, the video is interlaced or"
    " in another format that OpenCV does not convert. Convert it, for example with `ffmpeg -i OLD"
    " -vf bwdif NEW.mp4`."
)


def _all_equal(images: Sequence[np.ndarray]) -> bool:
    return len(images) > 1 and all(np.array_equal(image, images[0]) for image in images[1:])


def _decode_video(
    path: Path, wanted: list[int], last: int, colour: bool
) -> Iterator[tuple[int, UInt8[np.ndarray, "height width *channel"]]]:
    """Decode frames 0…last of a video and yield the wanted ones."""
    with open_video(path) as video:
        remaining = set(wanted)
        for number in range(last + 1):
            if not video.grab():
                raise UserError(
                    f"{path}: the video ends after {numbered(number, 'frame')}"
                    f" (0…{number - 1}), but the"
                    f" clip's offset is frame {last}. Frames are counted from 0."
                )
            if number in remaining:
                yield number, video.retrieve(number, colour)


class Video:
    """A video file, read frame by frame as a player shows it.

    OpenCV applies a rotation by a multiple of 90 degrees that the file requests. This class adds
    the stretching of pixels that are not square, and mirroring.

    Attributes:
        path: The file.
        capture: OpenCV's reader.
    """

    def __init__(self, path: Path, capture: cv2.VideoCapture) -> None:
        """Read the header of an open video.

        Args:
            path: The file.
            capture: OpenCV's reader, positioned before the first frame.
        """
        self.path = path
        self.capture = capture
        width, height = capture.get(cv2.CAP_PROP_SAR_NUM), capture.get(cv2.CAP_PROP_SAR_DEN)
        ratio = width / height if width > 0 and height > 0 else 1.0
        if not 1 / _LARGEST_RATIO <= ratio <= _LARGEST_RATIO:
            ratio = 1.0
        self.turn = round(capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 360
        on_its_side = self.turn in (90, 270)
        # OpenCV has rotated the frame; the ratio describes the stored one.
        self._pixel_ratio = 1 / ratio if on_its_side else ratio
        # OpenCV omits the mirroring. Its picture is upside down or, after a rotation by 90 or 270
        # degrees, has left and right exchanged.
        self._flip = (1 if on_its_side else 0) if container.is_mirrored(path) else None

    def grab(self) -> bool:
        """Decode the next frame, and return False at the end of the video."""
        return self.capture.grab()

    def retrieve(self, number: int, colour: bool = False) -> UInt8[np.ndarray, "_ _ *channel"]:
        """Return the frame that `grab` has decoded, 0–255.

        Args:
            number: Number of the frame, for the error message.
            colour: Return RGB instead of grey.

        Raises:
            UserError: The frame cannot be decoded.
        """
        try:
            decoded, image = self.capture.retrieve()
        except cv2.error as error:
            raise UserError(
                f"{self.path}: frame {number} cannot be decoded ({error.err})."
            ) from None
        if not decoded:
            raise UserError(f"{self.path}: frame {number} cannot be decoded.")
        code = cv2.COLOR_BGR2RGB if colour else cv2.COLOR_BGR2GRAY
        image = cv2.cvtColor(image, code)
        if self._flip is not None:
            image = cv2.flip(image, self._flip)
        if self._pixel_ratio != 1:
            # The shorter side of the pixels is enlarged, so that no detail is lost.
            across, down = max(self._pixel_ratio, 1.0), max(1 / self._pixel_ratio, 1.0)
            image = cv2.resize(image, None, fx=across, fy=down, interpolation=cv2.INTER_LINEAR)
        return image.astype(np.uint8, copy=False)


@contextmanager
def open_video(path: Path) -> Iterator[Video]:
    """Open a video file for the duration of the block.

    Args:
        path: Video in a format that OpenCV decodes; its name may contain any character.

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
        file = path.open("rb")
    except OSError as error:
        raise UserError(f"{path}: cannot read this video ({error.strerror}).") from None
    with file:
        refuse_pointer(path, file.read(1024))
        # FFmpeg cannot mistake an absolute path for a URL or for a pattern of picture files.
        name = str(path.absolute())
        try:
            name.encode()
        except UnicodeEncodeError:
            # OpenCV 4.14 crashes on a name that is not UTF-8.
            name = f"/proc/self/fd/{file.fileno()}"
        level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        try:
            capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
        finally:
            cv2.utils.logging.setLogLevel(level)
        try:
            if not capture.isOpened():
                kind = container.kind(path)
                reason = (
                    f"The file is {kind}."
                    if kind
                    else "It may be damaged, truncated or in an unsupported format. Copy it again"
                    " or convert it, e.g. to MJPEG AVI."
                )
                raise UserError(f"{path}: OpenCV cannot open this video. {reason}")
            yield Video(path, capture)
        finally:
            capture.release()


@dataclasses.dataclass(frozen=True)
class Survey:
    """What the frames of a video state, in contrast to its header.

    Attributes:
        frames: Number of frames that can be decoded.
        seconds: Time of each frame in seconds, NaN if unknown.
        frame_rate: Frames per second, 0 if unknown. It is the rate in the header if the times of
            the frames agree with it.
        told_rate: Frames per second according to the header.
        lost: Number of frames that the header promises but the file does not contain.
        turn: Rotation in degrees that the file asks for and OpenCV does not apply, or 0.
        cropped: Whether the file asks players to show a part of the picture only.
    """

    frames: int
    seconds: Float64[np.ndarray, " frame"]
    frame_rate: float
    told_rate: float
    lost: int
    turn: int
    cropped: bool


def survey(path: Path, most_frames: int, most_pixels: int) -> Survey:
    """Decode a video once, and count and time its frames.

    Headers are often wrong: a recording of a browser states no length and 1000 frames per second,
    that of a crashed recorder too few frames, and a file joined from parts the length of the first.

    Args:
        path: A video file.
        most_frames: Largest number of frames that is accepted.
        most_pixels: Largest number of pixels per frame that is accepted.

    Returns:
        What the frames state.

    Raises:
        UserError: The video cannot be opened, has too many frames or pixels, or no frame that can
            be decoded, or all its frames are equal.
    """
    seconds: list[float] = []
    first, changes, start = None, False, 0.0
    with open_video(path) as video:
        told_rate = video.capture.get(cv2.CAP_PROP_FPS)
        told = video.capture.get(cv2.CAP_PROP_FRAME_COUNT)
        across = int(video.capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        down = int(video.capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if across * down > most_pixels:
            raise UserError(
                f"{path}: {across}x{down} pixels exceed the limit of {most_pixels} pixels. Reduce"
                " the frames, for example to 4K."
            )
        while video.grab():
            number = len(seconds)
            if number == most_frames:
                raise UserError(
                    f"{path}: the clip has more than {most_frames} frames. Cut it into parts."
                )
            if not number:  # In frames; the times that OpenCV reports begin at 0.
                start = video.capture.get(cv2.CAP_PROP_PTS)
            time = video.capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            # OpenCV reports the time 0 for a frame without a time.
            seconds.append(time if time or not number else math.nan)
            if not changes:
                image = video.retrieve(number)
                first = image if first is None else first
                changes = not np.array_equal(image, first)
    if first is None:
        raise UserError(
            f"{path}: no frame of this video can be decoded. Convert it to another format, such as"
            " MP4."
        )
    if len(seconds) > 1 and not changes:
        raise UserError(f"{path}: {_NOT_CONVERTED}")
    times = np.array(seconds)
    rate = 0.0 if container.lacks_frame_rate(path) else _rate(times, told_rate)
    lost = 0
    if len(times) < told < most_frames and not _covered(times, rate, told - start, told_rate):
        lost = int(told) - _stored_frames(path)
    return Survey(
        frames=len(times),
        seconds=times,
        frame_rate=rate,
        told_rate=told_rate,
        lost=max(lost, 0),
        turn=video.turn if video.turn % 90 else 0,
        cropped=container.is_cropped(path, across, down),
    )


def _rate(seconds: Float64[np.ndarray, " frame"], told: float) -> float:
    """Return the frame rate according to the times of the frames, or 0 if they have none."""
    known = np.flatnonzero(np.isfinite(seconds))
    steps = np.diff(seconds[known]) / np.diff(known)
    steps = steps[steps > 0]
    if not len(steps):
        return told if len(seconds) == 1 and 0 < told <= HIGHEST_RATE else 0.0
    # Times are rounded, to milliseconds in WebM, so that the median step is inaccurate.
    usual = np.median(steps)
    rate = 1 / steps[np.abs(steps / usual - 1) <= _USUAL_STEP].mean()
    if math.isfinite(told) and abs(told / rate - 1) <= _SAME_RATE:
        rate = told
    return float(rate) if rate <= HIGHEST_RATE else 0.0


def _covered(
    seconds: Float64[np.ndarray, " frame"], rate: float, told: float, told_rate: float
) -> bool:
    """Return whether the frames reach the end of the video, whatever number the header states.

    OpenCV estimates a missing number of frames from the duration and the stated rate. In Matroska,
    the duration includes the time before the first frame.
    """
    if not rate or not 0 < told_rate <= HIGHEST_RATE:
        return rate > 0
    return bool(np.nanmax(seconds) + 1 / rate > told / told_rate - 1.5 / rate)


def _stored_frames(path: Path) -> int:
    """Return the number of frames that can be decoded, with those that an edit list leaves out.

    Phones trim a video without encoding it again: the file keeps all frames, and an edit list names
    those that players show.
    """
    options = os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"]
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = f"{options}|ignore_editlist;1"
    try:
        with open_video(path) as video:
            count = 0
            while video.grab():
                count += 1
            return count
    finally:
        os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = options
