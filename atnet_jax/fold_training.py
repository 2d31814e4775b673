"""Training the folds of a protocol, several at once, with checkpoints that a kill cannot hurt."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from atnet_jax import metrics, weights
from atnet_jax.checkpoint import FoldCheckpoints
from atnet_jax.config import Config
from atnet_jax.data import Composite
from atnet_jax.errors import UserError
from atnet_jax.folds import Fold
from atnet_jax.sampling import epoch_batches, one_pass
from atnet_jax.train import Trainer, TrainState, learning_rate

_PREDICT_BATCH = 16


@dataclasses.dataclass(frozen=True)
class FoldResult:
    """What is kept of a fold.

    Attributes:
      scores: class probabilities of the test clips, `[test, 3]`.
      epoch: the epoch after which they were taken, counted from 1; 0 if there are no epochs.
      loss: mean training loss of each epoch.
      accuracy: training accuracy of each epoch.
      epoch_scores: scores after each of `scored_epochs`, `[scored, test, 3]`.
    """

    scores: np.ndarray
    epoch: int
    loss: np.ndarray
    accuracy: np.ndarray
    epoch_scores: np.ndarray


def scored_epochs(config: Config) -> list[int]:
    """The epochs after which the held-out clips are scored, counted from 1; the last always is."""
    every = config.score_every or config.num_epochs
    last = config.num_epochs
    return [epoch for epoch in range(1, last + 1) if epoch % every == 0 or epoch == last]


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
    scored = scored_epochs(config)
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
                for indices, labels, counted in batches:
                    state, step = trainer.step(state, inputs, indices, labels, counted, rate)
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
                if epoch + 1 in scored:
                    scores = _predict(trainer, state, inputs, group)
                    for k in range(len(group)):
                        history[k]["scores"][scored.index(epoch + 1)] = scores[k]
                if (epoch + 1) % config.checkpoint_every == 0 or epoch + 1 == config.num_epochs:
                    for k, (fold, part) in enumerate(zip(group, _split(state), strict=True)):
                        tree = {"state": part, "history": history[k]}
                        checkpoints.save(fold.number, epoch + 1, tree)
                bar.update(len(group))
                bar.set_postfix_str(f"{group[0].name}: loss {history[0]['loss'][epoch]:.3f}")
            for k, fold in enumerate(group):
                results[fold.number] = _result(config, composite, fold, history[k])
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

    def empty(fold: Fold) -> dict[str, np.ndarray]:
        clips = len(fold.test) + len(fold.validation)
        return {
            "loss": np.full(config.num_epochs, np.nan, np.float32),
            "accuracy": np.full(config.num_epochs, np.nan, np.float32),
            "scores": np.zeros((len(scored_epochs(config)), clips, 3), np.float32),
        }

    if epochs_done == 0:
        state = trainer.init(numbers)
        if start is not None:
            state, _ = weights.overlay(state, start)
        return state, [empty(fold) for fold in group]
    like = jax.eval_shape(trainer.init, jax.ShapeDtypeStruct((1,), np.int32))
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), like)
    trees = [
        checkpoints.restore(fold.number, {"state": like, "history": empty(fold)}) for fold in group
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
    """Scores of each fold's test and validation clips, in batches of one size."""
    clips = [np.concatenate([fold.test, fold.validation]) for fold in group]
    length = math.ceil(max(map(len, clips)) / _PREDICT_BATCH) * _PREDICT_BATCH
    indices = np.stack([np.pad(own, (0, length - len(own))) for own in clips])
    parts = [
        np.asarray(trainer.predict(state, inputs, indices[:, start : start + _PREDICT_BATCH]))
        for start in range(0, length, _PREDICT_BATCH)
    ]
    scores = np.concatenate(parts, axis=1)
    return [scores[k, : len(own)] for k, own in enumerate(clips)]


def _result(
    config: Config, composite: Composite, fold: Fold, history: dict[str, np.ndarray]
) -> FoldResult:
    """The fold after its last epoch or, where clips were held back to choose, its best on them."""
    test, validation = np.split(history["scores"], [len(fold.test)], axis=1)
    kept = len(test) - 1
    if len(fold.validation):
        labels = composite.labels[fold.validation]
        kept = int(
            np.argmax(
                [
                    metrics.uf1(metrics.confusion_matrix(labels, scores.argmax(-1)))
                    for scores in validation
                ]
            )
        )
    return FoldResult(
        scores=test[kept],
        epoch=scored_epochs(config)[kept],
        loss=history["loss"],
        accuracy=history["accuracy"],
        epoch_scores=test,
    )
