"""Joins runs of some folds each into one of all: `atnet merge RUN… --out=FOLDER`.

For a protocol that several machines shared: `--config.folds=0:17`, `--config.folds=17:34` and so
on, each in a workdir of its own. The result is what one run of all folds leaves, without
checkpoints.
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
from atnet_jax.evaluation import report
from atnet_jax.evaluation.inflation import EpochScores
from atnet_jax.evaluation.predictions import Prediction
from atnet_jax.evaluation.record import FILE, Environment, Folds, Part, Record, flatten, read
from atnet_jax.evaluation.runs import Curve, Run, load_run
from atnet_jax.experiments.results import write_results
from atnet_jax.system import files

# An error names so many folds at most.
_NAMED_FOLDS = 5


def merge(parts: Sequence[Path], out: Path) -> Path:
    """Joins `parts` into the run folder `out` and returns the path of its report.

    The parts are workdirs of one run each, or of several: then each folder seed_N (of a suite,
    METHOD/seed_N) is joined with those of its name, and the report is on all.

    Raises:
      UserError: a part holds no finished run or a damaged one; parts differ in more than the folds;
        a fold is in two of them or in none; one holds all folds; or `out` is not empty. Nothing has
        been written then.
    """
    out = out.resolve()
    files.refuse_existing(out)
    together: defaultdict[Path, list[Run]] = defaultdict(list)
    for part in parts:
        for folder in _run_folders(part):
            together[folder.relative_to(part)].append(_read(folder))
    command = f"atnet merge {shlex.join([*map(str, parts), f'--out={out}'])}"
    joined = {name: _join(group, command) for name, group in together.items()}

    with files.new_folder(out) as folder:
        for name, (record, rows, curves, epoch_scores) in joined.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            record.write(folder / name)
            write_results(folder / name, rows, curves, epoch_scores)
        if len(joined) > 1:
            report.write([folder / name for name in joined], folder / "report.html")
    return out / "report.html"


def _run_folders(part: Path) -> list[Path]:
    """The runs in a workdir: itself, or one for each seed, or for each method and seed."""
    for above in ("", "*/", "*/*/"):
        if found := sorted(part.glob(above + FILE)):
            return [path.parent for path in found]
    raise UserError(f"{part} holds no run: it has no {FILE}. Give the workdir of a run.")


def _read(folder: Path) -> Run:
    """A part, after a look at whether its files are whole."""
    record = read(folder)
    network = models.find(record.model).kind == "network"
    network_files = ("curves.json", "epoch_scores.npz") if network else ()
    for name in ("predictions.csv", "metrics.json", *network_files):
        if not (folder / name).is_file():
            raise UserError(
                f"{folder} is not finished: it is to run the folds {record.selection}, and has no"
                f" {name}. Rerun its command to resume it."
            )
    run = load_run(folder)
    if network and list(run.curves) != list(record.folds.run):
        raise UserError(
            f"{folder / 'curves.json'} does not fit {FILE}: it is of the folds"
            f" {selection(list(run.curves))}, expected {record.selection}."
        )
    return run


def _join(
    parts: Sequence[Run], command: str
) -> tuple[Record, list[Prediction], dict[int, Curve], EpochScores | None]:
    """One run of all folds, from those whose folds are all of them; `command` did it.

    Returns:
      Its record, and what `write_results` is given.
    """
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
                    f" Leave one of them out."
                )
    if missing := sorted(set(range(len(names))) - holder.keys()):
        told = [f"{fold} ({names[fold]})" for fold in missing[:_NAMED_FOLDS]]
        if len(missing) > len(told):
            told.append(f"{len(missing) - len(told)} more")
        raise UserError(
            f"No run is given of these of the {len(names)} folds: {', '.join(told)}. Given:"
            f" {_named(parts)}. Run the command of one of them with"
            f" --config.folds={selection(missing)} and a --workdir of its own, and give that too."
        )
    if len(parts) == 1:
        raise UserError(f"{first.workdir} holds all folds already; there is nothing to join.")

    rows = [row for part in parts for row in part.predictions]
    clips = first.record.data.clips
    if len(rows) != clips:
        raise UserError(
            f"The files predictions.csv of {_named(parts)} hold {len(rows)} clips, but {FILE} says"
            f" that the data hold {clips}. Start the commands of these runs again."
        )
    # By fold; within a fold as they were.
    order = sorted(range(len(rows)), key=lambda index: rows[index].fold)
    curves = {fold: curve for part in parts for fold, curve in part.curves.items()}
    epoch_scores = None
    kept = [part.epoch_scores for part in parts if part.epoch_scores is not None]
    if kept:
        scores = np.concatenate([scores.scores for scores in kept], axis=1)
        epoch_scores = EpochScores(kept[0].epochs, np.take(scores, order, axis=1))
    return _record(parts, command), [rows[index] for index in order], curves, epoch_scores


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
            f"{first.workdir} and {other.workdir} are no parts of one run. They differ in"
            f" {'; '.join(different)}."
        )


def _record(parts: Sequence[Run], command: str) -> Record:
    """The record of the run that the parts make up."""
    records = [part.record for part in parts]
    first = records[0]
    environments = [dataclasses.asdict(record.environment) for record in records]
    notes = [note for record in records for note in record.notes]
    if different := _differences(*(dict(flatten(environment)) for environment in environments)):
        notes.append(f"The folds were not all computed alike: {'; '.join(different)}.")
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
    """The fields that are not the same in all records, each with its different values."""
    values = {
        name: list(dict.fromkeys(record.get(name, "nothing") for record in records))
        for name in dict.fromkeys(name for record in records for name in record)
    }
    return [f"{name}: {' / '.join(found)}" for name, found in values.items() if len(found) > 1]


def _common(values: Sequence[Any]) -> Any:
    """What all values are; where they differ: their texts joined, None without any."""
    if all(value == values[0] for value in values):
        return values[0]
    if all(isinstance(value, dict) for value in values):
        names = dict.fromkeys(name for value in values for name in value)
        return {name: _common([value.get(name) for value in values]) for name in names}
    if texts := [value for value in values if isinstance(value, str)]:
        return " / ".join(dict.fromkeys(texts))
    return None
