"""One clip's share of the work, done in a process of its own: its records, or what is wrong."""

import abc
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from atnet_jax.preprocessing.face import SIZE, Box
from data_builders.source import Entry, ErrorList

Record = dict[str, Any]


@dataclass(frozen=True)
class Job(abc.ABC):
    """One clip and how to treat it.

    Attributes:
        entry: The clip.
        face: The face detector, or 'none'.
        box: The face's box where the user gives it, instead of the detector's.
    """

    entry: Entry
    face: str
    box: Box | None

    @abc.abstractmethod
    def records(self, errors: ErrorList) -> list[tuple[str, Record]]:
        """The clip's records as the builder's features want them, each with its key.

        Args:
            errors: Takes up what is wrong, if that is more than one thing.

        Raises:
            UserError: The clip cannot be used.
        """


def make_records(job: Job) -> tuple[list[tuple[str, Record]], list[str]]:
    """The records of a clip, each with its key, and all that is wrong with it."""
    key, where = job.entry.clip.key, job.entry.where
    records, errors = [], ErrorList()
    try:
        with errors.collect():
            records = job.records(errors)
    except Exception as error:
        error.add_note(f"while preparing {key} ({where})")
        raise
    return records, [
        f"{where}: {message}" if key in message else f"{where}: {key}: {message}"
        for message in errors.messages
    ]


def encode_png(image: UInt8[np.ndarray, "224 224"]) -> bytes:
    """The image as PNG; TFDS takes encoded bytes and does not look at their shape."""
    if image.shape != (SIZE, SIZE) or image.dtype != np.uint8:
        raise ValueError(f"expected uint8 {(SIZE, SIZE)}, found {image.dtype} {image.shape}")
    return cv2.imencode(".png", image)[1].tobytes()


def encode_frames(frames: UInt8[np.ndarray, "frame 224 224"]) -> bytes:
    """The frames as one PNG, one below the other; see `encode_png`."""
    if frames.ndim != 3 or frames.shape[1:] != (SIZE, SIZE) or frames.dtype != np.uint8:
        raise ValueError(f"expected uint8 (n, {SIZE}, {SIZE}), found {frames.dtype} {frames.shape}")
    return cv2.imencode(".png", frames.reshape(-1, SIZE))[1].tobytes()
