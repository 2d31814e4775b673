"""What every network does unless its own file says otherwise."""

import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import flax.linen as nn
import jax
import numpy as np
import optax
from jaxtyping import Array, Float

from atnet_jax.data.composite import as_prepared, shapes_as_prepared
from atnet_jax.preprocessing.optical_flow import FlowMethod
from atnet_jax.preprocessing.prepared_clip import PreparedClip

Batch: TypeAlias = Mapping[str, jax.Array]
"""Inputs of a batch by name, float32 `[batch, ...]`."""

Weight: TypeAlias = jax.Array | None
"""`[batch]`, 0 for clips that only fill the batch up and that no statistics count; None: all 1."""

Prepared: TypeAlias = dict[str, np.ndarray]
"""Inputs of one clip by name."""


class BaseNetwork(nn.Module):
    """A network of the micro-expressions' three classes; see `atnet_jax.models.Network`.

    It reads what `INPUTS` of its file names as it was prepared, has the apex frame augmented as the
    configuration asks, and learns by cross-entropy after softmax.
    """

    def __call__(self, inputs: Batch, train: bool, weight: Weight = None) -> jax.Array:
        """Logits `[batch, 3]`; `train`: dropout acts, and statistics are those of the batch."""
        raise NotImplementedError

    @nn.nowrap
    def input_shapes(self, image_size: int) -> dict[str, tuple[int, ...]]:
        """The shapes of what `prepare` gives."""
        return shapes_as_prepared(_inputs(self), image_size)

    @nn.nowrap
    def prepare(self, clip: PreparedClip, flow: FlowMethod, image_size: int) -> Prepared:
        """What was prepared, the apex frame at the size of the pictures."""
        return as_prepared(clip, _inputs(self), image_size)

    @classmethod
    def computes(cls) -> bool:
        """Whether it has a `prepare` of its own."""
        return cls.prepare is not BaseNetwork.prepare

    @nn.nowrap
    def augment(self, key: jax.Array, inputs: Batch, change_apex: Callable) -> Batch:
        """Of what it reads, the apex frame alone changes."""
        changed = dict(inputs)
        if "apex" in changed:
            changed["apex"] = change_apex(key, changed["apex"])
        return changed

    @nn.nowrap
    def loss(self, outputs: Float[Array, "batch 3"], labels: jax.Array) -> Float[Array, " batch"]:
        """Cross-entropy after softmax."""
        return optax.softmax_cross_entropy_with_integer_labels(outputs, labels)

    @nn.nowrap
    def for_training(self) -> "BaseNetwork":
        """Itself."""
        return self


def _inputs(network: Any) -> tuple[str, ...]:
    """`INPUTS` of the file that the network is defined in."""
    return sys.modules[type(network).__module__].INPUTS
