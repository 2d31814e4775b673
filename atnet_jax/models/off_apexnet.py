"""OFF-ApexNet: one shallow CNN for each component of the onset→apex flow. 2,664,475 parameters.

The authors published no code. Layers and training follow the port that the authors of
Off-TANet (PRICAI 2021) use for comparison. The port's convolutions have no activation.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from atnet_jax.models.layers.network import BaseNetwork, Batch, Weight
from atnet_jax.models.layers.pooling import max_pool
from atnet_jax.models.layers.pytorch import conv, linear
from atnet_jax.names import CLASSES
from atnet_jax.preprocessing.flow_range import scale_to_unit_range
from atnet_jax.published import Published

INPUTS = ("flow_map",)
TITLE = "OFF-ApexNet"
SOURCE = (
    "Liong, Gan, Yau, Huang, Tan: OFF-ApexNet on Micro-expression Recognition System, arXiv"
    " 1805.08699"
)
RECIPE = {
    "batch_size": 64,
    "num_epochs": 3000,
    "steps_per_epoch": 0,
    "optimizer": "adam",
    "learning_rate": 1e-4,
    "decay_epochs": 0,
    "weight_decay": 0.0,
    "bias_learning_rate_factor": 1.0,
    "balance_classes": False,
}
PUBLISHED = Published(
    cde={
        "full": (0.7196, 0.7096),
        "casme2": (0.8764, 0.8681),
        "samm": (0.5409, 0.5392),
        "smic": (0.6817, 0.6695),
    },
    note="as printed in STSTNet's paper (Table III). That paper's UAR of STSTNet is actually the"
    " macro precision; the same may apply to this UAR.",
)
DEVIATIONS = (
    "The flow comes from the prepared data (config.data.flow); the authors' flow program is not"
    " known.",
    "The authors' training settings are not known. Those of a port are used instead: Adam at 1e-4,"
    " batches of 64, 3000 epochs. The port reports its best epoch on the test subjects; here the"
    " last epoch is tested.",
    "The port reads the flow in pixels of 28×28 pictures. Here each component is scaled to 0…1 clip"
    " by clip, so that maps that others published as pictures are also valid inputs.",
)


class Stream(nn.Module):
    """One component of the flow `[batch, 28, 28, 1]` → `[batch, 784]`."""

    @nn.compact
    def __call__(self, x: Float[Array, "batch 28 28 1"]) -> Float[Array, "batch 784"]:
        for name, filters in (("conv1", 6), ("conv2", 16)):
            x = max_pool(conv(filters, 5, name, x, padding=2), size=2, stride=2)
        return x.reshape(x.shape[0], -1)


class Model(BaseNetwork):
    """Flow map `[batch, 28, 28, 3]` → logits `[batch, 3]`; strain, its last channel, is ignored.

    Each component is scaled to 0…1 clip by clip.
    """

    @nn.compact
    def __call__(self, inputs: Batch, train: bool, weight: Weight = None) -> jax.Array:
        flow = scale_to_unit_range(inputs["flow_map"])
        streams = [Stream(name="u")(flow[..., 0:1]), Stream(name="v")(flow[..., 1:2])]
        x = jnp.concatenate(streams, axis=-1)
        for name in ("hidden1", "hidden2"):
            x = nn.relu(linear(1024, name, x))
            x = nn.Dropout(0.5, deterministic=not train)(x)
        return linear(len(CLASSES), "classifier", x)
