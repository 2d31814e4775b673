"""Sources of training clips: memory, or a disk read during the training."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Int

from atnet_jax.data.macro_expressions import MacroPictures
from atnet_jax.training.batches import Batches
from atnet_jax.training.engine import Trainer

SCORED_AT_ONCE = 16
"""Number of clips of a unit that are scored in one step."""

Inputs: TypeAlias = Mapping[str, Any]
"""Arrays `[clip, ...]` by name of the input."""


class InMemory:
    """Source that keeps the inputs of all clips on every device.

    Attributes:
        inputs: Inputs of all clips. `FromDisk` has arrays without clips here, for their shapes.
    """

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs

    def placed(self, trainer: Trainer) -> "InMemory":
        """Return a source with the clips on the trainer's devices."""
        return InMemory(trainer.replicate(dict(self.inputs)))

    def training(self, blocks: Sequence[Batches]) -> Iterator[tuple[Inputs, Sequence[Batches]]]:
        """Yield the inputs and batches of one epoch in one part (`FromDisk`: in several parts)."""
        yield self.inputs, blocks

    def scoring(
        self, clips: Int[np.ndarray, "unit clip"]
    ) -> Iterator[tuple[Inputs, Int[np.ndarray, "unit 16"]]]:
        """Yield inputs, and clips in parts of `SCORED_AT_ONCE`, which must divide their number."""
        for part in np.split(clips, clips.shape[1] // SCORED_AT_ONCE, axis=1):
            yield self.inputs, part


class FromDisk:
    """Source that reads pictures from disk, a few steps ahead, for one unit that trains alone.

    Args:
        pictures: Pictures of all data sets.
        batch_size: Number of pictures in a step.
    """

    def __init__(self, pictures: MacroPictures, batch_size: int) -> None:
        size = pictures.image_size
        self.inputs: Inputs = {"apex": np.empty((0, size, size, 1), np.uint8)}
        self._pictures = pictures
        self._batch_size = batch_size

    def placed(self, trainer: Trainer) -> "FromDisk":
        """Return this source, which keeps no arrays."""
        del trainer
        return self

    def training(self, blocks: Sequence[Batches]) -> Iterator[tuple[Inputs, Sequence[Batches]]]:
        """Yield one step of the epoch at a time, padded so that one compiled program fits all.

        Args:
            blocks: The batches of the epoch.

        Yields:
            The pictures of a step and its batch. All batches have the same width, and all have
            weights if one has; padding has weight 0.
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
        """Yield the pictures of each part of `SCORED_AT_ONCE` clips, and indices into them."""
        for apex in self._pictures.batches(clips.ravel(), SCORED_AT_ONCE):
            yield {"apex": apex}, np.arange(SCORED_AT_ONCE, dtype=np.int32)[None]

    def _wide(self, rows: np.ndarray) -> np.ndarray:
        """Pad `[step, 1, width]` of a block with zeros to the width of a whole batch."""
        return np.pad(rows, ((0, 0), (0, 0), (0, self._batch_size - rows.shape[-1])))


Feed: TypeAlias = InMemory | FromDisk
"""Source of the clips of a training."""
