"""Training the units of a run, several at once, with checkpoints that a kill cannot hurt."""

import contextlib
import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic

import jax
import numpy as np

from atnet_jax.config import Config, splitting
from atnet_jax.data.folds import Unit
from atnet_jax.errors import UserError
from atnet_jax.evaluation import metrics
from atnet_jax.training import processes
from atnet_jax.training.batches import BatchPlan
from atnet_jax.training.checkpoint import FoldCheckpoints
from atnet_jax.training.engine import Trainer, TrainState, make_trainer
from atnet_jax.training.group_size import explained, units_at_once
from atnet_jax.training.optimizer import learning_rate
from atnet_jax.training.progress import UnitEpoch, Watch, profile
from atnet_jax.weights import folder as weights

_PREDICT_BATCH = 16

History = dict[str, np.ndarray]
"""What a unit's checkpoint holds beside its state: "loss", "accuracy" and "seconds" of each epoch,
and "scores" `[scored, test + validation, 3]` after each of `scored_epochs`."""

_OF_EPOCHS = ("loss", "accuracy", "seconds")


@dataclasses.dataclass(frozen=True)
class FoldResult:
    """What is kept of a unit.

    Attributes:
      scores: class probabilities of the test clips, `[test, 3]`.
      epoch: the epoch after which they were taken, counted from 1; 0 if there are no epochs.
      loss: mean training loss of each epoch.
      accuracy: training accuracy of each epoch.
      seconds: what each epoch's training took, its share where several units trained at once. The
        first epoch of a run compiles. Scoring and saving are not in it.
      epoch_scores: scores after each of `scored_epochs`, `[scored, test, 3]`.
    """

    scores: np.ndarray
    epoch: int
    loss: np.ndarray
    accuracy: np.ndarray
    seconds: np.ndarray
    epoch_scores: np.ndarray


def is_checkpoint(config: Config, epochs: int) -> bool:
    """Whether a checkpoint is written after so many epochs: after the last, and on the way."""
    every = config.engine.checkpoint_every or math.ceil(config.recipe.num_epochs / 5)
    return epochs % every == 0 or epochs == config.recipe.num_epochs


def scored_epochs(config: Config) -> list[int]:
    """The epochs after which the held-out clips are scored, counted from 1; the last always is."""
    every = config.score_every or config.recipe.num_epochs
    last = config.recipe.num_epochs
    return [epoch for epoch in range(1, last + 1) if epoch % every == 0 or epoch == last]


def train_units(
    config: Config,
    inputs: Mapping[str, np.ndarray],
    protocol_units: Sequence[Unit],
    units: Sequence[Unit],
    folders: Mapping[int, Path],
    start: weights.Weights | None = None,
) -> dict[tuple[int, int], FoldResult]:
    """Trains the units, several at once, and scores each one's held-out clips.

    Of the labels, training is handed those of the training clips alone. Where several processes
    take part, each trains its share.

    Args:
      config: see `atnet_jax.config`.
      inputs: of all clips.
      protocol_units: all of the protocol; they decide the shapes of batches.
      units: those to train.
      folders: seed → the folder of its run, for checkpoints and curves.
      start: the weights that every unit starts from, as far as they go; None: random ones.

    Returns:
      (seed, fold number) → the result, of the units of all processes.
    """
    own = processes.own(units)
    histories = _Training(config, inputs, protocol_units, own, folders, start).run() if own else {}
    gathered = processes.gather(
        {
            f"{seed}/{fold}/{name}": array
            for (seed, fold), history in histories.items()
            for name, array in history.items()
        }
    )
    return {
        unit.key: _result(
            config,
            unit,
            {
                name: gathered[f"{unit.seed}/{unit.fold.number}/{name}"]
                for name in (*_OF_EPOCHS, "scores")
            },
        )
        for unit in units
    }


class _Training:
    """What the loop over groups and epochs needs throughout."""

    def __init__(
        self,
        config: Config,
        inputs: Mapping[str, np.ndarray],
        protocol_units: Sequence[Unit],
        units: Sequence[Unit],
        folders: Mapping[int, Path],
        start: weights.Weights | None,
    ) -> None:
        self._config = config
        self._units = units
        self._plan = BatchPlan(config, protocol_units)
        self._trainer: Trainer = make_trainer(config, inputs)
        self._size = units_at_once(config, self._trainer, inputs, self._plan, units)
        self._inputs = self._trainer.replicate(dict(inputs))
        self._folders = folders
        self._start = start
        self._scored = scored_epochs(config)
        self._checkpoints = {
            seed: FoldCheckpoints(folder / "checkpoints") for seed, folder in folders.items()
        }

    def run(self) -> dict[tuple[int, int], History]:
        """Trains all units; (seed, fold number) → what became of it."""
        done = {unit.key: self._epochs_done(unit) for unit in self._units}
        histories: dict[tuple[int, int], History] = {}
        what = f"{splitting(self._config)} {self._config.model}"
        with contextlib.ExitStack() as stack:
            for checkpoints in self._checkpoints.values():
                stack.enter_context(checkpoints)
            watch = stack.enter_context(
                Watch(what, self._config.recipe.num_epochs, done, self._folders)
            )
            while waiting := [unit for unit in self._units if unit.key not in histories]:
                group = self._group(waiting, done)
                trained = self._train_group(group, done[group[0].key], watch)
                if trained is None:
                    found = {unit.key: self._epochs_done(unit) for unit in group}
                    watch.set_back(sum(done[key] - epochs for key, epochs in found.items()))
                    done.update(found)
                else:
                    histories.update({u.key: h for u, h in zip(group, trained, strict=True)})
        return histories

    def _epochs_done(self, unit: Unit) -> int:
        return self._checkpoints[unit.seed].epochs_done(unit.fold.number)

    def _group(self, waiting: Sequence[Unit], done: Mapping[tuple[int, int], int]) -> list[Unit]:
        """Units to train together: equally far, because a kill may have come between two saves."""

        def kind(unit: Unit) -> tuple[int, int]:
            return done[unit.key], unit.seed if self._config.recipe.shared_batches else 0

        kinds = [kind(unit) for unit in waiting]
        alike = [unit for unit, own in zip(waiting, kinds, strict=True) if own == min(kinds)]
        return alike[: self._size]

    def _train_group(self, group: Sequence[Unit], done: int, watch: Watch) -> list[History] | None:
        """Trains a group, `done` epochs far, to its end.

        None if a unit's checkpoint is found damaged: the unit is not as far as it seemed, and the
        group must be made anew.
        """
        config, trainer = self._config, self._trainer
        # Every group has the same size, so that one program does for all.
        padded = [*group, *[group[-1]] * (self._size - len(group))]
        begun = self._begin(padded, done)
        if begun is None:
            return None
        state, histories = begun
        for epoch in range(done, config.recipe.num_epochs):
            rate = learning_rate(config, epoch)
            # The second epoch of the run: the first one compiles.
            traced = config.engine.profile and epoch == done + 1 and group[0] is self._units[0]
            started = monotonic()
            with explained(), profile(self._folders[group[0].seed] / "profile" if traced else None):
                state, sums = trainer.epoch(
                    state, self._inputs, self._plan.blocks(padded, epoch), rate
                )
                loss, correct, count = map(np.asarray, (sums.loss, sums.correct, sums.count))
            # What is padded to a full group costs time for the units that are there.
            seconds = (monotonic() - started) / len(group)
            self._refuse_divergence(group, epoch, loss)
            for k in range(len(group)):
                histories[k]["loss"][epoch] = loss[k] / count[k]
                histories[k]["accuracy"][epoch] = correct[k] / count[k]
                histories[k]["seconds"][epoch] = seconds
            if epoch + 1 in self._scored:
                scores = self._predict(state, padded)
                for k in range(len(group)):
                    histories[k]["scores"][self._scored.index(epoch + 1)] = scores[k]
            watch.epoch(
                [
                    UnitEpoch(
                        seed=unit.seed,
                        fold=unit.fold.number,
                        name=unit.fold.name,
                        epoch=epoch + 1,
                        loss=float(histories[k]["loss"][epoch]),
                        accuracy=float(histories[k]["accuracy"][epoch]),
                        learning_rate=rate,
                        steps=self._plan.steps,
                        clips=int(count[k]),
                    )
                    for k, unit in enumerate(group)
                ]
            )
            if is_checkpoint(config, epoch + 1):
                self._save(state, group, histories, epoch + 1)
        for checkpoints in self._checkpoints.values():
            checkpoints.wait()  # A group is through when it is on disk.
        return histories[: len(group)]

    def _begin(
        self, units: Sequence[Unit], done: int
    ) -> tuple[TrainState | None, list[History]] | None:
        """The state of a group, fresh or from its checkpoints, and its curves so far.

        None if a checkpoint is damaged. A finished group whose networks are not kept has no state.
        """
        trainer = self._trainer
        seeds, numbers = (
            np.array(values, np.int32)
            for values in zip(*[(unit.seed, unit.fold.number) for unit in units], strict=True)
        )
        if done == 0:
            state = trainer.init(*trainer.spread((seeds, numbers)))
            if self._start is not None:
                state = trainer.spread(weights.overlay(state, self._start)[0])
            return state, [self._no_history(unit) for unit in units]
        like = jax.eval_shape(trainer.init, seeds, numbers)
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), like)
        wanted = {} if self._drops_state(done) else {"state": like}
        trees = {
            unit.key: self._checkpoints[unit.seed].restore(
                unit.fold.number,
                {**wanted, "history": self._no_history(unit)},
                part=self._drops_state(done),
            )
            for unit in {unit.key: unit for unit in units}.values()
        }
        if None in trees.values():
            return None
        ordered = [trees[unit.key] for unit in units]
        if not wanted:
            return None, [tree["history"] for tree in ordered]
        stacked = jax.tree.map(
            lambda *leaves: np.stack(leaves), *(tree["state"] for tree in ordered)
        )
        return trainer.spread(stacked), [tree["history"] for tree in ordered]

    def _drops_state(self, epochs: int) -> bool:
        """Whether nothing but curves and scores is kept of folds that are so far."""
        return epochs == self._config.recipe.num_epochs and not self._config.engine.keep_networks

    def _no_history(self, unit: Unit) -> History:
        clips = len(unit.fold.test) + len(unit.fold.validation)
        return {
            **{
                name: np.full(self._config.recipe.num_epochs, np.nan, np.float32)
                for name in _OF_EPOCHS
            },
            "scores": np.zeros((len(self._scored), clips, 3), np.float32),
        }

    def _save(
        self, state: TrainState, group: Sequence[Unit], histories: Sequence[History], epochs: int
    ) -> None:
        """Hands what has become of every unit, on the host, to its checkpoints."""
        kept = {} if self._drops_state(epochs) else {"state": jax.device_get(state)}
        leaves, structure = jax.tree.flatten(kept)
        for k, unit in enumerate(group):
            own = structure.unflatten([leaf[k] for leaf in leaves])
            tree = {**own, "history": histories[k]}
            self._checkpoints[unit.seed].save(unit.fold.number, epochs, tree)

    def _predict(self, state: TrainState, units: Sequence[Unit]) -> list[np.ndarray]:
        """Scores of each unit's test and validation clips, in batches of one size."""
        clips = [np.concatenate([unit.fold.test, unit.fold.validation]) for unit in units]
        length = math.ceil(max(map(len, clips)) / _PREDICT_BATCH) * _PREDICT_BATCH
        if not length:
            return [np.zeros((0, 3), np.float32) for _ in clips]
        indices = np.stack([np.pad(own, (0, length - len(own))) for own in clips]).astype(np.int32)
        parts = [
            np.asarray(self._trainer.predict(state, self._inputs, part))
            for part in np.split(indices, length // _PREDICT_BATCH, axis=1)
        ]
        scores = np.concatenate(parts, axis=1)
        return [scores[k, : len(own)] for k, own in enumerate(clips)]

    @staticmethod
    def _refuse_divergence(group: Sequence[Unit], epoch: int, loss: np.ndarray) -> None:
        for k, unit in enumerate(group):
            if not math.isfinite(loss[k]):
                raise UserError(
                    f"Fold {unit.fold.number} ({unit.fold.name}), seed {unit.seed}: the training"
                    f" loss is {loss[k]} in epoch {epoch + 1}. Lower config.recipe.learning_rate,"
                    f" or look for odd values in the data."
                )


def _result(config: Config, unit: Unit, history: History) -> FoldResult:
    """The unit after its last epoch or, where clips were held back to choose, its best on them."""
    test, validation = np.split(history["scores"], [len(unit.fold.test)], axis=1)
    kept = len(test) - 1
    if len(unit.fold.validation):
        labels = unit.labels[unit.fold.validation]
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
        seconds=history["seconds"],
        epoch_scores=test,
    )
