"""Merging runs of different folds into one run of all folds: `atnet merge RUN… --out=FOLDER`.

This serves experiments split over several machines: `--config.folds=0:17`, `--config.folds=17:34`
and so on, each with a separate workdir. The result has the files of one run of all folds, except
the checkpoints.
"""

import dataclasses
import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from atnet_jax import models
from atnet_jax.data.folds import selection
from atnet_jax.errors import UserError
from atnet_jax.evaluation import digests, report
from atnet_jax.evaluation.digests import Digests
from atnet_jax.evaluation.inflation import EpochScores
from atnet_jax.evaluation.predictions import Prediction
from atnet_jax.evaluation.record import (
    FILE,
    Environment,
    Folds,
    Part,
    Record,
    flatten,
    read,
    run_folders,
)
from atnet_jax.evaluation.runs import Curve, Run, load_run
from atnet_jax.experiments.results import write_results
from atnet_jax.system import files
from atnet_jax.words import numbered

# An error names at most this many folds.
_NAMED_FOLDS = 5


def merge(parts: Sequence[Path], out: Path) -> Path:
    """Merge runs into a new run folder.

    A part can contain several runs in the folders seed_N, or METHOD/seed_N for a table. Then the
    folders of the same name are merged, and the report covers all of them. If an error is raised,
    nothing is written.

    Args:
        parts: Workdirs of finished runs.
        out: New folder for the merged run.

    Returns:
        The path of the report.

    Raises:
        UserError: A part holds no finished run or a damaged one, parts differ in more than the
            folds, a fold is in two parts or in none, one part holds all folds, or `out` exists and
            is not an empty folder.
    """
    out = out.resolve()
    files.refuse_existing(out)
    together: defaultdict[Path, list[Run]] = defaultdict(list)
    for part in parts:
        for folder in run_folders(part):
            together[folder.relative_to(part)].append(_read(folder))
    command = f"atnet merge {shlex.join([*map(str, parts), f'--out={out}'])}"
    joined = {name: _join(group, command) for name, group in together.items()}

    with files.new_folder(out) as folder:
        for name, (record, rows, curves, epoch_scores, kept) in joined.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            record.write(folder / name)
            write_results(folder / name, rows, curves, epoch_scores, kept)
        if len(joined) > 1:
            report.write([folder / name for name in joined], folder / "report.html")
    return out / "report.html"


def _read(folder: Path) -> Run:
    """Read a part and check that it is finished and that its files are complete."""
    record = read(folder)
    network = models.find(record.model).kind == "network"
    network_files = ("curves.json", "epoch_scores.npz") if network else ()
    for name in ("predictions.csv", "metrics.json", *network_files):
        if not (folder / name).is_file():
            raise UserError(
                f"{folder} is not finished: the run of folds {record.selection} has no {name}."
                f" Rerun its command to resume it."
            )
    run = load_run(folder)
    if network and list(run.curves) != list(record.folds.run):
        raise UserError(
            f"{folder / 'curves.json'} does not match {FILE}: it contains the folds"
            f" {selection(list(run.curves))}, expected {record.selection}. Restore the files of the"
            f" same run."
        )
    return run


def _join(
    parts: Sequence[Run], command: str
) -> tuple[Record, list[Prediction], dict[int, Curve], EpochScores | None, Digests | None]:
    """Merge runs into one of all folds; return its record and the inputs of `write_results`."""
    parts = sorted(parts, key=lambda part: part.record.folds.run[0])
    first = parts[0]
    names = first.record.folds.names
    for part in parts[1:]:
        _refuse_differences(first, part)
    holder: dict[int, Run] = {}
    for part in parts:
        for fold in part.record.folds.run:
            other = holder.setdefault(fold, part)
            if other is not part:
                raise UserError(
                    f"Fold {fold} ({names[fold]}) is both in {other.workdir} and in {part.workdir}."
                    f" Leave out one of them."
                )
    if missing := sorted(set(range(len(names))) - holder.keys()):
        listed = [f"{fold} ({names[fold]})" for fold in missing[:_NAMED_FOLDS]]
        if len(missing) > len(listed):
            listed.append(f"{len(missing) - len(listed)} more")
        raise UserError(
            f"The given runs ({_named(parts)}) lack {len(missing)} of"
            f" {numbered(len(names), 'fold')}:"
            f" {', '.join(listed)}. Rerun the command of one of them with"
            f" --config.folds={selection(missing)} and a new --workdir, and pass that workdir too."
        )
    if len(parts) == 1:
        raise UserError(f"{first.workdir} already holds all folds. Merging needs several runs.")

    rows = [row for part in parts for row in part.predictions]
    clips = first.record.data.clips
    if len(rows) != clips:
        raise UserError(
            f"The files predictions.csv of {_named(parts)} contain"
            f" {numbered(len(rows), 'clip')}, but according"
            f" to {FILE} the data have {clips}. Rerun the commands of these runs."
        )
    # `sorted` is stable: rows are sorted by fold and keep their order within a fold.
    order = sorted(range(len(rows)), key=lambda index: rows[index].fold)
    curves = {fold: curve for part in parts for fold, curve in part.curves.items()}
    epoch_scores = None
    kept = [part.epoch_scores for part in parts if part.epoch_scores is not None]
    if kept:
        scores = np.concatenate([scores.scores for scores in kept], axis=1)
        epoch_scores = EpochScores(kept[0].epochs, np.take(scores, order, axis=1))
    ordered = [rows[index] for index in order]
    return _record(parts, command), ordered, curves, epoch_scores, _digests(parts)


def _digests(parts: Sequence[Run]) -> Digests | None:
    """Return the digests of all folds; None if an earlier version trained a part."""
    found = [digests.read(part.workdir) for part in parts]
    every = [own for own in found if own is not None]
    if len(every) < len(parts):
        return None
    folds = {fold: own for each in every for fold, own in each.folds.items()}
    return Digests(every[0].clips, folds)


def _named(parts: Sequence[Run]) -> str:
    return ", ".join(str(part.workdir) for part in parts)


def _refuse_differences(first: Run, other: Run) -> None:
    def settings(part: Run) -> dict[str, str]:
        epochs = part.epoch_scores
        identity = part.record.identity()
        identity.pop("folds", None)
        return {
            **identity,
            **{f"fold.{number}": name for number, name in enumerate(part.record.folds.names)},
            "scored epochs": "none" if epochs is None else str(epochs.epochs.tolist()),
        }

    if different := _differences(settings(first), settings(other)):
        raise UserError(
            f"{first.workdir} and {other.workdir} are not parts of the same run. They differ in"
            f" {'; '.join(different)}. Merge runs that differ only in config.folds."
        )


def _record(parts: Sequence[Run], command: str) -> Record:
    """Return the record of the merged run."""
    records = [part.record for part in parts]
    first = records[0]
    environments = [dataclasses.asdict(record.environment) for record in records]
    notes = [note for record in records for note in record.notes]
    if different := _differences(*(dict(flatten(environment)) for environment in environments)):
        notes.append(f"The folds were computed in different environments: {'; '.join(different)}.")
    return dataclasses.replace(
        first,
        config={**first.config, "folds": ""},
        folds=Folds(first.folds.names, tuple(range(len(first.folds.names)))),
        environment=Environment(**_common(environments)),
        command="\n".join([*(record.command for record in records), command]),
        notes=tuple(dict.fromkeys(notes)),
        merged=tuple(
            Part(
                folder=str(part.workdir.absolute()),
                folds=part.record.selection,
                environment=part.record.environment,
                command=part.record.command,
            )
            for part in parts
        ),
    )


def _differences(*records: Mapping[str, str]) -> list[str]:
    """Return the fields that differ between records, each with its values."""
    values = {
        name: list(dict.fromkeys(record.get(name, "nothing") for record in records))
        for name in dict.fromkeys(name for record in records for name in record)
    }
    return [f"{name}: {' / '.join(found)}" for name, found in values.items() if len(found) > 1]


def _common(values: Sequence[Any]) -> Any:
    """Return the common value; if values differ, their texts joined, or None without texts."""
    if all(value == values[0] for value in values):
        return values[0]
    if all(isinstance(value, dict) for value in values):
        names = dict.fromkeys(name for value in values for name in value)
        return {name: _common([value.get(name) for value in values]) for name in names}
    if texts := [value for value in values if isinstance(value, str)]:
        return " / ".join(dict.fromkeys(texts))
    return None
