"""ATNet's spatial stream alone: ResNet-10 on the apex frame. 4,899,333 parameters."""

import flax.linen as nn
import jax

from atnet_jax.models.layers.head import Classifier, l2_normalise
from atnet_jax.models.layers.network import BaseNetwork, Batch, Weight
from atnet_jax.models.layers.resnet10 import ResNet10

INPUTS = ("apex",)
PAPER_ROW = "ATNet spatial"
SOURCE = (
    "Peng, Wang, Bi, Shi, Zhou, Chen: A Novel Apex-Time Network for Cross-Dataset"
    " Micro-Expression Recognition, ACII 2019"
)
DEVIATIONS = (
    "Training starts from random weights, not from ImageNet and macro-expressions, unless"
    " config.init_from names weights.",
)


class Model(BaseNetwork):
    """Apex frame → logits `[batch, 3]`."""

    @nn.compact
    def __call__(self, inputs: Batch, train: bool, weight: Weight = None) -> jax.Array:
        features = ResNet10(name="spatial")(inputs["apex"], train, weight)
        return Classifier(name="classifier")(l2_normalise(features))
