"""A finished run, as its workdir holds it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

from atnet_jax import models, published
from atnet_jax.config import refuse_old
from atnet_jax.errors import UserError
from atnet_jax.evaluation import inflation, metrics, predictions
from atnet_jax.evaluation.inflation import EpochScores
from atnet_jax.evaluation.metrics import Evaluation
from atnet_jax.evaluation.predictions import Prediction

TABLES = {"cde": published.TABLE_II, "hde": published.TABLE_III}
"""The paper's table of each protocol."""


class Curve(TypedDict):
    """What one fold's training recorded: its name, and a value of each kind per epoch.

    `kept_epoch` is the one whose network was tested, and `seconds` what each epoch took, if that
    was recorded.
    """

    name: str
    kept_epoch: NotRequired[int]
    epoch: Sequence[int]
    loss: Sequence[float]
    accuracy: Sequence[float]
    seconds: NotRequired[Sequence[float]]


class Exclusion(NamedTuple):
    """A row of a database's annotation that gives no clip, and why."""

    dataset: str
    clip: str
    reason: str


@dataclass(frozen=True)
class Run:
    """One run: a method under a protocol, with one seed.

    Attributes:
        protocol: "cde" or "hde".
        model: name of the method.
        title: what tables call the method with its options.
        paper_row: the method's row in the paper's tables, None if the paper does not have it.
        predictions: the tested clips.
        metrics: `metrics.evaluate(predictions)`.
        config: the run's settings; may be nested.
        curves: training curves by fold; empty for a method that is not trained by epochs.
        epoch_scores: what the clips scored after each epoch, if that was kept.
        notes: what a reader must know first, e.g. "labels were shuffled: control run".
        exclusions: rows of the annotations that gave no clip; None if that was not recorded.
        clips: number of clips in the data, which is more than were tested if only some folds ran.
        digest: of the data that the run read.
        init_from: digest of the weights that it started from, None for random ones.
        size: "parameters" of a network or "features" of a clip -> how many, if that was recorded.
        versions: package -> version.
        device: what the run was computed on.
        command: the command line that repeats the run.
        workdir: where it was read from.
    """

    protocol: str
    model: str
    title: str
    paper_row: str | None
    predictions: Sequence[Prediction]
    metrics: Mapping[str, Evaluation]
    config: Mapping[str, Any]
    curves: Mapping[int, Curve] = field(default_factory=dict)
    epoch_scores: EpochScores | None = None
    notes: Sequence[str] = ()
    exclusions: Sequence[Exclusion] | None = None
    clips: int | None = None
    digest: str = ""
    init_from: str | None = None
    size: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    device: str = ""
    command: str = ""
    workdir: Path = Path()

    def __post_init__(self):
        if self.protocol not in TABLES:
            expected = ", ".join(sorted(TABLES))
            raise ValueError(f"unknown protocol {self.protocol!r}; expected one of {expected}")
        if self.paper_row is not None and self.paper_row not in TABLES[self.protocol]:
            rows = ", ".join(TABLES[self.protocol])
            raise ValueError(f"no row {self.paper_row!r} in the paper's tables; they have {rows}")

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.predictions[0].seed

    @property
    def is_control(self) -> bool:
        """Whether its labels were shuffled."""
        return bool(self.config.get("shuffle_labels"))

    @property
    def is_partial(self) -> bool:
        """Whether only some of the protocol's folds were run."""
        too_few = self.clips is not None and len(self.predictions) < self.clips
        return bool(self.config.get("folds")) or too_few


def load_run(workdir: Path) -> Run:
    """Read a finished run from its workdir, and from nothing else.

    Raises:
        UserError: the folder holds no finished run, or a file of it is damaged or does not belong
            to the others. The message names the file.
    """
    workdir = Path(workdir)
    path = workdir / "config.json"
    if not path.is_file():
        raise UserError(
            f"{workdir} holds no run: it has no config.json. Give the workdir of a finished run."
        )
    record = _read_json(path)
    try:
        config = _typed(record, "config", dict)
        refuse_old(config)
        protocol, model = _typed(config, "protocol", str), _typed(config, "model", str)
        (seed,) = [_is(seed, int, "a seed") for seed in _typed(config, "seeds", list)]
        data = _typed(record, "data", dict)
        digest, clips = _typed(data, "sha256", str), _typed(data, "clips", int)
        environment = _typed(record, "environment", dict, {})
        versions = _typed(environment, "versions", dict, {})
        excluded = _typed(record, "excluded", list, None)
        if config["task"] != "evaluate":
            raise ValueError(f"the report is of cde and hde; this is a run of {config['task']!r}")
        options = _options(config)
        method = models.find(model) if model in models.names() else None
        size = _typed(record, "size", dict, {})
        common: dict[str, Any] = {
            "protocol": protocol,
            "model": model,
            "config": config,
            "title": model if method is None else method.title_of(options),
            "paper_row": None if method is None else method.paper_row_of(options),
            "size": {name: _is(count, int, f"size {name!r}") for name, count in size.items()},
            "notes": [_is(note, str, "a note") for note in _typed(record, "notes", list, [])],
            "exclusions": None if excluded is None else [_exclusion(row) for row in excluded],
            "clips": clips,
            "digest": digest,
            "init_from": _typed(record, "init_from", str | None, None),
            "versions": {name: str(version) for name, version in versions.items()},
            "device": _typed(environment, "device", str, ""),
            "command": _typed(record, "command", str, ""),
            "workdir": workdir,
        }
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error

    for name in ("predictions.csv", "metrics.json"):
        if not (workdir / name).is_file():
            raise UserError(
                f"{workdir} holds no finished run: it has no {name}. Start the run's command again,"
                f" which goes on where it stopped, or leave this folder out."
            )
    rows, results = _scored(workdir, protocol, seed)
    if len(rows) > clips:
        raise UserError(
            f"{workdir / 'predictions.csv'}: {len(rows)} clips, but config.json says that the data"
            f" hold {clips}; are both of the same run?"
        )
    scores = workdir / "epoch_scores.npz"
    try:
        return Run(
            predictions=rows,
            metrics=results,
            curves=_curves(workdir / "curves.json"),
            epoch_scores=inflation.read_epoch_scores(scores, len(rows))
            if scores.exists()
            else None,
            **common,
        )
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error


def _scored(
    workdir: Path, protocol: str, seed: int
) -> tuple[list[Prediction], dict[str, Evaluation]]:
    """The predictions and their scores, which must be those that the run wrote down."""
    path = workdir / "predictions.csv"
    rows = predictions.read(path)
    for row in rows:
        if (row.protocol, row.seed) != (protocol, seed):
            raise UserError(
                f"{path}: clip {row.dataset}/{row.subject}/{row.clip} is of protocol"
                f" {row.protocol!r} and seed {row.seed}, but config.json says {protocol!r} and"
                f" {seed}; are both of the same run?"
            )
    try:
        results = metrics.evaluate(rows)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    path = workdir / "metrics.json"
    written = _read_json(path)
    for group, scores in results.items():
        there = written.get(group)
        if not isinstance(there, dict) or not all(
            _is_number(there.get(name)) and math.isclose(there[name], scores[name], abs_tol=1e-9)
            for name in metrics.METRICS
        ):
            raise UserError(
                f"{path}: the scores of {group!r} do not follow from predictions.csv; are both of"
                f" the same run?"
            )
    return rows, results


def _curves(path: Path) -> dict[int, Curve]:
    if not path.exists():
        return {}
    curves: dict[int, Curve] = {}
    try:
        for fold, curve in _read_json(path).items():
            if not fold.isdecimal() or not fold.isascii():
                raise ValueError(f"expected the number of a fold, found {fold!r}")
            values = {
                name: _typed(_is(curve, dict, f"fold {fold}"), name, list)
                for name in ("epoch", "loss", "accuracy")
            }
            if len({len(series) for series in values.values()}) > 1:
                raise ValueError(f"the lists of fold {fold} differ in length")
            if not all(_is_number(value) for series in values.values() for value in series):
                raise ValueError(f"a value of fold {fold} is no number")
            curves[int(fold)] = Curve(name=_typed(curve, "name", str), **values)
            if "seconds" in curve:
                seconds = _typed(curve, "seconds", list)
                if len(seconds) != len(values["epoch"]) or not all(map(_is_number, seconds)):
                    raise ValueError(f"fold {fold} has no number of seconds for each epoch")
                curves[int(fold)]["seconds"] = seconds
            if "kept_epoch" in curve:
                curves[int(fold)]["kept_epoch"] = _typed(curve, "kept_epoch", int)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    return dict(sorted(curves.items()))


def _options(config: Mapping[str, Any]) -> dict[str, Any]:
    """The method's options, with the tuples that JSON does not have."""
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in _typed(config, "options", dict, {}).items()
    }


def _exclusion(row: object) -> Exclusion:
    if not (isinstance(row, list) and len(row) == 3 and all(isinstance(x, str) for x in row)):
        raise ValueError(f"an excluded row must be [dataset, clip, reason], found {row!r}")
    return Exclusion(*row)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


_REQUIRED = object()


def _typed(record: Mapping[str, Any], name: str, kind: Any, default: Any = _REQUIRED) -> Any:
    """A field of a JSON object; the default where it is absent."""
    if name not in record:
        if default is _REQUIRED:
            raise ValueError(f"it lacks {name!r}")
        return default
    return _is(record[name], kind, repr(name))


def _is(value: Any, kind: Any, what: str) -> Any:
    # A bool is an int to Python, but not to JSON.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        expected = getattr(kind, "__name__", str(kind))
        raise ValueError(f"{what} must be {expected}, found {type(value).__name__}")
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
