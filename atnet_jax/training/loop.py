"""Training the units of a run, several at once, with checkpoints that a kill cannot hurt."""

import contextlib
import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32

from atnet_jax.config import Config
from atnet_jax.data.folds import Unit
from atnet_jax.errors import UserError
from atnet_jax.evaluation import metrics
from atnet_jax.training import processes
from atnet_jax.training.batches import BatchPlan
from atnet_jax.training.checkpoint import FoldCheckpoints
from atnet_jax.training.engine import Metrics, Trainer, TrainState, make_trainer
from atnet_jax.training.feed import SCORED_AT_ONCE, Feed
from atnet_jax.training.group_size import explained, units_at_once
from atnet_jax.training.optimizer import learning_rate
from atnet_jax.training.progress import UnitEpoch, Watch, profile
from atnet_jax.weights import folder as weights

History = dict[str, np.ndarray]
"""The course of a unit's training: "loss", "accuracy" and "seconds" of each epoch, and "scores"
`[scored, test + validation, 3]` after each of `scored_epochs`."""

_OF_EPOCHS = ("loss", "accuracy", "seconds")

Kept = dict[str, Any]
"""What a unit's checkpoint holds, on the host and without a unit axis.

"history", always. "state", until the last epoch. "network", the parameters and statistics that are
kept of the unit: those of its best epoch so far where it has validation clips, from the first epoch
on; else those of the last epoch. A finished unit has none with keep_networks=False."""


@dataclasses.dataclass(frozen=True)
class FoldResult:
    """What is kept of a unit.

    Attributes:
      scores: class probabilities of the test clips, `[test, 3]`.
      epoch_scores: scores after each of `scored_epochs`, `[scored, test, 3]`.
      validation_scores: likewise of the validation clips, `[scored, validation, 3]`.
      epoch: the epoch after which they were taken, counted from 1; 0 if there are no epochs.
      loss: mean training loss of each epoch.
      accuracy: training accuracy of each epoch.
      seconds: what each epoch's training took, its share where several units trained at once. The
        first epoch of a run compiles. Scoring and saving are not in it.
    """

    scores: np.ndarray
    epoch_scores: np.ndarray
    validation_scores: np.ndarray
    epoch: int
    loss: np.ndarray
    accuracy: np.ndarray
    seconds: np.ndarray


def is_checkpoint(config: Config, epochs: int) -> bool:
    """Whether a checkpoint is written after so many epochs: after the last, and on the way."""
    every = config.engine.checkpoint_every or math.ceil(config.recipe.num_epochs / 5)
    return epochs % every == 0 or epochs == config.recipe.num_epochs


def scored_epochs(config: Config) -> list[int]:
    """The epochs after which the held-out clips are scored, counted from 1; the last always is."""
    every = config.score_every or config.recipe.num_epochs
    last = config.recipe.num_epochs
    return [epoch for epoch in range(1, last + 1) if epoch % every == 0 or epoch == last]


def read_start(
    config: Config, inputs: Mapping[str, Any]
) -> tuple[weights.Weights | None, list[str]]:
    """The weights in config.init_from, and what of the network they leave as it is at random.

    Args:
      config: see `atnet_jax.config`.
      inputs: of all clips; only their shapes are used here.

    Raises:
      UserError: there are no such weights, or they do not fit the network.
    """
    if not config.init_from:
        return None, []
    start = weights.load(Path(config.init_from))
    return start, weights.overlay(make_trainer(config, inputs).shapes(), start)[1]


def train_units(
    config: Config,
    feed: Feed,
    protocol_units: Sequence[Unit],
    units: Sequence[Unit],
    folders: Mapping[int, Path],
    start: weights.Weights | None = None,
) -> dict[tuple[int, int], FoldResult]:
    """Trains the units, several at once, and scores each one's held-out clips.

    The networks stay in the checkpoints, where `read_network` finds them. Of the labels, training
    is handed those of the training clips alone. Where several processes take part, each trains its
    share.

    Args:
      config: see `atnet_jax.config`.
      feed: hands out the clips.
      protocol_units: all of the protocol; they decide the shapes of batches.
      units: those to train.
      folders: seed → the folder of its run, for checkpoints and curves.
      start: the weights that every unit starts from, as far as they go; None: random ones.

    Returns:
      (seed, fold number) → the result, of the units of all processes.
    """
    own = processes.own(units)
    histories = _Training(config, feed, protocol_units, own, folders, start).run() if own else {}
    gathered = processes.gather(
        {
            f"{seed}/{fold}/{name}": array
            for (seed, fold), history in histories.items()
            for name, array in history.items()
        }
    )
    results = {}
    for unit in units:
        of_unit = f"{unit.seed}/{unit.fold.number}"
        history = {name: gathered[f"{of_unit}/{name}"] for name in (*_OF_EPOCHS, "scores")}
        results[unit.key] = _result(config, unit, history)
    return results


def read_network(checkpoints: FoldCheckpoints, fold: int, shapes: TrainState) -> dict[str, Any]:
    """The network kept of a fold that is trained to its end: {"params": …, "batch_stats": …}.

    Args:
      checkpoints: of the run.
      fold: its number.
      shapes: of one unit, as `Trainer.unit_shapes` gives them.

    Raises:
      UserError: the checkpoint holds no network, or is damaged or cannot be read.
    """
    return checkpoints.read(fold, {"network": shapes.network})["network"]


class _Training:
    """What the loop over groups and epochs needs throughout."""

    def __init__(
        self,
        config: Config,
        feed: Feed,
        protocol_units: Sequence[Unit],
        units: Sequence[Unit],
        folders: Mapping[int, Path],
        start: weights.Weights | None,
    ) -> None:
        self._config = config
        self._units = units
        self._plan = BatchPlan(config, protocol_units)
        devices = jax.local_devices()[: len(units)]
        self._trainer: Trainer = make_trainer(config, feed.inputs, devices)
        self._size = units_at_once(config, self._trainer, feed.inputs, self._plan, units)
        self._feed = feed.placed(self._trainer)
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
        task = self._config.task
        what = f"{self._config.protocol if task == 'evaluate' else task} {self._config.model}"
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
        kept = self._kept(group, done)
        if kept is None:
            return None
        if done < self._config.recipe.num_epochs:
            self._train(group, kept, done, watch)
        return [own["history"] for own in kept]

    def _kept(self, group: Sequence[Unit], done: int) -> list[Kept] | None:
        """What the checkpoints hold of each unit; None if one is damaged."""
        nothing: list[Kept] = [{"history": self._no_history(unit)} for unit in group]
        if done == 0:
            return nothing
        kept = []
        finished = done == self._config.recipe.num_epochs  # Its network is not read here.
        for unit, like in zip(group, nothing, strict=True):
            if not finished:
                like["state"] = self._trainer.unit_shapes()
                if len(unit.fold.validation):
                    like["network"] = like["state"].network
            checkpoints = self._checkpoints[unit.seed]
            kept.append(checkpoints.restore(unit.fold.number, like, part=finished))
        return None if None in kept else kept

    def _no_history(self, unit: Unit) -> History:
        clips = len(unit.fold.test) + len(unit.fold.validation)
        epochs = self._config.recipe.num_epochs
        history = {name: np.full(epochs, np.nan, np.float32) for name in _OF_EPOCHS}
        return {**history, "scores": np.zeros((len(self._scored), clips, 3), np.float32)}

    def _train(self, group: Sequence[Unit], kept: Sequence[Kept], done: int, watch: Watch) -> None:
        """Trains a group from the epoch `done`, counted from 0, to its end; brings `kept` there."""
        config = self._config
        # Every group has the same size, so that one program does for all.
        padded = [*group, *[group[-1]] * (self._size - len(group))]
        state = self._state(padded, kept)
        histories: list[History] = [own["history"] for own in kept]
        for epoch in range(done, config.recipe.num_epochs):
            rate = learning_rate(config, epoch)
            # The second epoch of the run: the first one compiles.
            traced = config.engine.profile and epoch == done + 1 and group[0] is self._units[0]
            started = monotonic()
            with explained(), profile(self._folders[group[0].seed] / "profile" if traced else None):
                state, sums = self._train_epoch(state, padded, epoch, rate)
            # What is padded to a full group costs time for the units that are there.
            seconds = (monotonic() - started) / len(group)
            for k, unit in enumerate(group):
                _refuse_divergence(unit, epoch, "training loss", float(sums.loss[k]))
                histories[k]["loss"][epoch] = sums.loss[k] / sums.count[k]
                histories[k]["accuracy"][epoch] = sums.correct[k] / sums.count[k]
                histories[k]["seconds"][epoch] = seconds
            uf1: list[float | None] = [None] * len(group)
            if epoch + 1 in self._scored:
                uf1 = self._score(state, padded, kept, epoch)
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
                        clips=int(sums.count[k]),
                        validation_uf1=uf1[k],
                    )
                    for k, unit in enumerate(group)
                ]
            )
            if is_checkpoint(config, epoch + 1):
                self._save(state, group, kept, epoch + 1)
        for checkpoints in self._checkpoints.values():
            checkpoints.wait()  # A group is through when it is on disk.

    def _state(self, padded: Sequence[Unit], kept: Sequence[Kept]) -> TrainState:
        """The state of a group, fresh or out of what its checkpoints held."""
        trainer = self._trainer
        states = [own.pop("state") for own in kept if "state" in own]
        if states:
            states += states[-1:] * (len(padded) - len(states))
            return trainer.spread(jax.tree.map(lambda *leaves: np.stack(leaves), *states))
        seeds = np.array([unit.seed for unit in padded], np.int32)
        numbers = np.array([unit.fold.number for unit in padded], np.int32)
        state = trainer.init(*trainer.spread((seeds, numbers)))
        if self._start is not None:
            state = trainer.spread(weights.overlay(state, self._start)[0])
        return state

    def _train_epoch(
        self, state: TrainState, padded: Sequence[Unit], epoch: int, rate: float
    ) -> tuple[TrainState, Metrics]:
        """One epoch of a group: its new state, and sums on the host."""
        steps: list[Metrics] = []
        for inputs, blocks in self._feed.training(self._plan.blocks(padded, epoch)):
            state, sums = self._trainer.epoch(state, inputs, blocks, rate)
            jax.block_until_ready(steps[-1:])  # Inputs must not pile up on the device.
            steps.append(sums)
        return state, jax.tree.map(lambda *parts: np.sum(np.stack(parts), axis=0), *steps)

    def _score(
        self, state: TrainState, padded: Sequence[Unit], kept: Sequence[Kept], epoch: int
    ) -> list[float | None]:
        """Scores the held-out clips of each unit, and keeps its network if it is the best yet.

        Returns:
          The UF1 of each unit's validation clips, None without.
        """
        place = self._scored.index(epoch + 1)
        latest: list[float | None] = []
        for k, scores in enumerate(self._predict(state, padded)[: len(kept)]):
            _refuse_divergence(padded[k], epoch, "score of a held-out clip", float(scores.sum()))
            kept[k]["history"]["scores"][place] = scores
            uf1 = _validation_uf1(padded[k], kept[k]["history"]["scores"][: place + 1])
            latest.append(uf1[-1] if uf1 else None)
            if uf1 and np.argmax(uf1) == place:
                networks = jax.device_get(state.network)
                kept[k]["network"] = jax.tree.map(lambda leaf, k=k: np.array(leaf[k]), networks)
        return latest

    def _save(
        self, state: TrainState, group: Sequence[Unit], kept: Sequence[Kept], epochs: int
    ) -> None:
        """Hands what has become of every unit, on the host, to its checkpoints."""
        finished = epochs == self._config.recipe.num_epochs
        last = jax.device_get({"network": state.network} if finished else {"state": state})
        for k, unit in enumerate(group):
            # The network of a chosen epoch takes the place of the last one's.
            tree = {**jax.tree.map(lambda leaf, k=k: leaf[k], last), **kept[k]}
            if finished and not self._config.engine.keep_networks:
                del tree["network"]
            self._checkpoints[unit.seed].save(unit.fold.number, epochs, tree)

    def _predict(self, state: TrainState, units: Sequence[Unit]) -> list[np.ndarray]:
        """Scores of each unit's test and validation clips, in batches of one size."""
        clips = [np.concatenate([unit.fold.test, unit.fold.validation]) for unit in units]
        length = math.ceil(max(map(len, clips)) / SCORED_AT_ONCE) * SCORED_AT_ONCE
        if not length:
            return [np.zeros((0, 3), np.float32) for _ in clips]
        padded = [np.pad(own, (0, length - len(own)), mode="edge") for own in clips]
        parts = [
            np.asarray(self._trainer.predict(state, inputs, part))
            for inputs, part in self._feed.scoring(np.stack(padded).astype(np.int32))
        ]
        scores = np.concatenate(parts, axis=1)
        return [scores[k, : len(own)] for k, own in enumerate(clips)]


def _refuse_divergence(unit: Unit, epoch: int, what: str, value: float) -> None:
    if not math.isfinite(value):
        raise UserError(
            f"Fold {unit.fold.number} ({unit.fold.name}), seed {unit.seed}: the {what} is {value}"
            f" in epoch {epoch + 1}. Lower config.recipe.learning_rate, or look for odd values in"
            f" the data."
        )


def _validation_uf1(unit: Unit, scores: Float32[np.ndarray, "scored held_out 3"]) -> list[float]:
    """UF1 of the unit's validation clips by the scores of each epoch; nothing without such clips.

    Args:
      unit: the unit.
      scores: of its test and validation clips.
    """
    clips = unit.fold.validation
    if not len(clips):
        return []
    found = scores[:, len(unit.fold.test) :].argmax(-1)
    return [metrics.uf1(metrics.confusion_matrix(unit.labels[clips], own)) for own in found]


def _result(config: Config, unit: Unit, history: History) -> FoldResult:
    """The unit after its last epoch or, where clips were held back to choose, its best on them."""
    test, validation = np.split(history["scores"], [len(unit.fold.test)], axis=1)
    uf1 = _validation_uf1(unit, history["scores"])
    kept = int(np.argmax(uf1)) if uf1 else -1
    return FoldResult(
        scores=test[kept],
        epoch=scored_epochs(config)[kept],
        loss=history["loss"],
        accuracy=history["accuracy"],
        seconds=history["seconds"],
        epoch_scores=test,
        validation_scores=validation,
    )
