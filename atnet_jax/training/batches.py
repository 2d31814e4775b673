"""Batches of a group of units, as arrays whose shapes do not depend on the group."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import flax.struct
import numpy as np
from jaxtyping import Int

from atnet_jax.config import Config, seed_of
from atnet_jax.data.folds import Unit
from atnet_jax.training.sampling import epoch_batches, one_pass


class Batches(flax.struct.PyTreeNode):
    """Successive batches of one width, for a group of units.

    Attributes:
        indices: Indices of the clips, `[step, unit, batch]`, or `[step, batch]` if shared by the
            units.
        labels: Labels of the clips, `[step, unit, batch]`.
        weights: Weights of the clips, `[step, unit, batch]`, or None if all are 1. Weight 0
            excludes a clip; a unit whose weights are all 0 keeps its state in that step.
    """

    indices: Any
    labels: Any
    weights: Any


class BatchPlan:
    """Source of the batches of each epoch, which contain labels of training clips only."""

    def __init__(self, config: Config, units: Sequence[Unit]) -> None:
        """Fix the shapes of the batches.

        Args:
            config: The settings of the run.
            units: All units of the experiment, so that every group has batches of equal shapes.
        """
        self._config = config
        passes = [
            len(one_pass(self._training_labels(u), config.recipe.balance_classes, 0, 0, 0))
            for u in units
        ]
        self._shortest, self._longest = min(passes), max(passes)
        self._left_out = max(len(unit.labels) - len(unit.fold.train) for unit in units)

    @property
    def steps(self) -> int:
        """Number of steps in an epoch."""
        return self._config.recipe.steps_per_epoch or math.ceil(
            self._longest / self._config.recipe.batch_size
        )

    def blocks(self, units: Sequence[Unit], epoch: int) -> list[Batches]:
        """Return all batches of an epoch.

        Args:
            units: The units of the group. Units that share batches must have the same seed.
            epoch: Number of the epoch, from 0.

        Returns:
            Blocks of successive steps; all steps of a block have the same width.
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
        """Yield batches in a separate order for each unit; they narrow where a unit's pass ends."""
        config = self._config
        size = config.recipe.batch_size
        per_unit = [
            epoch_batches(
                self._training_labels(unit),
                epoch=epoch,
                batch_size=size,
                steps=config.recipe.steps_per_epoch,
                balance=config.recipe.balance_classes,
                seed=seed_of(config, "order", unit.seed),
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
        """Yield batches in one order for all units; each unit skips the clips it may not see.

        The batches of a unit are full nevertheless: a step spans as many additional clips as a unit
        skips at most.

        Yields:
            The batches of one step.
        """
        size, clips = self._config.recipe.batch_size, len(units[0].labels)
        seed = seed_of(self._config, "order", units[0].seed)
        order = np.random.default_rng([seed, epoch]).permutation(clips)
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
