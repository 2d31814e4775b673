"""Where the clips of a training come from: memory, or the disk as the training needs them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Int

from atnet_jax.data.macro_expressions import MacroPictures
from atnet_jax.training.batches import Batches
from atnet_jax.training.engine import Trainer

SCORED_AT_ONCE = 16
"""Clips of a unit that are scored in one step."""

Inputs: TypeAlias = Mapping[str, Any]
"""Name → array `[clip, ...]`."""


class InMemory:
    """Hands the training loop inputs, with indices into them: all clips, which every device holds.

    Attributes:
      inputs: those of all clips; of `FromDisk`, empty arrays of their shapes.
    """

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs

    def placed(self, trainer: Trainer) -> "InMemory":
        """The same clips on the trainer's devices."""
        return InMemory(trainer.replicate(dict(self.inputs)))

    def training(self, blocks: Sequence[Batches]) -> Iterator[tuple[Inputs, Sequence[Batches]]]:
        """One epoch's batches, in one or, `FromDisk`, in several parts."""
        yield self.inputs, blocks

    def scoring(
        self, clips: Int[np.ndarray, "unit clip"]
    ) -> Iterator[tuple[Inputs, Int[np.ndarray, "unit 16"]]]:
        """Clips in parts of `SCORED_AT_ONCE`, which divides their number."""
        for part in np.split(clips, clips.shape[1] // SCORED_AT_ONCE, axis=1):
            yield self.inputs, part


class FromDisk:
    """Pictures read step by step, a few steps ahead, for one unit that trains alone.

    Args:
      pictures: those of all data sets.
      batch_size: pictures in a step.
    """

    def __init__(self, pictures: MacroPictures, batch_size: int) -> None:
        size = pictures.image_size
        self.inputs: Inputs = {"apex": np.empty((0, size, size, 1), np.uint8)}
        self._pictures = pictures
        self._batch_size = batch_size

    def placed(self, trainer: Trainer) -> "FromDisk":
        """Itself: nothing is held."""
        del trainer
        return self

    def training(self, blocks: Sequence[Batches]) -> Iterator[tuple[Inputs, Sequence[Batches]]]:
        """The epoch step by step.

        One program does for all: they have one width, and all have weights if one has. What fills a
        step up has the weight 0.
        """
        whole = all(block.weights is None for block in blocks)
        weighted = [
            block.replace(weights=np.ones(block.labels.shape, np.float32))
            if block.weights is None
            else block
            for block in blocks
        ]
        indices, labels, weights = (
            np.concatenate([self._wide(getattr(block, name)) for block in weighted])
            for name in ("indices", "labels", "weights")
        )
        pictures = self._pictures.batches(indices.ravel(), self._batch_size)
        for step, apex in enumerate(pictures):
            own = np.s_[step : step + 1]
            positions = np.arange(self._batch_size, dtype=np.int32)[None, None]
            yield {"apex": apex}, [Batches(positions, labels[own], None if whole else weights[own])]

    def scoring(
        self, clips: Int[np.ndarray, "unit clip"]
    ) -> Iterator[tuple[Inputs, Int[np.ndarray, "unit 16"]]]:
        """Each part's own pictures."""
        for apex in self._pictures.batches(clips.ravel(), SCORED_AT_ONCE):
            yield {"apex": apex}, np.arange(SCORED_AT_ONCE, dtype=np.int32)[None]

    def _wide(self, rows: np.ndarray) -> np.ndarray:
        """A block's `[step, 1, width]` with zeros up to the width of a whole batch."""
        return np.pad(rows, ((0, 0), (0, 0), (0, self._batch_size - rows.shape[-1])))


Feed: TypeAlias = InMemory | FromDisk
"""Where the clips come from."""
