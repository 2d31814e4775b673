"""Base class of all networks, with the behaviour that a method's file can override."""

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
"""`[batch]`, 0 for clips that pad the batch and are excluded from statistics; None: all 1."""

Prepared: TypeAlias = dict[str, np.ndarray]
"""Inputs of one clip by name."""


class BaseNetwork(nn.Module):
    """A network for the three classes of micro-expressions; see `atnet_jax.models.Network`.

    By default it reads the prepared inputs that `INPUTS` of its file names. Augmentation changes
    only the apex frame, as the configuration specifies. The loss is the softmax cross-entropy.
    """

    def __call__(self, inputs: Batch, train: bool, weight: Weight = None) -> jax.Array:
        """Return logits `[batch, 3]`; `train` activates dropout and the batch's own statistics."""
        raise NotImplementedError

    @nn.nowrap
    def input_shapes(self, image_size: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of each array that `prepare` returns."""
        return shapes_as_prepared(_inputs(self), image_size)

    @nn.nowrap
    def prepare(self, clip: PreparedClip, flow: FlowMethod, image_size: int) -> Prepared:
        """Return the prepared inputs, with the apex frame resized to `image_size`."""
        return as_prepared(clip, _inputs(self), image_size)

    @classmethod
    def computes(cls) -> bool:
        """Return whether the class overrides `prepare`."""
        return cls.prepare is not BaseNetwork.prepare

    @nn.nowrap
    def augment(self, key: jax.Array, inputs: Batch, change_apex: Callable) -> Batch:
        """Augment the apex frame; other inputs stay unchanged."""
        changed = dict(inputs)
        if "apex" in changed:
            changed["apex"] = change_apex(key, changed["apex"])
        return changed

    @nn.nowrap
    def loss(self, outputs: Float[Array, "batch 3"], labels: jax.Array) -> Float[Array, " batch"]:
        """Compute the softmax cross-entropy of each clip."""
        return optax.softmax_cross_entropy_with_integer_labels(outputs, labels)

    @property
    def recurrent_layers(self) -> tuple[str, ...]:
        """Names of the parameters that `recurrent_features` reads; none."""
        return ()

    @nn.nowrap
    def recurrent_features(self, params: Any, inputs: Batch) -> Batch:
        """Return no features."""
        return {}

    @nn.nowrap
    def for_training(self) -> "BaseNetwork":
        """Return the network itself."""
        return self


def _inputs(network: Any) -> tuple[str, ...]:
    """Return `INPUTS` of the file that defines the network."""
    return sys.modules[type(network).__module__].INPUTS
