"""The first look at a clip: every frame once, cropped to the face, to find expressions in."""

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

# A face is looked for in so many frames, from the first on and evenly over the clip's beginning.
_TRIES = 10


@dataclasses.dataclass(frozen=True)
class Scan:
    """All frames of a clip.

    Attributes:
        numbers: The frames that could be read.
        crops: Of each, cropped with one box, that of the first face seen.
        face: That face; None where the box was given or the frames are cropped already.
        warnings: What is wrong with the clip as a whole.
    """

    numbers: range
    crops: UInt8[np.ndarray, "frame 224 224"]
    face: Face | None
    warnings: list[Caveat]


def scan(footage: Footage, box: Box | None, detector: str, progress: Callable[[int], None]) -> Scan:
    """Reads all frames.

    Args:
        footage: The clip.
        box: The face's box, if it is given.
        detector: "mtcnn" or "none"; not asked where a box is given.
        progress: Told how many frames are read, now and then.

    Raises:
        UserError: No frame can be read, the clip is too long, or no face is found.
    """
    frames = footage.frames()
    passed: list[Frame] = []
    face = None
    if box is None and detector != "none":
        face = _find(frames, passed, len(footage.numbers))
        if face is None:
            raise no_face(footage, f"{len(passed)} frames")
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
        raise UserError(f"{footage.path}: no frame of this video can be decoded; convert it")
    stacked, told = np.stack(crops), len(footage.numbers)
    found = [*caveats.of_timing(seconds), *caveats.of_crops(stacked)]
    if len(crops) < told < MOST_FRAMES:
        text = f"The file declares {told} frames, but only {len(crops)} can be decoded."
        found.insert(0, Caveat("ends_early", f"{text} It may be truncated."))
    return Scan(range(numbers[0], numbers[-1] + 1), stacked, face, found)


def no_face(footage: Footage, where: str) -> UserError:
    """The error that no face was found in a clip."""
    return UserError(
        f"{footage.path}: no face found in {where}; is it dark, small, covered or turned away?"
        " Give its box with --box=x0,y0,x1,y1, or --face=none for frames that are cropped to the"
        " face already"
    )


def _find(frames: Iterator[Frame], passed: list[Frame], count: int) -> Face | None:
    """The largest face of the first frame that has one; `passed` takes up all that were read."""
    step = max(1, min(count // _TRIES, 10))
    for frame in frames:
        passed.append(frame)
        if (len(passed) - 1) % step == 0 and (faces := find_faces(frame.image)):
            return faces[0]
        if len(passed) > step * _TRIES:
            break
    return None
