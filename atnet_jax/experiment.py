"""One run: prepared data → folds → training → predictions → metrics, table and report."""

import dataclasses
import itertools
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from atnet_jax import files, metrics, models, predictions, report, weights
from atnet_jax.checkpoint import FoldCheckpoints
from atnet_jax.config import Config
from atnet_jax.data import Composite, load_composite
from atnet_jax.errors import UserError
from atnet_jax.folds import Fold, make_folds, select_folds
from atnet_jax.sampling import epoch_batches, one_pass
from atnet_jax.train import Trainer, TrainState, learning_rate, make_trainer
from atnet_jax.workdir import claim

_PREDICT_BATCH = 16


@dataclasses.dataclass(frozen=True)
class FoldResult:
    """What is kept of a trained fold.

    Attributes:
      scores: class probabilities of the test clips, `[test, 3]`.
      loss: mean training loss of each epoch.
      accuracy: training accuracy of each epoch.
    """

    scores: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray


def train_and_evaluate(config: Config, workdir: str | os.PathLike[str]) -> Path:
    """Runs `config` in `workdir` and returns the path of the report.

    Writes config.json, checkpoints/, predictions.csv, metrics.json, table.md and report.html.
    Started again after a kill, goes on from the last checkpoints to the same predictions.

    Raises:
      UserError: the data are not prepared, the configuration does not fit them, the workdir holds
        a different run, or training diverged.
    """
    workdir = Path(workdir)
    model = models.load(config.model)
    composite = load_composite(
        config.data_dir,
        config.datasets,
        config.flow,
        model.INPUTS,
        config.image_size,
        config.directions,
    )
    if config.shuffle_labels:
        composite = composite.with_shuffled_labels(config.seed)
    all_folds = make_folds(config.protocol, composite)
    folds = select_folds(all_folds, config.folds)
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
    record = claim(
        workdir,
        config,
        data={"clips": len(composite.labels), "sha256": composite.digest()},
        init_from=None if start is None else weights.digest(start),
    )
    print(
        f"{config.protocol} of {config.model}: {len(composite.labels)} clips, {len(folds)} of"
        f" {len(all_folds)} folds, on {record['environment']['device']}"
    )

    results = train_folds(
        config, trainer, composite, all_folds, folds, workdir / "checkpoints", start
    )

    rows = [row for fold in folds for row in _rows(config, composite, fold, results[fold.number])]
    run = report.RunResults(
        protocol=config.protocol,
        model=config.model,
        paper_row=model.PAPER_ROW,
        predictions=rows,
        metrics=metrics.evaluate(rows),
        curves={fold.number: _curve(fold, results[fold.number]) for fold in folds},
        config=record["config"],
        notes=notes,
        versions=record["environment"]["versions"],
        device=record["environment"]["device"],
        exclusions=[report.Exclusion(*row) for row in composite.excluded],
        command=record["command"],
    )
    predictions.write(workdir / "predictions.csv", rows)
    files.write_json_atomically(
        workdir / "metrics.json",
        {"protocol": run.protocol, "model": run.model, "seed": config.seed, **run.metrics},
    )
    files.write_text_atomically(
        workdir / "table.md",
        report.table_markdown(run.protocol, run.metrics, config.model, run.paper_row, run.notes),
    )
    path = workdir / "report.html"
    files.write_text_atomically(path, report.build(run))
    return path


def train_folds(
    config: Config,
    trainer: Trainer,
    composite: Composite,
    all_folds: Sequence[Fold],
    folds: Sequence[Fold],
    directory: Path,
    start: weights.Weights | None = None,
) -> dict[int, FoldResult]:
    """Trains the folds, several at once, and scores each fold's test clips.

    Of the labels, training is handed those of the training clips alone.

    Args:
      config: see `atnet_jax.config`.
      trainer: the compiled functions for `config`.
      composite: the clips.
      all_folds: of the protocol; they decide the shapes of batches.
      folds: those to train.
      directory: of the checkpoints.
      start: the weights that every fold starts from, as far as they go; None: random ones.

    Returns:
      Fold number → its result.
    """
    inputs = jax.device_put(dict(composite.inputs))
    shapes = _BatchShapes(config, composite, all_folds)
    checkpoints = FoldCheckpoints(directory)
    done = {fold.number: checkpoints.epochs_done(fold.number) for fold in folds}
    at_once = config.folds_per_batch or (1 if jax.default_backend() == "cpu" else 8)

    results: dict[int, FoldResult] = {}
    with tqdm(
        total=len(folds) * config.num_epochs,
        initial=sum(done.values()),
        desc=f"{config.protocol} {config.model}",
        unit=" epochs",
        smoothing=0.02,
    ) as bar:
        for group in _groups(folds, done, at_once):
            state, history = _start(
                trainer, start, config, checkpoints, group, done[group[0].number]
            )
            for epoch in range(done[group[0].number], config.num_epochs):
                batches = shapes.batches(group, epoch)
                rate = learning_rate(config, epoch)
                steps = []
                for indices, labels, weights in batches:
                    state, step = trainer.step(state, inputs, indices, labels, weights, rate)
                    steps.append(step)
                loss, correct, count = (
                    np.sum([np.asarray(getattr(s, name)) for s in steps], axis=0)
                    for name in ("loss", "correct", "count")
                )
                for k, fold in enumerate(group):
                    if not math.isfinite(loss[k]):
                        raise UserError(
                            f"Fold {fold.number} ({fold.name}): the training loss is {loss[k]} in"
                            f" epoch {epoch + 1}. Lower config.learning_rate, or look for odd"
                            f" values in the data."
                        )
                    history[k]["loss"][epoch] = loss[k] / count[k]
                    history[k]["accuracy"][epoch] = correct[k] / count[k]
                if (epoch + 1) % config.checkpoint_every == 0 or epoch + 1 == config.num_epochs:
                    for k, (fold, part) in enumerate(zip(group, _split(state), strict=True)):
                        tree = {"state": part, "history": history[k]}
                        checkpoints.save(fold.number, epoch + 1, tree)
                bar.update(len(group))
                bar.set_postfix_str(f"{group[0].name}: loss {history[0]['loss'][epoch]:.3f}")
            scores = _predict(trainer, state, inputs, group)
            for k, fold in enumerate(group):
                results[fold.number] = FoldResult(scores[k], **history[k])
    checkpoints.close()
    return results


class _BatchShapes:
    """Batches of a group of folds, with the same shapes however folds are grouped."""

    def __init__(self, config: Config, composite: Composite, all_folds: Sequence[Fold]) -> None:
        self._config = config
        self._labels = composite.labels
        lengths = [
            len(one_pass(composite.labels[fold.train], config.balance_classes, 0, 0, 0))
            for fold in all_folds
        ]
        self._shortest, self._longest = min(lengths), max(lengths)

    def batches(
        self, group: Sequence[Fold], epoch: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
        """Yields clip indices, labels and weights, each `[fold, batch]`, for every step."""
        config = self._config
        per_fold = [
            epoch_batches(
                self._labels[fold.train],
                epoch=epoch,
                batch_size=config.batch_size,
                steps=config.steps_per_epoch,
                balance=config.balance_classes,
                seed=config.seed,
                fold=fold.number,
            )
            for fold in group
        ]
        steps = config.steps_per_epoch or math.ceil(self._longest / config.batch_size)
        for step in range(steps):
            start = step * config.batch_size
            full = bool(config.steps_per_epoch) or start + config.batch_size <= self._shortest
            width = config.batch_size if full else min(config.batch_size, self._longest - start)
            indices = np.zeros((len(group), width), np.int32)
            labels = np.zeros((len(group), width), np.int32)
            weights = np.zeros((len(group), width), np.float32)
            for k, (fold, batches) in enumerate(zip(group, per_fold, strict=True)):
                if step < len(batches):
                    clips = fold.train[batches[step]]
                    indices[k, : len(clips)] = clips
                    labels[k, : len(clips)] = self._labels[clips]
                    weights[k, : len(clips)] = 1
            yield indices, labels, None if full else weights


def _groups(folds: Sequence[Fold], done: dict[int, int], at_once: int) -> Iterator[list[Fold]]:
    """Folds to train together: equally far, because a kill may have come between two saves."""
    by_epoch = sorted(folds, key=lambda fold: (done[fold.number], fold.number))
    for _, equal in itertools.groupby(by_epoch, key=lambda fold: done[fold.number]):
        equal = list(equal)
        for start in range(0, len(equal), at_once):
            yield equal[start : start + at_once]


def _start(
    trainer: Trainer,
    start: weights.Weights | None,
    config: Config,
    checkpoints: FoldCheckpoints,
    group: Sequence[Fold],
    epochs_done: int,
) -> tuple[TrainState, list[dict[str, np.ndarray]]]:
    """The state of a group of folds, fresh or from their checkpoints, and their curves so far."""
    numbers = np.array([fold.number for fold in group], np.int32)

    def empty() -> dict[str, np.ndarray]:
        return {
            name: np.full(config.num_epochs, np.nan, np.float32) for name in ("loss", "accuracy")
        }

    if epochs_done == 0:
        state = trainer.init(numbers)
        if start is not None:
            state, _ = weights.overlay(state, start)
        return state, [empty() for _ in group]
    like = jax.eval_shape(trainer.init, jax.ShapeDtypeStruct((1,), np.int32))
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), like)
    trees = [
        checkpoints.restore(fold.number, {"state": like, "history": empty()}) for fold in group
    ]
    state = jax.tree.map(lambda *leaves: jax.device_put(np.stack(leaves)),
                         *(tree["state"] for tree in trees))  # fmt: skip
    return state, [tree["history"] for tree in trees]


def _split(state: TrainState) -> list[TrainState]:
    """A group's state as one host copy a fold."""
    leaves, structure = jax.tree.flatten(jax.device_get(state))
    return [structure.unflatten(fold) for fold in zip(*leaves, strict=True)]


def _predict(
    trainer: Trainer, state: TrainState, inputs: dict[str, jax.Array], group: Sequence[Fold]
) -> list[np.ndarray]:
    """Scores of each fold's test clips, in batches of one size."""
    longest = max(len(fold.test) for fold in group)
    length = math.ceil(longest / _PREDICT_BATCH) * _PREDICT_BATCH
    indices = np.stack([np.pad(fold.test, (0, length - len(fold.test))) for fold in group])
    parts = [
        np.asarray(trainer.predict(state, inputs, indices[:, start : start + _PREDICT_BATCH]))
        for start in range(0, length, _PREDICT_BATCH)
    ]
    scores = np.concatenate(parts, axis=1)
    return [scores[k, : len(fold.test)] for k, fold in enumerate(group)]


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


def _curve(fold: Fold, result: FoldResult) -> report.Curve:
    return {
        "name": fold.name,
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
    if config.image_size != 224:
        notes.append(f"Apex frames were reduced to {config.image_size}×{config.image_size} pixels.")
    return notes
