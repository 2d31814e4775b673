"""One run: prepared data → folds → training → predictions → metrics, table and report."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from atnet_jax import files, metrics, models, predictions, report, weights
from atnet_jax.config import Config, default_config
from atnet_jax.data import Composite, load_composite
from atnet_jax.errors import UserError
from atnet_jax.features import svm
from atnet_jax.features.extract import load_features
from atnet_jax.fold_training import FoldResult, scored_epochs, train_folds
from atnet_jax.folds import Fold, make_folds, select_folds
from atnet_jax.train import make_trainer
from atnet_jax.workdir import claim

SELECTIONS = ("last", "nested")

# Settings that make up a method's published training.
_RECIPE = (
    "batch_size",
    "num_epochs",
    "steps_per_epoch",
    "optimizer",
    "learning_rate",
    "decay_epochs",
    "decay_factor",
    "momentum",
    "weight_decay",
    "bias_learning_rate_factor",
    "balance_classes",
)


def train_and_evaluate(config: Config, workdir: str | os.PathLike[str]) -> Path:
    """Runs `config` in `workdir` and returns the path of the report.

    Writes config.json, predictions.csv, metrics.json, table.md and report.html; for networks also
    checkpoints/, curves.json and epoch_scores.npz. Started again after a kill, goes on from the
    last checkpoints to the same predictions.

    Raises:
      UserError: the data are not prepared, the configuration does not fit them, the workdir holds
        a different run, or training diverged.
    """
    workdir = Path(workdir)
    run = _run_network if models.is_network(config.model) else _run_svm
    composite, folds, results = run(config, workdir)

    rows = [row for fold in folds for row in _rows(config, composite, fold, results[fold.number])]
    predictions.write(workdir / "predictions.csv", rows)
    scores = metrics.evaluate(rows)
    files.write_json_atomically(
        workdir / "metrics.json",
        {"protocol": config.protocol, "model": config.model, "seed": config.seed, **scores},
    )
    if run is _run_network:
        files.write_json_atomically(
            workdir / "curves.json",
            {str(fold.number): _curve(fold, results[fold.number]) for fold in folds},
        )
        files.write_arrays_atomically(
            workdir / "epoch_scores.npz",
            epochs=np.array(scored_epochs(config), np.int32),
            scores=np.concatenate([results[fold.number].epoch_scores for fold in folds], axis=1),
        )
    notes = json.loads((workdir / "config.json").read_text())["notes"]
    row = models.paper_row(config.model, config.options.to_dict())
    files.write_text_atomically(
        workdir / "table.md",
        report.table_markdown(config.protocol, scores, config.model, row, notes),
    )
    path = workdir / "report.html"
    report.write([workdir], path)
    return path


Outcome = tuple[Composite, Sequence[Fold], dict[int, FoldResult]]


def _run_network(config: Config, workdir: Path) -> Outcome:
    """Trains the network on every fold."""
    composite = load_composite(
        config.data_dir,
        config.datasets,
        config.flow,
        models.load(config.model).INPUTS,
        config.image_size,
        config.directions,
    )
    composite, all_folds, folds = _folds(config, composite)
    trainer = make_trainer(config, composite.inputs)
    start, notes = None, _notes(config, len(all_folds))
    if config.init_from:
        start = weights.load(Path(config.init_from))
        _, fresh = weights.overlay(trainer.init(np.zeros(1, np.int32)), start)
        notes.append(
            f"Every fold starts from the weights in {config.init_from}"
            f" ({start.about.get('source', 'of unknown source')}); at random start:"
            f" {', '.join(fresh) or 'none'}."
        )
    _claim(config, workdir, composite, all_folds, folds, notes, start)
    results = train_folds(
        config, trainer, composite, all_folds, folds, workdir / "checkpoints", start
    )
    return composite, folds, results


def _run_svm(config: Config, workdir: Path) -> Outcome:
    """Fits the SVM on the features of every fold's training clips."""
    for name, wanted in (("init_from", ""), ("selection", "last")):
        if config[name] != wanted:
            raise UserError(f"config.{name} is {config[name]!r}, but {config.model} is no network.")
    composite, all_folds, folds = _folds(config, load_features(config))
    _claim(config, workdir, composite, all_folds, folds, _notes(config, len(all_folds)), None)
    features, labels = composite.inputs["features"], composite.labels
    results = {}
    for fold in tqdm(folds, f"{config.protocol} {config.model}", unit=" folds"):
        scores = svm.fit_predict(features[fold.train], labels[fold.train], features[fold.test])
        none = np.zeros(0, np.float32)
        results[fold.number] = FoldResult(scores, 0, none, none, scores[None])
    return composite, folds, results


def _folds(config: Config, composite: Composite) -> tuple[Composite, list[Fold], list[Fold]]:
    """The composite as it is used, all folds of the protocol, and those to run."""
    if config.selection not in SELECTIONS:
        raise UserError(
            f"config.selection is one of {', '.join(SELECTIONS)}, not {config.selection!r}."
        )
    if config.shuffle_labels:
        composite = composite.with_shuffled_labels(config.seed)
    share = config.validation_share if config.selection == "nested" else 0.0
    all_folds = make_folds(config.protocol, composite, share, config.seed)
    return composite, all_folds, select_folds(all_folds, config.folds)


def _claim(
    config: Config,
    workdir: Path,
    composite: Composite,
    all_folds: Sequence[Fold],
    folds: Sequence[Fold],
    notes: Sequence[str],
    start: weights.Weights | None,
) -> None:
    record = claim(
        workdir,
        config,
        data={"clips": len(composite.labels), "sha256": composite.digest()},
        init_from=None if start is None else weights.digest(start),
        about={"excluded": [list(row) for row in composite.excluded], "notes": list(notes)},
    )
    print(
        f"{config.protocol} of {config.model}: {len(composite.labels)} clips, {len(folds)} of"
        f" {len(all_folds)} folds, on {record['environment']['device']}"
    )


def _rows(
    config: Config, composite: Composite, fold: Fold, result: FoldResult
) -> list[predictions.Prediction]:
    return [
        predictions.Prediction(
            protocol=config.protocol,
            fold=fold.number,
            dataset=composite.dataset[clip],
            subject=composite.subject[clip],
            clip=composite.clip[clip],
            label=int(composite.labels[clip]),
            predicted=int(scores.argmax()),
            score_negative=float(scores[0]),
            score_positive=float(scores[1]),
            score_surprise=float(scores[2]),
            seed=config.seed,
        )
        for clip, scores in zip(fold.test, result.scores, strict=True)
    ]


def _curve(fold: Fold, result: FoldResult) -> dict[str, Any]:
    return {
        "name": fold.name,
        "kept_epoch": result.epoch,
        "epoch": list(range(1, len(result.loss) + 1)),
        "loss": result.loss.tolist(),
        "accuracy": result.accuracy.tolist(),
    }


def _notes(config: Config, folds: int) -> list[str]:
    notes = []
    if config.shuffle_labels:
        notes.append("Control run: labels were permuted over all clips. Read it against chance.")
    if config.folds:
        notes.append(f"Only folds {config.folds} of the {folds} were run.")
    if config.image_size != 224 and "apex" in models.load(config.model).INPUTS:
        notes.append(f"Apex frames were reduced to {config.image_size}×{config.image_size} pixels.")
    if config.selection == "nested":
        notes.append(
            "Every fold's epoch was chosen on training subjects that it held back"
            f" ({config.validation_share:.0%} of each database's)."
        )
    default = default_config(config.model)
    if models.is_network(config.model):
        published = {name: default[name] for name in _RECIPE} | default.options.to_dict()
        used = {name: config[name] for name in _RECIPE} | config.options.to_dict()
        changed = [
            f"{name} {used[name]} (published: {value})"
            for name, value in published.items()
            if used[name] != value
        ]
        if changed:
            notes.append(f"Not the published training: {', '.join(changed)}.")
    return notes
