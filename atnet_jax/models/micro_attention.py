"""Micro-Attention: ResNet-10 with an attention mask in each block. 5,943,813 parameters.

The layers follow the network definition that ATNet's authors used for comparison. The classifier
receives the features without L2 normalisation, which belongs to ATNet's fusion (section III-B).
"""

import flax.linen as nn
import jax

from atnet_jax.models.layers.head import Classifier
from atnet_jax.models.layers.network import BaseNetwork, Batch, Weight
from atnet_jax.models.layers.resnet10 import ResNet10

INPUTS = ("apex",)
PAPER_ROW = "Micro-Attention"
SOURCE = "Wang, Peng, Bi, Chen: Micro-Attention for Micro-Expression recognition, arXiv 1811.02360"
DEVIATIONS = (
    "Training starts from random weights, not from ImageNet and macro-expressions, unless"
    " config.init_from names weights.",
)


class Model(BaseNetwork):
    """Apex frame → logits `[batch, 3]`."""

    @nn.compact
    def __call__(self, inputs: Batch, train: bool, weight: Weight = None) -> jax.Array:
        features = ResNet10(attention=True, name="spatial")(inputs["apex"], train, weight)
        return Classifier(name="classifier")(features)
