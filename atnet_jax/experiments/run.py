"""Run of one method: prepared data → folds → training → predictions → metrics and report."""

import dataclasses
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from atnet_jax import models
from atnet_jax.config import Config, check, default_config, flat, splitting
from atnet_jax.data.composite import Composite
from atnet_jax.data.folds import Fold, Unit, data_notes, make_folds, select_folds
from atnet_jax.errors import UserError
from atnet_jax.evaluation import model_card, report
from atnet_jax.evaluation.inflation import EpochScores
from atnet_jax.evaluation.record import FILE, Data, Folds, Record, read
from atnet_jax.evaluation.runs import Curve, load_run
from atnet_jax.experiments.results import (
    digests_of,
    fold_rows,
    is_finished,
    write_curves,
    write_results,
)
from atnet_jax.experiments.workdir import claim, command, environment, lock
from atnet_jax.models.handcrafted import svm
from atnet_jax.names import SOURCES
from atnet_jax.training import processes
from atnet_jax.training.feed import InMemory
from atnet_jax.training.loop import FoldResult, read_start, scored_epochs, train_units
from atnet_jax.training.method_inputs import load_inputs
from atnet_jax.weights import folder as weights
from atnet_jax.words import numbered


def train_and_evaluate(config: Config, workdir: str | os.PathLike[str]) -> Path | None:
    """Train and evaluate one method.

    The files of a run are config.json, predictions.csv, metrics.json, table.md and report.html;
    for networks also checkpoints/, curves.json, epoch_scores.npz and tensorboard/. With several
    seeds, each run has a folder seed_N. The task "final" trains on all clips and writes neither
    predictions nor a report. If the run is killed, the same call resumes from the last checkpoints
    and produces the same predictions. Of several processes, only the first writes results.

    Args:
        config: The configuration of the task "evaluate" or "final".
        workdir: A new folder, or the folder of the same run to resume.

    Returns:
        The path of the report; None for the task "final" and in all processes but the first.

    Raises:
        UserError: The data are not prepared or do not fit the configuration, the workdir holds
            another run or is in use, or training diverged.
    """
    config, workdir = check(config), Path(workdir)
    seeds = config.seeds
    if len(seeds) > 1 and (workdir / FILE).exists():
        raise UserError(
            f"{workdir} holds a run of one seed. Choose another --workdir for several seeds."
        )
    folders = (
        {seed: workdir / f"seed_{seed}" for seed in seeds}
        if len(seeds) > 1
        else {seed: workdir for seed in seeds}
    )
    with lock(workdir):
        run_seeds(config, folders)
        if not processes.is_first() or config.task == "final":
            return None
        path = workdir / "report.html"
        if len(folders) > 1:
            report.write(list(folders.values()), path)
            write_card(workdir, folders)
    return path


def write_card(workdir: Path, folders: Mapping[int, Path]) -> None:
    """Write the model card of several seeds.

    Args:
        workdir: Folder of the card.
        folders: Seed → folder of its finished run.
    """
    runs = [load_run(folder) for folder in folders.values()]
    rows = [row for run in runs for row in run.predictions]
    model_card.write(workdir, [run.record for run in runs], rows)


def run_seeds(config: Config, folders: Mapping[int, Path]) -> None:
    """Train and evaluate one method with each seed, and write the results to the seed's folder.

    Args:
        config: The configuration; its seeds are the keys of `folders`.
        folders: Seed → folder.

    Raises:
        UserError: See `train_and_evaluate`.
    """
    run = _run_network if _is_network(config) else _run_svm
    studies, results = run(config, folders)
    if processes.is_first() and studies:
        inputs = studies[0].composite.clip_digests()  # Labels alone depend on the seed.
        for study in studies:
            own = {unit.fold.number: results[unit.key] for unit in study.units}
            if config.task == "final":
                _write_curves(config, folders[study.seed], study, own)
            else:
                _write_results(config, folders[study.seed], study, own, inputs)


@dataclasses.dataclass(frozen=True)
class _Study:
    """The part of a run that belongs to one seed.

    Attributes:
        seed: The seed.
        composite: The clips, with labels shuffled by this seed in a control run.
        protocol_units: All folds of the protocol.
        units: The folds to run.
    """

    seed: int
    composite: Composite
    protocol_units: list[Unit]
    units: list[Unit]


Results = dict[tuple[int, int], FoldResult]


def _run_network(config: Config, folders: Mapping[int, Path]) -> tuple[list[_Study], Results]:
    """Train the network on every fold."""
    composite = load_inputs(config)
    studies = _studies(config, composite, folders)
    notes = [*_data_notes(studies[0]), *_notes(config)]
    start, fresh = read_start(config, composite.inputs)
    if start is not None:
        notes.append(
            f"Every fold starts from the weights in {config.init_from} (source:"
            f" {start.about.get('source', 'unknown')}). Randomly initialised layers:"
            f" {', '.join(fresh) or 'none'}."
        )
    every = [unit for study in studies for unit in study.protocol_units]
    _claim(config, folders, studies, notes, start)
    unfinished = _unfinished(config, folders, studies)
    results = train_units(
        config,
        InMemory(composite.inputs),
        every,
        [unit for study in unfinished for unit in study.units],
        folders,
        start,
    )
    return unfinished, results


def _run_svm(config: Config, folders: Mapping[int, Path]) -> tuple[list[_Study], Results]:
    """Fit the SVM to the features of every fold's training clips."""
    composite = load_inputs(config)
    machine = models.find(config.model).build_features(config.options.to_dict()).machine
    studies = _studies(config, composite, folders)
    _claim(config, folders, studies, [*_data_notes(studies[0]), *_notes(config)], None)
    features = composite.inputs["features"]
    results = {}
    unfinished = _unfinished(config, folders, studies)
    units = [unit for study in unfinished for unit in study.units]
    for unit in tqdm(units, f"{config.protocol} {config.model}", unit=" folds"):
        train, test = unit.fold.train, unit.fold.test
        scores = svm.fit_predict(features[train], unit.labels[train], features[test], machine())
        none = np.zeros(0, np.float32)
        results[unit.key] = FoldResult(scores, scores[None], none, 0, none, none, none)
    return unfinished, results


def _studies(config: Config, composite: Composite, folders: Mapping[int, Path]) -> list[_Study]:
    """Return the labels and folds of each seed."""
    share = config.validation_share if config.selection == "nested" else 0.0
    studies = []
    for seed in folders:
        seen = composite.with_shuffled_labels(seed) if config.shuffle_labels else composite
        every = make_folds(splitting(config), seen, share, seed)
        chosen = select_folds(every, config.folds)
        units = {fold.number: Unit(seed, fold, seen.labels) for fold in every}
        studies.append(
            _Study(seed, seen, list(units.values()), [units[fold.number] for fold in chosen])
        )
    return studies


def _data_notes(study: _Study) -> list[str]:
    """Return the notes on the data, and print them before the training."""
    notes = data_notes(study.composite, [unit.fold for unit in study.protocol_units])
    for note in notes if processes.is_first() else ():
        print(f"Warning: {note}", file=sys.stderr)
    return notes


def _claim(
    config: Config,
    folders: Mapping[int, Path],
    studies: Sequence[_Study],
    notes: Sequence[str],
    start: weights.Weights | None,
) -> None:
    """Claim the folder of every seed; the first process does so before the others check it."""
    size = _size(config, studies[0].composite)
    here = environment()
    if not processes.is_first():
        processes.wait_for_all("claimed")
    for study in studies:
        record = Record(
            config={**json.loads(config.to_json()), "seeds": [study.seed]},
            data=Data(len(study.composite.labels), study.composite.digest()),
            init_from=None if start is None else weights.digest(start),
            environment=here,
            command=command(),
            folds=Folds(
                names=tuple(unit.fold.name for unit in study.protocol_units),
                run=tuple(unit.fold.number for unit in study.units),
            ),
            notes=tuple(notes),
            excluded=study.composite.excluded,
            preparation=study.composite.preparation,
            size=size,
        )
        claim(folders[study.seed], record)
    if processes.is_first():
        processes.wait_for_all("claimed")
    folds = f"{len(studies[0].units)} of {numbered(len(studies[0].protocol_units), 'fold')}"
    if len(studies) > 1:
        folds += f" with each of {len(studies)} seeds"
    clips = numbered(len(studies[0].composite.labels), "clip")
    print(f"Training {config.model} ({splitting(config)}): {clips}, {folds}, on {here.device}")


def _size(config: Config, composite: Composite) -> dict[str, int]:
    """Return the number of parameters of a network or of features per clip."""
    if not _is_network(config):
        return {"features": composite.inputs["features"].shape[1]}
    size = models.find(config.model).size(config.options.to_dict(), config.data.image_size)
    assert size is not None, "a network's parameters are known"
    return {"parameters": size}


def _is_network(config: Config) -> bool:
    return models.find(config.model).kind == "network"


def _unfinished(
    config: Config, folders: Mapping[int, Path], studies: Sequence[_Study]
) -> list[_Study]:
    """Return the seeds without complete results, and print the number of the others.

    Complete seeds need no checkpoints.
    """
    # Several processes must agree on the seeds, but may see different files.
    if jax.process_count() > 1:
        return list(studies)
    network = _is_network(config)
    unfinished = [study for study in studies if not is_finished(folders[study.seed], network)]
    if finished := len(studies) - len(unfinished):
        done = f"{finished} of {len(studies)} seeds" if unfinished else "all folds"
        print(f"Resuming: {done} are finished.")
    return unfinished


def _write_results(
    config: Config,
    workdir: Path,
    study: _Study,
    results: Mapping[int, FoldResult],
    inputs: Sequence[Mapping[str, str]],
) -> None:
    """Write the results of one run to its folder; `inputs` are the clips' digests."""
    folds = [unit.fold for unit in study.units]
    rows = [
        row
        for fold in folds
        for row in fold_rows(
            config.protocol, study.composite, fold, results[fold.number].scores, study.seed
        )
    ]
    curves, epoch_scores = {}, None
    if _is_network(config):
        curves = {fold.number: _curve(fold, results[fold.number]) for fold in folds}
        epoch_scores = EpochScores(
            np.array(scored_epochs(config), np.int32),
            np.concatenate([results[fold.number].epoch_scores for fold in folds], axis=1),
        )
    starts = {number: (own.start, own.first_loss) for number, own in results.items()}
    digests = digests_of(study.composite, inputs, folds, starts)
    write_results(workdir, rows, curves, epoch_scores, digests)


def _write_curves(
    config: Config, workdir: Path, study: _Study, results: Mapping[int, FoldResult]
) -> None:
    """Write the learning curve of the task "final" and print how to use the network."""
    model_card.write(workdir, [read(workdir)], [])
    write_curves(
        workdir, {u.fold.number: _curve(u.fold, results[u.fold.number]) for u in study.units}
    )
    print(
        f"{config.model} was trained on all subjects, so it cannot be tested and has no accuracy."
        f" Run --config=cde:{config.model} to estimate its accuracy.\n"
        f"Next: atnet predict {workdir} CLIP"
    )


def _curve(fold: Fold, result: FoldResult) -> Curve:
    return Curve(
        name=fold.name,
        kept_epoch=result.epoch,
        epoch=tuple(range(1, len(result.loss) + 1)),
        loss=tuple(result.loss.tolist()),
        accuracy=tuple(result.accuracy.tolist()),
        seconds=tuple(result.seconds.tolist()),
    )


def _notes(config: Config) -> list[str]:
    notes = []
    if set(config.varied) != set(SOURCES):
        notes.append(
            f"Only a part of the randomness follows the seed: {', '.join(config.varied)}. The rest"
            f" follows seed {config.fixed_seed}."
        )
    if config.shuffle_labels:
        notes.append(
            "Control run: labels were permuted over all clips. Compare scores with the chance"
            " level."
        )
    pictures = {"apex", "colour", "frames"}.intersection(models.find(config.model).inputs)
    if config.data.image_size != 224 and pictures and _is_network(config):
        notes.append(
            f"Pictures were resized to {config.data.image_size}×{config.data.image_size} pixels."
        )
    if config.recipe.magnification:
        notes.append(
            f"Motion in the pictures was magnified: {config.recipe.magnification:g} times the"
            " original motion was added."
        )
    if config.selection == "nested":
        notes.append(
            "Each fold's epoch was chosen on validation subjects, which are held out from its"
            f" training subjects ({config.validation_share:.0%} of each database)."
        )
    if _is_network(config):
        published, used = map(_training, (default_config(config.model), config))
        changed = [
            f"{name} {used[name]} (published: {value})"
            for name, value in published.items()
            if used[name] != value
        ]
        if changed:
            notes.append(f"Training differs from the publication: {', '.join(changed)}.")
    return notes


def _training(config: Config) -> dict[str, Any]:
    """Return the recipe and the options, for which a method has published values."""
    return {**dict(flat(config.recipe)), **config.options.to_dict()}
