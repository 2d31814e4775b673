"""ATNet: both streams, each L2-normalised, concatenated. 8,312,837 parameters."""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from atnet_jax.models.layers.head import Classifier, l2_normalise
from atnet_jax.models.layers.lstm import TemporalStream
from atnet_jax.models.layers.resnet10 import ResNet10

INPUTS = ("apex", "adm")
RECIPE = {}
PAPER_ROW = "ATNet fusion"


class Model(nn.Module):
    """Apex frame and ADM features → logits `[batch, 3]` (paper, figure 1)."""

    @nn.compact
    def __call__(
        self, inputs: Mapping[str, jax.Array], train: bool, weight: jax.Array | None = None
    ) -> jax.Array:
        spatial = ResNet10(name="spatial")(inputs["apex"], train, weight)
        temporal = TemporalStream(name="temporal")(inputs["adm"])
        fused = jnp.concatenate([l2_normalise(spatial), l2_normalise(temporal)], axis=-1)
        fused = nn.Dropout(0.5, deterministic=not train)(fused)
        return Classifier(name="classifier")(fused)
