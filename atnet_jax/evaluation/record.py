"""The record of a run, config.json: settings, data, folds and environment, written at its start.

`Record` defines the format of the file: JSON objects for dataclasses, lists for tuples.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atnet_jax.config import flat, of_result
from atnet_jax.data.composite import Exclusion
from atnet_jax.data.folds import selection
from atnet_jax.errors import UserError
from atnet_jax.system import files, typed_json

FILE = "config.json"
"""Name of the record in the workdir."""

_FORMAT = 2  # Files of version 0.1.0 have no format number.


@dataclass(frozen=True)
class Data:
    """The input data of a run.

    Attributes:
        clips: Number of clips; number of pictures for pre-training.
        sha256: Digest of the clips' names, labels and inputs.
    """

    clips: int
    sha256: str


@dataclass(frozen=True)
class Folds:
    """The folds of a run.

    Attributes:
        names: Names of all folds of the protocol, indexed by fold number.
        run: Numbers of the folds in the run, ascending.
    """

    names: tuple[str, ...]
    run: tuple[int, ...]


@dataclass(frozen=True)
class Environment:
    """The device and software of a run.

    Attributes:
        device: Number and kind of devices, such as "1 × cpu".
        versions: Package → version.
        git: "commit" and "modified" of the code; None outside a Git checkout.
        processor: Model of the processor.
        platform: Operating system, instruction set and C library.
        threads: Number of CPUs that the run could use.
        xla_flags: The environment variable XLA_FLAGS.

    The last four are None in records of earlier versions.
    """

    device: str
    versions: Mapping[str, str]
    git: Mapping[str, Any] | None
    processor: str | None = None
    platform: str | None = None
    threads: int | None = None
    xla_flags: str | None = None


@dataclass(frozen=True)
class Part:
    """A run of some folds that was merged with other runs.

    Attributes:
        folder: Workdir of the run.
        folds: Folds of the run, such as "0:17".
        environment: Device and software of the run.
        command: Command line that repeats the run.
    """

    folder: str
    folds: str
    environment: Environment
    command: str


@dataclass(frozen=True)
class Record:
    """The identity and origin of a run.

    Attributes:
        config: Settings, as JSON stores them.
        data: Input data.
        init_from: Digest of the initial weights; None for random weights.
        environment: Device and software.
        command: Command line that repeats the run.
        folds: Folds of the protocol and of the run.
        notes: Sentences that a reader must know before the scores.
        excluded: Rows of the annotations that yield no clip.
        preparation: Data set → options of its preparation.
        size: "parameters" of a network or "features" of a clip → their number.
        merged: The runs that were merged into this one.
    """

    config: Mapping[str, Any]
    data: Data
    init_from: str | None
    environment: Environment
    command: str
    folds: Folds
    notes: tuple[str, ...] = ()
    excluded: tuple[Exclusion, ...] = ()
    preparation: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    size: Mapping[str, int] = dataclasses.field(default_factory=dict)
    merged: tuple[Part, ...] = ()

    @property
    def task(self) -> str:
        """The task: "evaluate", "final" or "pretrain"."""
        return self.config["task"]

    @property
    def protocol(self) -> str:
        """The protocol: "cde" or "hde"."""
        return self.config["protocol"]

    @property
    def model(self) -> str:
        """The method's name."""
        return self.config["model"]

    @property
    def options(self) -> dict[str, Any]:
        """The method's options, with JSON's lists converted to tuples."""
        return {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in self.config["options"].items()
        }

    @property
    def seed(self) -> int:
        """The seed of all its randomness."""
        return self.config["seeds"][0]

    @property
    def is_control(self) -> bool:
        """True if the labels were shuffled."""
        return bool(self.config.get("shuffle_labels"))

    @property
    def is_partial(self) -> bool:
        """True if the run has only some of the protocol's folds."""
        return len(self.folds.run) < len(self.folds.names)

    @property
    def selection(self) -> str:
        """The folds of the run in the notation of config.folds, such as "0:3,7"."""
        return selection(self.folds.run)

    def identity(self) -> dict[str, str]:
        """Return everything that determines the results, as dotted names and values.

        This includes digests of the data and weights, but neither their paths nor the settings of
        the engine.
        """
        data = dataclasses.asdict(self.data)
        about = {**of_result(self.config), "data": data, "init_from": self.init_from}
        return dict(flatten(about))

    def write(self, workdir: Path) -> None:
        """Write config.json.

        Args:
            workdir: Folder of the run.

        Raises:
            OSError: The folder does not exist or is not writable.
        """
        files.write_json_atomically(workdir / FILE, {"format": _FORMAT, **dataclasses.asdict(self)})


def run_folders(workdir: Path) -> list[Path]:
    """Return the folders of all runs in a workdir, with seed 10 after seed 2.

    Args:
        workdir: The workdir of one run, of several seeds (`seed_N`), or of a table or leaderboard
            (`METHOD/seed_N` or `PROTOCOL/METHOD/seed_N`).

    Raises:
        UserError: There is none.
    """
    found = [path.parent for depth in range(4) for path in workdir.glob("*/" * depth + FILE)]
    if not found:
        raise UserError(f"{workdir} holds no run: it has no {FILE}. Pass the workdir of a run.")
    return sorted(found, key=lambda folder: (folder.parent, len(folder.name), folder))


def read(workdir: Path) -> Record:
    """Return the record in config.json of a run.

    Args:
        workdir: Folder of the run.

    Raises:
        UserError: The file is missing, unreadable, damaged or not the record of a run, or a
            version of this program with other settings wrote it.
    """
    path = workdir / FILE
    try:
        found = typed_json.parse(path.read_bytes())
        _refuse_other_formats(workdir, found)
        record = typed_json.decode(Record, found)
        _check(record)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"{workdir} holds no run: it has no {FILE}. Pass the workdir of a run."
        ) from error
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    except UserError:
        raise
    except ValueError as error:
        raise UserError(
            f"{path} is damaged or is not the record of a run: {error}. Restore the file, or train"
            f" again in a new --workdir."
        ) from error
    return record


def _check(record: Record) -> None:
    for name, kind in _NEEDED.items():
        typed_json.decode(kind, record.config.get(name), f"config.{name}")
    if len(record.config["seeds"]) != 1:
        raise ValueError("config.seeds must be one seed")
    run = record.folds.run
    if not run or list(run) != sorted(set(run) & set(range(len(record.folds.names)))):
        raise ValueError("folds.run must be ascending numbers of folds.names")


# Settings that the record of every run must contain.
_NEEDED: Mapping[str, Any] = {
    "task": str,
    "protocol": str,
    "model": str,
    "options": Mapping[str, Any],
    "seeds": tuple[int, ...],
}


def flatten(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the dotted name and the value as text of each field of nested settings, in order."""
    for name, value in flat(settings):
        yield name, value if isinstance(value, str) else json.dumps(value, default=str)


def _refuse_other_formats(workdir: Path, found: Mapping[str, Any]) -> None:
    if found.get("format") == _FORMAT:
        return
    try:
        version = found["environment"]["versions"]["atnet_jax"]
    except (KeyError, TypeError):
        raise ValueError(f"format must be {_FORMAT}") from None
    raise UserError(
        f"{workdir} was created by atnet_jax {version}, whose settings have other names. Open it"
        f" with that version, or train again in a new --workdir."
    )
