"""Finished runs, read from their workdirs."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atnet_jax import models, published
from atnet_jax.data.folds import selection
from atnet_jax.errors import UserError
from atnet_jax.evaluation import inflation, metrics, predictions
from atnet_jax.evaluation.inflation import EpochScores
from atnet_jax.evaluation.metrics import Evaluation
from atnet_jax.evaluation.predictions import Prediction
from atnet_jax.evaluation.record import FILE, Record, read, run_folders
from atnet_jax.system import typed_json
from atnet_jax.words import numbered

TABLES = {"cde": published.TABLE_II, "hde": published.TABLE_III}
"""The paper's table of each protocol."""


@dataclass(frozen=True)
class Curve:
    """The learning curve of one fold.

    Attributes:
        name: Name of the fold.
        kept_epoch: Number of the epoch whose network was tested.
        epoch: Numbers of the epochs.
        loss: Loss on the training clips in each epoch.
        accuracy: Accuracy on the training clips in each epoch, 0 to 1.
        seconds: Duration of each epoch.
    """

    name: str
    kept_epoch: int
    epoch: tuple[int, ...]
    loss: tuple[float, ...]
    accuracy: tuple[float, ...]
    seconds: tuple[float, ...]


@dataclass(frozen=True)
class Run:
    """One run: a method under a protocol, with one seed.

    Attributes:
        record: Settings, data and environment of the run.
        predictions: The tested clips.
        metrics: `metrics.evaluate(predictions)`.
        curves: Learning curves by fold; empty for a method without epochs.
        epoch_scores: Scores of the tested clips after each epoch; None if they were not saved.
        workdir: Folder of the run.
    """

    record: Record
    predictions: Sequence[Prediction]
    metrics: Mapping[str, Evaluation]
    curves: Mapping[int, Curve]
    epoch_scores: EpochScores | None
    workdir: Path

    @property
    def protocol(self) -> str:
        """The protocol, "cde" or "hde"."""
        return self.record.protocol

    @property
    def model(self) -> str:
        """The method's name."""
        return self.record.model

    @property
    def title(self) -> str:
        """Name of the method with its options in tables."""
        known = self.model in models.names()
        return models.find(self.model).title_of(self.record.options) if known else self.model

    @property
    def paper_row(self) -> str | None:
        """The method's row in the paper's tables; None if the paper does not report it."""
        known = self.model in models.names()
        return models.find(self.model).paper_row_of(self.record.options) if known else None

    @property
    def seed(self) -> int:
        """The seed of all its randomness."""
        return self.record.seed

    def table(self) -> dict[str, list[Any]]:
        """Return the predictions as columns, which `pandas.DataFrame` or `polars.DataFrame` take.

        Returns:
            The columns of predictions.csv, each a list with one entry for each tested clip.
        """
        return predictions.columns(self.predictions)

    @property
    def notes(self) -> list[str]:
        """Sentences a reader must know before the scores, e.g. that only some folds were run."""
        notes = list(self.record.notes)
        if self.record.is_partial:
            notes.append(
                f"The run covers only {len(self.record.folds.run)} of"
                f" {numbered(len(self.record.folds.names), 'fold')} ({self.record.selection}) and"
                f" {len(self.predictions)} of {numbered(self.record.data.clips, 'clip')}, so these"
                " are not scores of the whole protocol."
            )
        return notes


def load_runs(workdir: str | os.PathLike[str]) -> tuple[Run, ...]:
    """Return every finished run in a workdir: of one seed, several seeds, a table or leaderboard.

    Args:
        workdir: The folder that was passed to `train` or `atnet train --workdir`.

    Raises:
        UserError: The folder contains no run, or `load_run` rejects one of its runs.
    """
    return tuple(map(load_run, run_folders(Path(workdir).expanduser())))


def load_run(workdir: str | os.PathLike[str]) -> Run:
    """Return the finished run in a workdir.

    Args:
        workdir: Folder of one run (one seed).

    Raises:
        UserError: The folder holds no finished run, or one of its files is damaged or belongs to
            another run. The message names the file.
    """
    workdir = Path(workdir).expanduser()
    record = read(workdir)
    if record.task != "evaluate":
        raise UserError(
            f"{workdir} holds a run of the task {record.task!r}, which scores no test clips. Pass"
            f" the workdir of a run of the task 'evaluate'."
        )
    for name in ("predictions.csv", "metrics.json"):
        if not (workdir / name).is_file():
            raise UserError(
                f"{workdir} holds no finished run: it has no {name}. Rerun its command to resume"
                f" it, or leave this folder out."
            )
    rows, results = _scored(workdir, record)
    scores = workdir / "epoch_scores.npz"
    return Run(
        record=record,
        predictions=rows,
        metrics=results,
        curves=_curves(workdir / "curves.json"),
        epoch_scores=inflation.read_epoch_scores(scores, len(rows)) if scores.exists() else None,
        workdir=workdir,
    )


def _scored(workdir: Path, record: Record) -> tuple[list[Prediction], dict[str, Evaluation]]:
    """Return the predictions and their scores; check them against the record and metrics.json."""
    path = workdir / "predictions.csv"
    rows = predictions.read(path)
    for row in rows:
        if (row.protocol, row.seed) != (record.protocol, record.seed):
            raise UserError(
                f"{path}: clip {row.dataset}/{row.subject}/{row.clip} has protocol"
                f" {row.protocol!r} and seed {row.seed}, but {FILE} specifies {record.protocol!r}"
                f" and {record.seed}. Restore the files of the same run."
            )
    tested = sorted({row.fold for row in rows})
    if set(tested) < set(record.folds.run):
        raise UserError(
            f"{workdir} is not finished: it has the results of the folds {selection(tested)} of"
            f" {record.selection}. Rerun its command to resume it."
        )
    if tested != list(record.folds.run):
        raise UserError(
            f"{path} does not match {FILE}: it contains the folds {selection(tested)}, expected"
            f" {record.selection}. Restore the files of the same run."
        )
    clips = record.data.clips
    if len(rows) > clips or (len(rows) < clips and not record.is_partial):
        raise UserError(
            f"{path} contains {numbered(len(rows), 'clip')}, but according to {FILE} the"
            f" data have {clips}."
            f" Restore the files of the same run."
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
            isinstance(there.get(name), int | float)
            and math.isclose(there[name], scores[name], abs_tol=1e-9)
            for name in metrics.METRICS
        ):
            raise UserError(
                f"{path}: the scores of {group!r} do not match predictions.csv. Restore the files"
                f" of the same run."
            )
    return rows, results


def _curves(path: Path) -> dict[int, Curve]:
    if not path.exists():
        return {}
    curves: dict[int, Curve] = {}
    found = _read_json(path)
    try:
        for fold, value in found.items():
            if not fold.isdecimal() or not fold.isascii():
                raise ValueError(f"expected the number of a fold, found {fold!r}")
            curve = curves[int(fold)] = typed_json.decode(Curve, value, f"fold {fold}")
            series = (curve.epoch, curve.loss, curve.accuracy, curve.seconds)
            if not curve.epoch or len(set(map(len, series))) > 1:
                raise ValueError(f"the lists of fold {fold} are empty or differ in length")
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}. Restore the file, or train again.") from error
    return dict(sorted(curves.items()))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return typed_json.parse(path.read_bytes())
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}. Restore the file, or train again.") from error
