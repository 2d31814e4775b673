"""A run's record, config.json: what the run is, written when it starts and read by all who use it.

The class is the file's form: objects for its dataclasses, lists for its tuples.
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
"""The record's name in its workdir."""

_FORMAT = 2  # Version 0.1.0 wrote no number.


@dataclass(frozen=True)
class Data:
    """What a run reads.

    Attributes:
        clips: how many clips there are; of pre-training, pictures.
        sha256: the digest of all that the method is given.
    """

    clips: int
    sha256: str


@dataclass(frozen=True)
class Folds:
    """The folds of a run.

    Attributes:
        names: of all folds of the protocol, by their number.
        run: the numbers of those that are run, ascending.
    """

    names: tuple[str, ...]
    run: tuple[int, ...]


@dataclass(frozen=True)
class Environment:
    """Where a run is computed.

    Attributes:
        device: such as "1 × cpu".
        versions: package → version.
        git: "commit" and "modified" of the code; None where it is no checkout.
    """

    device: str
    versions: Mapping[str, str]
    git: Mapping[str, Any] | None


@dataclass(frozen=True)
class Part:
    """A run of some folds that was joined with others.

    Attributes:
        folder: its workdir.
        folds: those it ran, such as "0:17".
        environment: where.
        command: the command line that repeats it.
    """

    folder: str
    folds: str
    environment: Environment
    command: str


@dataclass(frozen=True)
class Record:
    """What a run is.

    Attributes:
        config: its settings, as JSON has them.
        data: what it reads.
        init_from: the digest of the weights that it starts from; None: random ones.
        environment: where it is computed.
        command: the command line that repeats it.
        folds: which there are and which are run.
        notes: what a reader of its figures must know first, in sentences.
        excluded: rows of the annotations that give no clip.
        preparation: data set → the options that it was prepared with.
        size: "parameters" of a network or "features" of a clip → how many.
        merged: the runs that it was joined from.
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
        """The method's options, with the tuples that JSON does not have."""
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
        """Whether its labels were shuffled."""
        return bool(self.config.get("shuffle_labels"))

    @property
    def is_partial(self) -> bool:
        """Whether only some of the protocol's folds are run."""
        return len(self.folds.run) < len(self.folds.names)

    @property
    def selection(self) -> str:
        """The folds that are run, as config.folds names them: "0:3,7"."""
        return selection(self.folds.run)

    def identity(self) -> dict[str, str]:
        """All that decides what comes out, as dotted names and values.

        That is neither the engine's settings nor where the data and weights lie, but their digests.
        """
        data = dataclasses.asdict(self.data)
        about = {**of_result(self.config), "data": data, "init_from": self.init_from}
        return dict(flatten(about))

    def write(self, workdir: Path) -> None:
        """Writes config.json.

        Raises:
            OSError: the folder does not exist or cannot be written to.
        """
        files.write_json_atomically(workdir / FILE, {"format": _FORMAT, **dataclasses.asdict(self)})


def read(workdir: Path) -> Record:
    """Reads the config.json of a run.

    Raises:
        UserError: there is none, it is damaged or something else, or another version of this
            program, with other settings, wrote it.
    """
    path = workdir / FILE
    try:
        found = typed_json.parse(path.read_bytes())
        _refuse_other_forms(workdir, found)
        record = typed_json.decode(Record, found)
        for name, kind in _NEEDED.items():
            typed_json.decode(kind, record.config.get(name), f"config.{name}")
        if len(record.config["seeds"]) != 1:
            raise ValueError("config.seeds must be one seed")
        run = record.folds.run
        if not run or list(run) != sorted(set(run) & set(range(len(record.folds.names)))):
            raise ValueError("folds.run must be ascending numbers of folds.names")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"{workdir} holds no run: it has no {FILE}. Give the workdir of a run."
        ) from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    except UserError:
        raise
    except ValueError as error:
        raise UserError(
            f"{path} is damaged, or no record of a run: {error}. Restore the file, or train again"
            f" in a new --workdir."
        ) from error
    return record


# What every run's settings must hold to be read.
_NEEDED: Mapping[str, Any] = {
    "task": str,
    "protocol": str,
    "model": str,
    "options": Mapping[str, Any],
    "seeds": tuple[int, ...],
}


def flatten(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The fields of nested settings as text, with dotted names, in the order they are given."""
    for name, value in flat(settings):
        yield name, value if isinstance(value, str) else json.dumps(value, default=str)


def _refuse_other_forms(workdir: Path, found: Mapping[str, Any]) -> None:
    if found.get("format") == _FORMAT:
        return
    try:
        version = found["environment"]["versions"]["atnet_jax"]
    except (KeyError, TypeError):
        raise ValueError(f"format must be {_FORMAT}") from None
    raise UserError(
        f"{workdir} was made by atnet_jax {version}, whose settings have other names. Open it with"
        f" that version, or train again in a new --workdir."
    )
