"""The batches of a group of units as arrays, whose shapes do not depend on the group."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import flax.struct
import numpy as np
from jaxtyping import Int

from atnet_jax.config import Config
from atnet_jax.data.folds import Unit
from atnet_jax.training.sampling import epoch_batches, one_pass


class Batches(flax.struct.PyTreeNode):
    """Successive batches of one width, for a group of units.

    Attributes:
      indices: which clips, `[step, unit, batch]`; `[step, batch]` if the units share them.
      labels: theirs, `[step, unit, batch]`.
      weights: `[step, unit, batch]`, or None if all are 1. Weight 0 marks a clip that does not
        count; a unit whose weights are all 0 keeps its state in that step.
    """

    indices: Any
    labels: Any
    weights: Any


class BatchPlan:
    """Makes the batches of each epoch.

    Of the labels, it hands out those of training clips alone.
    """

    def __init__(self, config: Config, units: Sequence[Unit]) -> None:
        """`units`: all of the experiment, of which some train together: they decide the shapes."""
        self._config = config
        passes = [
            len(one_pass(self._training_labels(u), config.recipe.balance_classes, 0, 0, 0))
            for u in units
        ]
        self._shortest, self._longest = min(passes), max(passes)
        self._left_out = max(len(unit.labels) - len(unit.fold.train) for unit in units)

    @property
    def steps(self) -> int:
        """Steps in an epoch."""
        return self._config.recipe.steps_per_epoch or math.ceil(
            self._longest / self._config.recipe.batch_size
        )

    def blocks(self, units: Sequence[Unit], epoch: int) -> list[Batches]:
        """All batches of an epoch, counted from 0: successive steps of equal width are one block.

        Units that share batches are of one seed.
        """
        steps = self._shared_steps if self._config.recipe.shared_batches else self._own_steps
        alike = itertools.groupby(
            steps(units, epoch), lambda step: (step.labels.shape, step.weights is None)
        )
        return [self._stack(list(group)) for _, group in alike]

    @staticmethod
    def _stack(steps: Sequence[Batches]) -> Batches:
        weights = None if steps[0].weights is None else np.stack([step.weights for step in steps])
        indices, labels = (
            np.stack([getattr(s, name) for s in steps]) for name in ("indices", "labels")
        )
        return Batches(indices, labels, weights)

    def _own_steps(self, units: Sequence[Unit], epoch: int) -> Iterator[Batches]:
        """Every unit in an order of its own; narrower batches where some unit's pass ends."""
        config = self._config
        size = config.recipe.batch_size
        per_unit = [
            epoch_batches(
                self._training_labels(unit),
                epoch=epoch,
                batch_size=size,
                steps=config.recipe.steps_per_epoch,
                balance=config.recipe.balance_classes,
                seed=unit.seed,
                fold=unit.fold.number,
            )
            for unit in units
        ]
        for step in range(self.steps):
            start = step * size
            full = bool(config.recipe.steps_per_epoch) or start + size <= self._shortest
            width = size if full else min(size, self._longest - start)
            indices = np.zeros((len(units), width), np.int32)
            labels = np.zeros((len(units), width), np.int32)
            weights = np.zeros((len(units), width), np.float32)
            for k, (unit, batches) in enumerate(zip(units, per_unit, strict=True)):
                if step < len(batches):
                    clips = unit.fold.train[batches[step]]
                    indices[k, : len(clips)] = clips
                    labels[k, : len(clips)] = unit.labels[clips]
                    weights[k, : len(clips)] = 1
            yield Batches(indices, labels, None if full else weights)

    def _shared_steps(self, units: Sequence[Unit], epoch: int) -> Iterator[Batches]:
        """All units in one order of all clips, of which each leaves out those it may not see.

        A unit's batches are full all the same: its clips are drawn from a stretch of the order that
        is as much longer than a batch as the most that a unit leaves out.
        """
        size, clips = self._config.recipe.batch_size, len(units[0].labels)
        order = np.random.default_rng([units[0].seed, epoch]).permutation(clips)
        own = [np.flatnonzero(np.isin(order, unit.fold.train)) for unit in units]
        for step in range(self.steps):
            start = step * size
            indices = order[start : start + size + self._left_out].astype(np.int32)
            labels = np.zeros((len(units), len(indices)), np.int32)
            weights = np.zeros((len(units), len(indices)), np.float32)
            for k, (unit, places) in enumerate(zip(units, own, strict=True)):
                places = places[start : start + size] - start
                labels[k, places] = unit.labels[indices[places]]
                weights[k, places] = 1
            yield Batches(indices, labels, weights)

    def _training_labels(self, unit: Unit) -> Int[np.ndarray, " train"]:
        return unit.labels[unit.fold.train]
