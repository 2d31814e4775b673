"""ATNet's temporal stream alone: two LSTMs on the ADM features. 3,413,507 parameters."""

from typing import Literal

import flax.linen as nn
import jax

from atnet_jax.models.layers.head import Classifier, l2_normalise
from atnet_jax.models.layers.lstm import TemporalStream
from atnet_jax.models.layers.network import BaseNetwork, Batch, Weight

INPUTS = ("adm",)
PAPER_ROW = "ATNet temporal"
SOURCE = (
    "Peng, Wang, Bi, Shi, Zhou, Chen: A Novel Apex-Time Network for Cross-Dataset"
    " Micro-Expression Recognition, ACII 2019"
)


class Model(BaseNetwork):
    """ADM features → logits `[batch, 3]`.

    Attributes:
        time_pooling: See `TemporalStream`.
        mask_time: See `TemporalStream`.
    """

    time_pooling: Literal["mean", "last"] = "mean"
    mask_time: bool = False

    @nn.compact
    def __call__(self, inputs: Batch, train: bool, weight: Weight = None) -> jax.Array:
        stream = TemporalStream(self.time_pooling, self.mask_time, name="temporal")
        features = stream(inputs["adm"])
        return Classifier(name="classifier")(l2_normalise(features))
