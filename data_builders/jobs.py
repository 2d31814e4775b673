"""One clip's share of the work: its records, or what is wrong with it.

Worker processes read the clip and cut the face out; the process that started them computes motion,
where JAX and its compiled programs exist once, and has the accelerator if there is one.
"""

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import numpy as np
from jaxtyping import UInt8

from atnet_jax.preprocessing.face import SIZE, Box
from data_builders.source import Entry, ErrorList
from data_builders.stopwatch import Stopwatch

Record = dict[str, Any]
Result = TypeVar("Result")

# Stages of the work, as the user reads them.
CUTTING, ENCODING, FLOW, ADM = "reading and cropping", "encoding", "flow", "ADM"


@dataclass(frozen=True)
class Job(abc.ABC):
    """One clip and how to treat it; its `repr` tells all of that.

    Attributes:
        entry: The clip.
        face: The face detector, or 'none'.
        box: The face's box where the user gives it, instead of the detector's.
    """

    entry: Entry
    face: str
    box: Box | None

    @abc.abstractmethod
    def cut(self, errors: ErrorList, watch: Stopwatch) -> Any:
        """The worker process's part.

        Args:
            errors: Takes up what is wrong, if that is more than one thing.
            watch: Takes the time of encoding.

        Returns:
            What `describe` makes the records of.

        Raises:
            UserError: The clip cannot be used.
        """

    def describe(self, pieces: Any, watch: Stopwatch) -> list[tuple[str, Record]]:
        """The part of the process that started the workers; nothing, where no motion is computed.

        Args:
            pieces: As `cut` returns them.
            watch: Takes the time of each stage.

        Returns:
            The clip's records as the builder's features want them, each with its key.

        Raises:
            UserError: The clip cannot be used.
        """
        del watch
        return pieces


@dataclass(frozen=True)
class Cut:
    """What a worker process hands back.

    Attributes:
        pieces: The clip's, without a meaning where something is wrong.
        messages: All that is wrong.
        seconds: Time by stage.
    """

    pieces: Any
    messages: list[str]
    seconds: Mapping[str, float]


def cut_clip(job: Job) -> Cut:
    """The worker process's part of a clip."""
    watch = Stopwatch()
    with watch.stage(CUTTING):
        pieces, messages = _attempt(job, lambda errors: job.cut(errors, watch))
    return Cut(pieces, messages, watch.seconds)


def describe_clip(
    job: Job, cut: Cut, watch: Stopwatch
) -> tuple[list[tuple[str, Record]], list[str]]:
    """The records of a clip, each with its key, or all that is wrong with it."""
    if cut.messages:
        return [], cut.messages
    records, messages = _attempt(job, lambda _: job.describe(cut.pieces, watch))
    return records or [], messages


def _attempt(job: Job, work: Callable[[ErrorList], Result]) -> tuple[Result | None, list[str]]:
    """What the work results in, and the errors, which name the clip."""
    key, where = job.entry.clip.key, job.entry.where
    result, errors = None, ErrorList()
    try:
        with errors.collect():
            result = work(errors)
    except Exception as error:
        error.add_note(f"while preparing {key} ({where})")
        raise
    return result, [
        f"{where}: {message}" if key in message else f"{where}: {key}: {message}"
        for message in errors.messages
    ]


def encode_png(image: UInt8[np.ndarray, "224 224"]) -> bytes:
    """The image as PNG; TFDS takes encoded bytes and does not look at their shape."""
    if image.shape != (SIZE, SIZE) or image.dtype != np.uint8:
        raise ValueError(f"expected uint8 {(SIZE, SIZE)}, found {image.dtype} {image.shape}")
    return cv2.imencode(".png", image)[1].tobytes()


def encode_colour(pictures: UInt8[np.ndarray, "height 224 3"]) -> bytes:
    """RGB pictures, one below the other, as PNG."""
    return cv2.imencode(".png", cv2.cvtColor(pictures, cv2.COLOR_RGB2BGR))[1].tobytes()


def encode_frames(frames: UInt8[np.ndarray, "frame 224 224"]) -> bytes:
    """The frames as one PNG, one below the other; see `encode_png`."""
    if frames.ndim != 3 or frames.shape[1:] != (SIZE, SIZE) or frames.dtype != np.uint8:
        raise ValueError(f"expected uint8 (n, {SIZE}, {SIZE}), found {frames.dtype} {frames.shape}")
    return cv2.imencode(".png", frames.reshape(-1, SIZE))[1].tobytes()
