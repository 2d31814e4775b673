"""ATNet's temporal stream alone: two LSTMs on the ADM features. 3,413,507 parameters."""

from collections.abc import Mapping

import flax.linen as nn
import jax

from atnet_jax.models.layers.head import Classifier, l2_normalise
from atnet_jax.models.layers.lstm import TemporalStream

INPUTS = ("adm",)
RECIPE = {}
PAPER_ROW = "ATNet temporal"


class Model(nn.Module):
    """ADM features → logits `[batch, 3]`."""

    @nn.compact
    def __call__(
        self, inputs: Mapping[str, jax.Array], train: bool, weight: jax.Array | None = None
    ) -> jax.Array:
        features = TemporalStream(name="temporal")(inputs["adm"])
        return Classifier(name="classifier")(l2_normalise(features))
