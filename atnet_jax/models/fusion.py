"""ATNet: both streams, L2-normalised and concatenated. 8,312,837 parameters."""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from atnet_jax.models.layers.head import Classifier, l2_normalise
from atnet_jax.models.layers.lstm import TemporalNetwork
from atnet_jax.models.layers.network import Batch, Weight
from atnet_jax.models.layers.resnet10 import ResNet10

INPUTS = ("apex", "adm")
PAPER_ROW = "ATNet fusion"
SOURCE = (
    "Peng, Wang, Bi, Shi, Zhou, Chen: A Novel Apex-Time Network for Cross-Dataset"
    " Micro-Expression Recognition, ACII 2019"
)
DEVIATIONS = (
    "Training starts from random weights, not from ImageNet and macro-expressions, unless"
    " config.init_from names weights.",
)


class Model(TemporalNetwork):
    """Apex frame and ADM features → logits `[batch, 3]` (paper, figure 1).

    Attributes:
        fusion: "feature" classifies the concatenated features of both streams. "score" averages the
            class probabilities of a separate classifier per stream; like single streams, it has no
            dropout.
        joint: True trains both streams with the loss of the fused output. False trains each stream
            with the loss of a separate classifier, and the fused output passes no gradient to the
            streams.
    """

    fusion: Literal["feature", "score"] = "feature"
    joint: bool = True

    @nn.compact
    def __call__(self, inputs: Batch, train: bool, weight: Weight = None) -> jax.Array:
        spatial = l2_normalise(ResNet10(name="spatial")(inputs["apex"], train, weight))
        temporal = l2_normalise(self.temporal_features(inputs))

        def own_logits() -> list[jax.Array]:
            return [
                Classifier(name="classifier_spatial")(spatial),
                Classifier(name="classifier_temporal")(temporal),
            ]

        if self.fusion == "score":
            logits = own_logits()
            mean = jax.nn.logsumexp(jax.nn.log_softmax(jnp.stack(logits)), axis=0) - jnp.log(2.0)
            if self.joint:
                return mean
            self.sow("auxiliary", "own_logits", logits)
            return jax.lax.stop_gradient(mean) if train else mean

        if not self.joint:
            self.sow("auxiliary", "own_logits", own_logits())
            if train:
                spatial, temporal = jax.lax.stop_gradient((spatial, temporal))
        fused = jnp.concatenate([spatial, temporal], axis=-1)
        fused = nn.Dropout(0.5, deterministic=not train)(fused)
        return Classifier(name="classifier")(fused)
