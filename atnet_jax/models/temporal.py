"""ATNet's temporal stream alone: two LSTMs on the ADM features. 3,413,507 parameters."""

import flax.linen as nn
import jax

from atnet_jax.models.layers.head import Classifier, l2_normalise
from atnet_jax.models.layers.lstm import TemporalNetwork
from atnet_jax.models.layers.network import Batch, Weight

INPUTS = ("adm",)
PAPER_ROW = "ATNet temporal"
SOURCE = (
    "Peng, Wang, Bi, Shi, Zhou, Chen: A Novel Apex-Time Network for Cross-Dataset"
    " Micro-Expression Recognition, ACII 2019"
)


class Model(TemporalNetwork):
    """ADM features → logits `[batch, 3]`."""

    @nn.compact
    def __call__(self, inputs: Batch, train: bool, weight: Weight = None) -> jax.Array:
        features = self.temporal_features(inputs)
        return Classifier(name="classifier")(l2_normalise(features))
