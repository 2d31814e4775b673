"""First pass over a clip: crops every frame to the face, so that expressions can be spotted."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import UInt8

from atnet_jax.errors import UserError
from atnet_jax.inference.predict import caveats
from atnet_jax.inference.predict.caveats import Caveat
from atnet_jax.inference.predict.footage import MOST_FRAMES, Footage, Frame
from atnet_jax.preprocessing.face import Box, Face, crop_face, find_faces, whole_frame

# Number of frames, evenly spaced over the beginning of the clip, in which a face is sought.
_TRIES = 10


@dataclasses.dataclass(frozen=True)
class Scan:
    """All frames of a clip, cropped to the face.

    Attributes:
        numbers: Numbers of the frames that could be decoded.
        crops: Face crops of these frames, all with the box of the first face found.
        face: That face; None if the user passed a box or the frames are already cropped.
        warnings: Warnings that concern the whole clip.
    """

    numbers: range
    crops: UInt8[np.ndarray, "frame 224 224"]
    face: Face | None
    warnings: list[Caveat]


def scan(footage: Footage, box: Box | None, detector: str, progress: Callable[[int], None]) -> Scan:
    """Read all frames and crop them to the face.

    Args:
        footage: The clip.
        box: Box of the face in pixels, if the user passed one.
        detector: "mtcnn" or "none"; not used if a box is given.
        progress: Called with the number of frames read, every 100 frames.

    Returns:
        The crops of all frames, and warnings.

    Raises:
        UserError: No frame can be decoded, no face is found, or the box is outside the frame.
    """
    frames = footage.frames()
    passed: list[Frame] = []
    face = None
    if box is None and detector != "none":
        face = _find(frames, passed, len(footage.numbers))
        if face is None:
            raise UserError(no_face(footage, f"the first {len(passed)} frames"))
        box = face.box
    crops, seconds, numbers = [], [], []
    for frame in itertools.chain(passed, frames):
        box = box or whole_frame(frame.image)
        try:
            crops.append(crop_face(frame.image, box))
        except UserError as error:
            raise UserError(f"{footage.path}: {error}") from None
        seconds.append(frame.seconds)
        numbers.append(frame.number)
        if len(crops) % 100 == 0:
            progress(len(crops))
    if not crops:
        raise UserError(
            f"{footage.path}: no frame of this video can be decoded. Convert it to another format,"
            " such as MP4."
        )
    stacked, told = np.stack(crops), len(footage.numbers)
    found = [*caveats.of_timing(seconds), *caveats.of_crops(stacked)]
    if len(crops) < told < MOST_FRAMES:
        text = f"The file declares {told} frames, but only {len(crops)} can be decoded."
        found.insert(0, Caveat("ends_early", f"{text} It may be truncated."))
    return Scan(range(numbers[0], numbers[-1] + 1), stacked, face, found)


def no_face(footage: Footage, where: str) -> str:
    """Return the error message for a clip in which no face was found.

    Args:
        footage: The clip.
        where: The frames that were searched.
    """
    return (
        f"{footage.path}: no face was found in {where}. It may be dark, small, covered or turned"
        " away. Pass its box as --box=x0,y0,x1,y1, or pass --face=none if the frames are already"
        " cropped to the face."
    )


def _find(frames: Iterator[Frame], passed: list[Frame], count: int) -> Face | None:
    """Return the largest face of the first frame that has one; append read frames to `passed`."""
    step = max(1, min(count // _TRIES, 10))
    for frame in frames:
        passed.append(frame)
        if (len(passed) - 1) % step == 0 and (faces := find_faces(frame.image)):
            return faces[0]
        if len(passed) > step * _TRIES:
            break
    return None
