"""SSSNet: a shallow CNN on the onset→apex flow map at 64×64. 1,349,251 parameters.

Layers and training follow the benchmark of Varanka, Li, Peng and Zhao (Data Leakage and
Evaluation Issues in Micro-Expression Analysis), written in PyTorch.
"""

import flax.linen as nn
import jax

from atnet_jax.models.layers.network import BaseNetwork, Batch, Prepared, Weight
from atnet_jax.models.layers.pooling import max_pool
from atnet_jax.models.layers.pytorch import BatchNorm, conv, linear
from atnet_jax.names import CLASSES
from atnet_jax.preprocessing.optical_flow import FlowMethod
from atnet_jax.preprocessing.prepared_clip import PreparedClip

INPUTS = ("flow_map",)
TITLE = "SSSNet"
SOURCE = (
    "Varanka, Peng, Zhao: Micro-expression recognition with noisy labels, Electronic Imaging 2021"
)
RECIPE = {
    "batch_size": 32,
    "num_epochs": 200,
    "steps_per_epoch": 0,
    "optimizer": "adam",
    "learning_rate": 1e-4,
    "decay_epochs": 0,
    "weight_decay": 1e-3,
    "bias_learning_rate_factor": 1.0,
    "balance_classes": False,
}
DEVIATIONS = (
    "The recipe is the benchmark's for its action-unit task; neither settings for the composite nor"
    " a score on it are published.",
    "The benchmark's flow comes from one of the methods of Sun, Roth and Black; here it comes"
    " from the prepared data.",
)

SIZE = 64


class Model(BaseNetwork):
    """Flow map `[batch, 64, 64, 3]` → logits `[batch, 3]`; u, v and strain are not rescaled."""

    @nn.nowrap
    def input_shapes(self, image_size: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of the array that `prepare` returns."""
        return {"flow_map": (SIZE, SIZE, 3)}

    @nn.nowrap
    def prepare(self, clip: PreparedClip, flow: FlowMethod, image_size: int) -> Prepared:
        """Return the flow map at the network's size."""
        return {"flow_map": clip.flow_map_at(SIZE)}

    @nn.compact
    def __call__(self, inputs: Batch, train: bool, weight: Weight = None) -> jax.Array:
        def normalise(name: str, x: jax.Array) -> jax.Array:
            x = BatchNorm(name=name)(x, train, weight)
            # Dropout acts on whole channels.
            return nn.Dropout(0.5, broadcast_dims=(1, 2), deterministic=not train)(x)

        x = max_pool(nn.relu(conv(32, 5, "conv1", inputs["flow_map"])), size=3, stride=3)
        x = normalise("norm1", x)
        x = max_pool(nn.relu(conv(64, 3, "conv2", x)), size=2, stride=2)
        x = normalise("norm2", x)
        x = nn.relu(linear(256, "hidden", x.reshape(x.shape[0], -1)))
        x = nn.Dropout(0.5, deterministic=not train)(x)
        return linear(len(CLASSES), "classifier", x)
