"""Digests of the data and the start of a run, digests.json, which `atnet compare` reads.

The file has no names of folders and no times: two runs with the same data, folds and initial
weights write the same bytes, unless the losses of the first step differ.
"""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from atnet_jax.errors import UserError
from atnet_jax.names import CLASSES
from atnet_jax.system import files, typed_json

FILE = "digests.json"
"""Name of the file in the workdir."""

_FORMAT = 1
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ClipDigests:
    """The content of one clip.

    Attributes:
        dataset: Database of the clip.
        subject: Subject of the clip.
        clip: Name of the clip.
        label: Class of the clip.
        inputs: Name of each input that the method reads → `Composite.clip_digests`.
    """

    dataset: str
    subject: str
    clip: str
    label: int
    inputs: Mapping[str, str]

    @property
    def key(self) -> tuple[str, str, str]:
        """Database, subject and clip."""
        return self.dataset, self.subject, self.clip


@dataclass(frozen=True)
class FoldDigests:
    """The clips and the start of one fold.

    Attributes:
        clips: SHA-256 of the names of the training, validation and test clips.
        start: SHA-256 of the initial weights. None for a method without steps, and for a fold that
            an earlier version began.
        first_loss: Training loss of the first step, or None likewise.
    """

    clips: str
    start: str | None
    first_loss: float | None


@dataclass(frozen=True)
class Digests:
    """The content of digests.json.

    Attributes:
        clips: All clips of the composite, sorted by key.
        folds: Fold number → the fold, for the folds of the run.
    """

    clips: tuple[ClipDigests, ...]
    folds: Mapping[str, FoldDigests]

    def write(self, workdir: Path) -> None:
        """Write digests.json.

        Args:
            workdir: Folder of the run.

        Raises:
            OSError: The folder does not exist or is not writable.
        """
        files.write_json_atomically(workdir / FILE, {"format": _FORMAT, **dataclasses.asdict(self)})


def read(workdir: Path) -> Digests | None:
    """Return the digests of a run, or None if an earlier version wrote the run.

    Args:
        workdir: Folder of the run.

    Raises:
        UserError: The file is unreadable or damaged.
    """
    path = workdir / FILE
    try:
        return _parse(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}. Restore the file, or train again.") from error


def _parse(data: bytes) -> Digests:
    """Return the content of the file; raise a ValueError if it is invalid."""
    found = typed_json.parse(data)
    if found.get("format") != _FORMAT:
        raise ValueError(f"format must be {_FORMAT}")
    digests = typed_json.decode(Digests, found)
    keys = [clip.key for clip in digests.clips]
    if keys != sorted(set(keys)):
        raise ValueError("clips must be sorted and different")
    for clip in digests.clips:
        if clip.label not in range(len(CLASSES)):
            raise ValueError(f"label of {'/'.join(clip.key)} must be 0 to {len(CLASSES) - 1}")
        for name, digest in clip.inputs.items():
            _check_sha256(digest, f"{name} of {'/'.join(clip.key)}")
    for number, fold in digests.folds.items():
        if not re.fullmatch(r"0|[1-9][0-9]{0,8}", number):
            raise ValueError(f"expected the number of a fold, found {number!r}")
        _check_sha256(fold.clips, f"clips of fold {number}")
        if fold.start is not None:
            _check_sha256(fold.start, f"start of fold {number}")
    return digests


def _check_sha256(text: str, what: str) -> None:
    if not _SHA256.fullmatch(text):
        raise ValueError(f"the {what} must be a SHA-256 of 64 digits, found {text[:70]!r}")
