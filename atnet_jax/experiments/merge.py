"""Joins runs of some folds each into one of all: `atnet merge RUN… --out=FOLDER`.

For a protocol that several machines shared: `--config.folds=0:17`, `--config.folds=17:34` and so
on, each in a workdir of its own. The result is what one run of all folds leaves, without
checkpoints.
"""

import dataclasses
import json
import secrets
import shlex
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from atnet_jax import models
from atnet_jax.config import of_result
from atnet_jax.errors import UserError
from atnet_jax.evaluation import report
from atnet_jax.evaluation.inflation import EpochScores
from atnet_jax.evaluation.predictions import Prediction
from atnet_jax.evaluation.report.study import flatten
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
    together: defaultdict[Path, list[_Part]] = defaultdict(list)
    for part in parts:
        for folder in _run_folders(part):
            together[folder.relative_to(part)].append(_read(folder))
    command = f"atnet merge {shlex.join([*map(str, parts), f'--out={out}'])}"
    joined = {name: _join(group, command) for name, group in together.items()}

    temporary = out.with_name(f".{out.name}.{secrets.token_hex(8)}.tmp")
    try:
        for name, run in joined.items():
            (temporary / name).mkdir(parents=True)
            files.write_json_atomically(temporary / name / "config.json", run.record)
            write_results(temporary / name, run.rows, run.curves, run.epoch_scores)
        if len(joined) > 1:
            report.write([temporary / name for name in joined], temporary / "report.html")
        temporary.replace(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return out / "report.html"


@dataclasses.dataclass(frozen=True)
class _Part:
    """A finished run of some folds.

    Attributes:
      run: as reports read it.
      record: its config.json.
      folds: of the protocol, number → name.
      numbers: of the folds that it ran.
      curves: fold number → its training; None for a method that is not trained by epochs.
    """

    run: report.Run
    record: dict[str, Any]
    folds: dict[int, str]
    numbers: list[int]
    curves: dict[int, Any] | None

    @property
    def folder(self) -> Path:
        return self.run.workdir


@dataclasses.dataclass(frozen=True)
class _Joined:
    """A run of all folds; the fields are those of `write_results`, and its config.json."""

    record: dict[str, Any]
    rows: list[Prediction]
    curves: dict[int, Any] | None
    epoch_scores: EpochScores | None


def _run_folders(part: Path) -> list[Path]:
    """The runs in a workdir: itself, or one for each seed, or for each method and seed."""
    for pattern in ("config.json", "*/config.json", "*/*/config.json"):
        if found := sorted(part.glob(pattern)):
            return [path.parent for path in found]
    raise UserError(f"{part} holds no run: it has no config.json. Give the workdir of a run.")


def _read(folder: Path) -> _Part:
    """A part, after a look at whether its files are whole."""
    path = folder / "config.json"
    try:
        record = json.loads(path.read_text())
        model = record["config"]["model"]
        folds = {number: name for number, name in record["folds"]["all"]}
        numbers = list(record["folds"]["run"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} does not say which folds the protocol has and which of them the run is of"
            f" ({error!r}). Give runs of cde or hde that this version made."
        ) from error
    network = models.find(model).kind == "network"
    network_files = ("curves.json", "epoch_scores.npz") if network else ()
    for name in ("predictions.csv", "metrics.json", *network_files):
        if not (folder / name).is_file():
            raise UserError(
                f"{folder} is not finished: it is to run the folds {_selection(numbers)}, and has"
                f" no {name}. Start its command again, which goes on where it stopped."
            )
    run = report.load_run(folder)
    tested = {row.fold for row in run.predictions}
    if tested != set(numbers):
        raise UserError(
            f"{folder / 'predictions.csv'} does not fit config.json: it is of the folds"
            f" {_selection(sorted(tested))}, expected {_selection(numbers)}."
        )
    curves = None
    if network:
        text = (folder / "curves.json").read_text()
        curves = {int(fold): curve for fold, curve in json.loads(text).items()}
        if sorted(curves) != sorted(numbers):
            raise UserError(
                f"{folder / 'curves.json'} does not fit config.json: it is of the folds"
                f" {_selection(sorted(curves))}, expected {_selection(numbers)}."
            )
    return _Part(run, record, folds, numbers, curves)


def _join(parts: Sequence[_Part], command: str) -> _Joined:
    """One run of all folds, from those whose folds are all of them; `command` did it."""
    parts = sorted(parts, key=lambda part: part.numbers[0])
    first = parts[0]
    for part in parts[1:]:
        _refuse_differences(first, part)
    holder: dict[int, _Part] = {}
    for part in parts:
        for fold in part.numbers:
            other = holder.setdefault(fold, part)
            if other is not part:
                raise UserError(
                    f"Fold {fold} ({first.folds[fold]}) is both in {other.folder} and in"
                    f" {part.folder}. Leave one of them out."
                )
    if missing := sorted(first.folds.keys() - holder.keys()):
        names = [f"{fold} ({first.folds[fold]})" for fold in missing[:_NAMED_FOLDS]]
        if len(missing) > len(names):
            names.append(f"{len(missing) - len(names)} more")
        raise UserError(
            f"No run is given of these of the {len(first.folds)} folds: {', '.join(names)}. Given:"
            f" {_named(parts)}. Run the command of one of them with"
            f" --config.folds={_selection(missing)} and a --workdir of its own, and give that too."
        )
    if len(parts) == 1:
        raise UserError(f"{first.folder} holds all folds already; there is nothing to join.")

    rows = [row for part in parts for row in part.run.predictions]
    if len(rows) != first.run.clips:
        raise UserError(
            f"The files predictions.csv of {_named(parts)} hold {len(rows)} clips, but config.json"
            f" says that the data hold {first.run.clips}. Start the commands of these runs again."
        )
    # By fold; within a fold as they were.
    order = sorted(range(len(rows)), key=lambda index: rows[index].fold)
    curves = epoch_scores = None
    if first.curves is not None:
        curves = {fold: curve for part in parts for fold, curve in (part.curves or {}).items()}
    kept = [part.run.epoch_scores for part in parts if part.run.epoch_scores is not None]
    if kept:
        scores = np.concatenate([scores.scores for scores in kept], axis=1)
        epoch_scores = EpochScores(kept[0].epochs, np.take(scores, order, axis=1))
    return _Joined(_record(parts, command), [rows[index] for index in order], curves, epoch_scores)


def _named(parts: Sequence[_Part]) -> str:
    return ", ".join(str(part.folder) for part in parts)


def _refuse_differences(first: _Part, other: _Part) -> None:
    def settings(part: _Part) -> dict[str, Any]:
        epochs = part.run.epoch_scores
        return {
            **of_result({**part.run.config, "folds": None}),
            "data": part.record["data"],
            # The digest of the weights; they may lie elsewhere.
            "init_from": part.run.init_from,
            "fold": {str(number): name for number, name in part.folds.items()},
            "scored epochs": None if epochs is None else epochs.epochs.tolist(),
        }

    if different := _differences(settings(first), settings(other)):
        raise UserError(
            f"{first.folder} and {other.folder} are no parts of one run. They differ in"
            f" {'; '.join(different)}."
        )


def _record(parts: Sequence[_Part], command: str) -> dict[str, Any]:
    """The config.json of the run that the parts make up."""
    first = parts[0].record
    environments = [part.record["environment"] for part in parts]
    notes = [
        note for part in parts for note in part.run.notes if not note.startswith("Only folds ")
    ]
    if different := _differences(*environments):
        notes.append(f"The folds were not all computed alike: {'; '.join(different)}.")
    return {
        **first,
        "config": {**first["config"], "folds": ""},
        "folds": {**first["folds"], "run": sorted(parts[0].folds)},
        "environment": _common(environments),
        "command": "\n".join([*(part.run.command for part in parts), command]),
        "notes": list(dict.fromkeys(notes)),
        "merged": [
            {
                "folder": str(part.folder.absolute()),
                "folds": _selection(part.numbers),
                "environment": part.record["environment"],
                "command": part.run.command,
            }
            for part in parts
        ],
    }


def _differences(*records: Mapping[str, Any]) -> list[str]:
    """The fields that are not the same in all records, each with its different values."""
    flat = [dict(flatten(record)) for record in records]
    values = {
        name: list(dict.fromkeys(record.get(name, "nothing") for record in flat))
        for name in dict.fromkeys(name for record in flat for name in record)
    }
    return [f"{name}: {' / '.join(found)}" for name, found in values.items() if len(found) > 1]


def _common(values: Sequence[Any]) -> Any:
    """What all values are; where they differ: texts joined, and None for what is no text."""
    if all(value == values[0] for value in values):
        return values[0]
    if all(isinstance(value, dict) for value in values):
        names = dict.fromkeys(name for value in values for name in value)
        return {name: _common([value.get(name) for value in values]) for name in names}
    if all(isinstance(value, str) for value in values):
        return " / ".join(dict.fromkeys(values))
    return None


def _selection(numbers: Sequence[int]) -> str:
    """Fold numbers, ascending, as config.folds names them: "0:3,7"."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1]:
            ranges[-1][1] += 1
        else:
            ranges.append([number, number + 1])
    return ",".join(f"{a}:{b}" if b > a + 1 else str(a) for a, b in ranges)
