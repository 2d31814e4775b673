"""Training of the units of a run, several at once, with checkpoints that survive a kill."""

import contextlib
import dataclasses
import hashlib
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
"""History of a unit's training: "loss", "accuracy" and "seconds" of each epoch, "scores" `[scored,
test + validation, 3]` after each of `scored_epochs`, "first_loss" `[]`, the loss of the first step,
and "start" `[32]`, the SHA-256 of the initial weights."""

_OF_EPOCHS = ("loss", "accuracy", "seconds")
_OF_START = ("first_loss", "start")

Kept = dict[str, Any]
"""Content of a unit's checkpoint, on the host and without a unit axis.

"history" is always present, "state" until the last epoch. "network" holds the parameters and
statistics to keep: with validation clips, those of the best epoch so far, in every checkpoint;
otherwise those of the last epoch, in the last checkpoint. With keep_networks=False, the last
checkpoint has no "network"."""


@dataclasses.dataclass(frozen=True)
class FoldResult:
    """Result of training one unit.

    Attributes:
        scores: Class probabilities of the test clips, `[test, 3]`.
        epoch_scores: Scores of the test clips after each of `scored_epochs`, `[scored, test, 3]`.
        validation_scores: Scores of the validation clips after each of `scored_epochs`, `[scored,
            validation, 3]`.
        epoch: Epoch of `scores`, from 1; 0 for a method without epochs.
        loss: Mean training loss of each epoch.
        accuracy: Training accuracy of each epoch, 0 to 1.
        seconds: Training time of each epoch, without scoring and saving. Units that train at once
            share the time equally. The first epoch of a run includes compilation.
        first_loss: Training loss of the first step. None for a method without steps, and for a
            unit that an earlier version began.
        start: SHA-256 of the initial weights, or None likewise.
    """

    scores: np.ndarray
    epoch_scores: np.ndarray
    validation_scores: np.ndarray
    epoch: int
    loss: np.ndarray
    accuracy: np.ndarray
    seconds: np.ndarray
    first_loss: float | None = None
    start: str | None = None


def is_checkpoint(config: Config, epochs: int) -> bool:
    """Return whether a checkpoint follows this number of epochs; it always follows the last."""
    every = config.engine.checkpoint_every or math.ceil(config.recipe.num_epochs / 5)
    return epochs % every == 0 or epochs == config.recipe.num_epochs


def scored_epochs(config: Config) -> list[int]:
    """Return the epochs, from 1, after which held-out clips are scored; the last is included."""
    every = config.score_every or config.recipe.num_epochs
    last = config.recipe.num_epochs
    return [epoch for epoch in range(1, last + 1) if epoch % every == 0 or epoch == last]


def read_start(
    config: Config, inputs: Mapping[str, Any]
) -> tuple[weights.Weights | None, list[str]]:
    """Read the weights in config.init_from.

    Args:
        config: The settings of the run.
        inputs: Inputs of all clips by name; only their shapes are used.

    Returns:
        The weights, None without config.init_from, and the names of the parameters that the weights
        leave at random values.

    Raises:
        UserError: The weights cannot be read or do not fit the network.
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
    """Train units, several at once, and score their held-out clips.

    Training receives only the labels of training clips. The networks remain in the checkpoints;
    `read_network` reads them. If a run has several processes, each trains its share of the units.

    Args:
        config: The settings of the run.
        feed: Source of the clips.
        protocol_units: All units of the protocol, which determine the shapes of the batches.
        units: The units to train.
        folders: Folder of the run of each seed, for checkpoints and TensorBoard curves.
        start: Initial weights of every unit, for all or some parameters; others start at random.

    Returns:
        The results of the units of all processes, by (seed, fold number).
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
        names = (*_OF_EPOCHS, *_OF_START, "scores")
        history = {name: gathered[f"{of_unit}/{name}"] for name in names}
        results[unit.key] = _result(config, unit, history)
    return results


def read_network(checkpoints: FoldCheckpoints, fold: int, shapes: TrainState) -> dict[str, Any]:
    """Return the network of a finished fold, {"params": …, "batch_stats": …}.

    Args:
        checkpoints: Checkpoints of the run.
        fold: Number of the fold.
        shapes: Shapes of one unit, from `Trainer.unit_shapes`.

    Raises:
        UserError: The checkpoint has no network, is damaged or cannot be read.
    """
    return checkpoints.read(fold, {"network": shapes.network})["network"]


class _Training:
    """Loop over groups of units and their epochs."""

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
        """Train all units and return their histories by (seed, fold number)."""
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
        """Return units to train together, all with the same number of trained epochs.

        The numbers differ if the run was killed between two saves.
        """

        def kind(unit: Unit) -> tuple[int, int]:
            return done[unit.key], unit.seed if self._config.recipe.shared_batches else 0

        kinds = [kind(unit) for unit in waiting]
        alike = [unit for unit, own in zip(waiting, kinds, strict=True) if own == min(kinds)]
        return alike[: self._size]

    def _train_group(self, group: Sequence[Unit], done: int, watch: Watch) -> list[History] | None:
        """Train a group from epoch `done` to its end.

        Returns:
            The histories, or None if a checkpoint is damaged: its unit then has fewer epochs than
            expected, so the caller must form a new group.
        """
        kept = self._kept(group, done)
        if kept is None:
            return None
        if done < self._config.recipe.num_epochs:
            self._train(group, kept, done, watch)
        return [own["history"] for own in kept]

    def _kept(self, group: Sequence[Unit], done: int) -> list[Kept] | None:
        """Return the content of each unit's checkpoint, or None if a checkpoint is damaged."""
        nothing: list[Kept] = [{"history": self._no_history(unit)} for unit in group]
        if done == 0:
            return nothing
        kept = []
        finished = done == self._config.recipe.num_epochs  # Only the history is needed then.
        for unit, like in zip(group, nothing, strict=True):
            if not finished:
                like["state"] = self._trainer.unit_shapes()
                if len(unit.fold.validation):
                    like["network"] = like["state"].network
            checkpoints = self._checkpoints[unit.seed]
            kept.append(
                checkpoints.restore(unit.fold.number, like, part=finished, recent=_OF_START)
            )
        return None if None in kept else kept

    def _no_history(self, unit: Unit) -> History:
        clips = len(unit.fold.test) + len(unit.fold.validation)
        epochs = self._config.recipe.num_epochs
        history = {name: np.full(epochs, np.nan, np.float32) for name in _OF_EPOCHS}
        return {
            **history,
            "scores": np.zeros((len(self._scored), clips, 3), np.float32),
            "first_loss": np.array(np.nan, np.float32),
            "start": np.zeros(hashlib.sha256().digest_size, np.uint8),
        }

    def _train(self, group: Sequence[Unit], kept: Sequence[Kept], done: int, watch: Watch) -> None:
        """Train a group from epoch `done`, counted from 0, to its end; update `kept` in place."""
        config = self._config
        # Padding gives every group the same size, so that one compiled program fits all.
        padded = [*group, *[group[-1]] * (self._size - len(group))]
        state = self._state(padded, kept)
        histories: list[History] = [own["history"] for own in kept]
        if done == 0:
            for history, start in zip(histories, _digests(state, len(group)), strict=True):
                history["start"][:] = np.frombuffer(bytes.fromhex(start), np.uint8)
        for epoch in range(done, config.recipe.num_epochs):
            rate = learning_rate(config, epoch)
            # The second epoch is profiled, because the first one compiles.
            traced = config.engine.profile and epoch == done + 1 and group[0] is self._units[0]
            started = monotonic()
            with (
                explained(config, self._size),
                profile(self._folders[group[0].seed] / "profile" if traced else None),
            ):
                state, sums = self._train_epoch(state, padded, epoch, rate)
            # The time of padding counts for the units of the group.
            seconds = (monotonic() - started) / len(group)
            for k, unit in enumerate(group):
                _refuse_divergence(unit, epoch, "training loss", float(sums.loss[k]))
                histories[k]["loss"][epoch] = sums.loss[k] / sums.count[k]
                histories[k]["accuracy"][epoch] = sums.correct[k] / sums.count[k]
                histories[k]["seconds"][epoch] = seconds
                if epoch == 0 and sums.first_loss is not None:
                    histories[k]["first_loss"][...] = sums.first_loss[k]
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
            checkpoints.wait()  # A group is finished when its checkpoints are on disk.

    def _state(self, padded: Sequence[Unit], kept: Sequence[Kept]) -> TrainState:
        """Return the state of a group: its checkpoints' state or, without these, a new one."""
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
        """Train a group for one epoch; return its new state, and sums on the host."""
        steps: list[Metrics] = []
        for inputs, blocks in self._feed.training(self._plan.blocks(padded, epoch)):
            state, sums = self._trainer.epoch(state, inputs, blocks, rate)
            jax.block_until_ready(steps[-1:])  # Inputs must not pile up on the device.
            steps.append(sums)
        sums = jax.tree.map(lambda *parts: np.sum(np.stack(parts), axis=0), *steps)
        return state, sums.replace(first_loss=np.asarray(steps[0].first_loss))

    def _score(
        self, state: TrainState, padded: Sequence[Unit], kept: Sequence[Kept], epoch: int
    ) -> list[float | None]:
        """Score the held-out clips of each unit, and keep its network if it is the best so far.

        Returns:
            The UF1 of each unit's validation clips, None for a unit without validation clips.
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
        """Queue a checkpoint of every unit."""
        finished = epochs == self._config.recipe.num_epochs
        last = jax.device_get({"network": state.network} if finished else {"state": state})
        for k, unit in enumerate(group):
            # The network of the best validation epoch, if any, replaces the last epoch's.
            tree = {**jax.tree.map(lambda leaf, k=k: leaf[k], last), **kept[k]}
            if finished and not self._config.engine.keep_networks:
                del tree["network"]
            self._checkpoints[unit.seed].save(unit.fold.number, epochs, tree)

    def _predict(self, state: TrainState, units: Sequence[Unit]) -> list[np.ndarray]:
        """Return the scores of each unit's test and validation clips, `[test + validation, 3]`."""
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


def _digests(state: TrainState, units: int) -> list[str]:
    """Return the SHA-256 of the networks of the first `units` units."""
    network = jax.device_get(state.network)
    each = [jax.tree.map(lambda leaf, k=k: leaf[k], network) for k in range(units)]
    return [weights.digest(weights.Weights(**own, about={})) for own in each]


def _refuse_divergence(unit: Unit, epoch: int, what: str, value: float) -> None:
    if not math.isfinite(value):
        raise UserError(
            f"Fold {unit.fold.number} ({unit.fold.name}), seed {unit.seed}: the {what} is {value}"
            f" in epoch {epoch + 1}. Lower config.recipe.learning_rate, or check the data for"
            f" invalid values."
        )


def _validation_uf1(unit: Unit, scores: Float32[np.ndarray, "scored held_out 3"]) -> list[float]:
    """Return the UF1 of the unit's validation clips after each scored epoch, [] without clips.

    Args:
        unit: The unit.
        scores: Scores of its test and validation clips.
    """
    clips = unit.fold.validation
    if not len(clips):
        return []
    found = scores[:, len(unit.fold.test) :].argmax(-1)
    return [metrics.uf1(metrics.confusion_matrix(unit.labels[clips], own)) for own in found]


def _result(config: Config, unit: Unit, history: History) -> FoldResult:
    """Return the result of the last epoch or, with validation clips, of the best epoch."""
    test, validation = np.split(history["scores"], [len(unit.fold.test)], axis=1)
    uf1 = _validation_uf1(unit, history["scores"])
    kept = int(np.argmax(uf1)) if uf1 else -1
    recorded = bool(np.isfinite(history["first_loss"]))
    return FoldResult(
        scores=test[kept],
        epoch=scored_epochs(config)[kept],
        loss=history["loss"],
        accuracy=history["accuracy"],
        seconds=history["seconds"],
        epoch_scores=test,
        validation_scores=validation,
        first_loss=float(history["first_loss"]) if recorded else None,
        start=history["start"].tobytes().hex() if recorded else None,
    )
