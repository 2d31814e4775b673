"""The work on one clip, which results in its records or in error messages.

Worker processes read the clip and crop the face. The main process computes motion, so that JAX and
its compiled programs exist only once. The main process also owns the accelerator, if there is one.
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
from atnet_jax.system.kept import KeptRecords
from atnet_jax.system.stopwatch import Stopwatch
from data_builders.source import Entry, ErrorList

Result = TypeVar("Result")

# Names of the stages in the printed timing.
CUTTING, ENCODING, FLOW, ADM = "reading and cropping", "encoding", "flow", "ADM"
# Key under which a clip's notes are stored beside its records, whose keys contain slashes.
_NOTES = "notes"


@dataclass(frozen=True)
class Job(abc.ABC):
    """One clip and how to process it. Its `repr` contains all of this.

    Attributes:
        entry: The clip.
        face: The face detector, or 'none'.
        box: The face's box given by the user, which replaces the detector's; or None.
    """

    entry: Entry
    face: str
    box: Box | None

    @abc.abstractmethod
    def cut(self, errors: ErrorList, watch: Stopwatch) -> Any:
        """Read and crop the clip in a worker process.

        Args:
            errors: Collects the errors, if there can be several.
            watch: Measures the time of encoding.

        Returns:
            The input of `describe`.

        Raises:
            UserError: The clip cannot be used.
        """

    def describe(self, pieces: Any, watch: Stopwatch) -> list[tuple[str, Record]]:
        """Compute the records in the main process. By default, `pieces` are the records.

        Args:
            pieces: The return value of `cut`.
            watch: Measures the time of each stage.

        Returns:
            The clip's records in the form of the builder's features, each with its key.

        Raises:
            UserError: The clip cannot be used.
        """
        del watch
        return pieces


@dataclass(frozen=True)
class Cut:
    """Result of a worker process.

    Attributes:
        pieces: The return value of `Job.cut`. It is meaningless if there are messages.
        messages: All error messages.
        notes: What the user should know of the clip.
        seconds: Time in seconds by stage.
    """

    pieces: Any
    messages: list[str]
    notes: list[str]
    seconds: Mapping[str, float]


def cut_clip(job: Job) -> Cut:
    """Run `job.cut`, collect its errors and measure its time."""
    watch = Stopwatch()
    with watch.stage(CUTTING):
        pieces, errors = _attempt(job, lambda errors: job.cut(errors, watch))
    notes = [f"{job.entry.clip.key}: {note}" for note in errors.notes]
    return Cut(pieces, errors.messages, notes, watch.seconds)


def describe_clip(
    job: Job, cut: Cut, watch: Stopwatch
) -> tuple[list[tuple[str, Record]], list[str]]:
    """Return the records of a clip with their keys, and all error messages.

    Args:
        job: The clip and how to process it.
        cut: The return value of `cut_clip` for this job.
        watch: Measures the time of each stage.
    """
    if cut.messages:
        return [], cut.messages
    records, errors = _attempt(job, lambda _: job.describe(cut.pieces, watch))
    return records or [], errors.messages


def keep(kept: KeptRecords, name: str, records: list[tuple[str, Record]], notes: list[str]) -> None:
    """Store a clip's finished records and notes for a later run.

    Args:
        kept: Where they are stored.
        name: The return value of `name_of`.
        records: The clip's records with their keys.
        notes: What the user should know of the clip.
    """
    kept.write(name, [*records, (_NOTES, {"texts": notes})])


def recall(kept: KeptRecords, name: str) -> tuple[list[tuple[str, Record]], list[str]]:
    """Return the records and notes that `keep` stored under a name.

    Args:
        kept: Where they are stored.
        name: The return value of `name_of`.
    """
    records = dict(kept.read(name))
    notes = records.pop(_NOTES)["texts"]
    return list(records.items()), list(notes)


def _attempt(job: Job, work: Callable[[ErrorList], Result]) -> tuple[Result | None, ErrorList]:
    """Return the result of the work, and the errors, which name the clip."""
    key, where = job.entry.clip.key, job.entry.where
    result, errors = None, ErrorList()
    try:
        with errors.collect():
            result = work(errors)
    except Exception as error:
        error.add_note(f"while preparing {key} ({where})")
        raise
    errors.messages = [
        f"{where}: {message}" if key in message else f"{where}: {key}: {message}"
        for message in errors.messages
    ]
    return result, errors


def name_of(job: Job, version: str) -> str:
    """Return the name under which a clip's finished records are stored.

    The name is a digest of everything that determines the records.

    Args:
        job: The clip and how to process it.
        version: Version of the builder, which determines the features of a record.

    Raises:
        OSError: One of the clip's files no longer exists.
    """
    digest = hashlib.sha256(repr((atnet_jax.__version__, version, _NOTES, job)).encode())
    for path in _files(job.entry):
        stat = path.stat()
        digest.update(f"{stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _files(entry: Entry) -> list[Path]:
    frames = entry.clip.frames
    raw = [frames.path] if isinstance(frames, VideoFrames) else list(frames.values())
    given = (entry.apex_image, entry.adm, entry.flow_map)
    return raw + [path for path in given if path is not None]
