"""One clip's share of the work: its records, or what is wrong with it.

Worker processes read the clip and cut the face out; the process that started them computes motion,
where JAX and its compiled programs exist once, and has the accelerator if there is one.
"""

import abc
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import atnet_jax
from atnet_jax.data.record import Record
from atnet_jax.preprocessing.annotation import VideoFrames
from atnet_jax.preprocessing.face import Box
from atnet_jax.system.stopwatch import Stopwatch
from data_builders.source import Entry, ErrorList

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


def name_of(job: Job, version: str) -> str:
    """The name a clip's records are kept under: a digest of all that they follow from.

    Args:
        job: The clip and how to treat it.
        version: Of the builder, which says what a record holds.

    Raises:
        OSError: One of the clip's files is gone.
    """
    digest = hashlib.sha256(repr((atnet_jax.__version__, version, job)).encode())
    for path in _files(job.entry):
        stat = path.stat()
        digest.update(f"{stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _files(entry: Entry) -> list[Path]:
    frames = entry.clip.frames
    raw = [frames.path] if isinstance(frames, VideoFrames) else list(frames.values())
    given = (entry.apex_image, entry.adm, entry.flow_map)
    return raw + [path for path in given if path is not None]
