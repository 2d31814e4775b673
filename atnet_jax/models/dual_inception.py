"""Dual-Inception: two Inception modules for each component of the flow. 6,449,963 parameters.

Layers and training follow the authors' Keras code. It reads each component of the flow as a
picture of three channels, which are equal in a grey picture.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from atnet_jax.models.layers.convolution import Conv
from atnet_jax.models.layers.network import BaseNetwork, Batch, Weight
from atnet_jax.models.layers.pooling import max_pool
from atnet_jax.names import CLASSES
from atnet_jax.preprocessing.flow_range import scale_to_unit_range
from atnet_jax.published import Published

INPUTS = ("flow_map",)
TITLE = "Dual-Inception"
SOURCE = (
    "Zhou, Mao, Xue: Dual-Inception Network for Cross-Database Micro-Expression Recognition, FG"
    " 2019"
)
RECIPE = {
    "batch_size": 3,
    "num_epochs": 40,
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
        "full": (0.7322, 0.7278),
        "casme2": (0.8621, 0.8560),
        "samm": (0.5868, 0.5663),
        "smic": (0.6645, 0.6726),
    },
    note="the code repeats the experiment 100 times; which repetition is published is not known.",
)
DEVIATIONS = (
    "Training uses all subjects but the test subject, and the network after the last epoch is"
    " tested. The authors' code holds out the other subjects of the test subject's database, or, in"
    " an earlier version, 20% of the subjects, and selects the epoch with their lowest loss.",
    "The authors' flow method, its frames (perhaps onset and middle, not apex) and its conversion"
    " to pictures are not published. Here the flow is from onset to apex, scaled to 0…1 clip by"
    " clip.",
    "The authors' code requests balanced class weights in a way that its version of Keras seems to"
    " ignore; here all clips have equal weight.",
)

# Keras's default, glorot_uniform.
_kernel_init = nn.initializers.glorot_uniform()


class Inception(nn.Module):
    """Four parallel branches at the size of the input, with `4 · filters` channels in total.

    The branches are a 1×1 convolution; a 1×1, then a 3×3 convolution; a 1×1, then a 5×5
    convolution; and 3×3 max-pooling, then a 1×1 convolution. A ReLU follows every convolution.
    """

    filters: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channel"]
    ) -> Float[Array, "batch height width filters"]:
        def conv(name: str, size: int, x: jax.Array) -> jax.Array:
            layer = Conv(
                self.filters,
                size,
                stride=1,
                padding=size // 2,
                use_bias=True,
                kernel_init=_kernel_init,
                name=name,
            )
            return nn.relu(layer(x))

        pooled = max_pool(x, size=3, stride=1, padding=1)
        branches = [
            conv("alone", 1, x),
            conv("conv3", 3, conv("before_conv3", 1, x)),
            conv("conv5", 5, conv("before_conv5", 1, x)),
            conv("after_pool", 1, pooled),
        ]
        return jnp.concatenate(branches, axis=-1)


class Stream(nn.Module):
    """One component of the flow as a picture `[batch, 28, 28, 3]` → `[batch, 3136]`."""

    @nn.compact
    def __call__(self, x: Float[Array, "batch 28 28 3"]) -> Float[Array, "batch 3136"]:
        x = max_pool(Inception(6, name="inception1")(x), size=2, stride=2)
        x = max_pool(Inception(16, name="inception2")(x), size=2, stride=2)
        return x.reshape(x.shape[0], -1)


class Model(BaseNetwork):
    """Flow map `[batch, 28, 28, 3]` → logits `[batch, 3]`; strain, its last channel, is ignored.

    Each component is scaled to 0…1 clip by clip and copied to the three channels of its stream.
    """

    @nn.compact
    def __call__(self, inputs: Batch, train: bool, weight: Weight = None) -> jax.Array:
        flow = scale_to_unit_range(inputs["flow_map"])
        streams = [
            Stream(name=name)(jnp.repeat(flow[..., channel, None], 3, axis=-1))
            for channel, name in enumerate(("u", "v"))
        ]
        x = jnp.concatenate(streams, axis=-1)
        x = nn.relu(nn.Dense(1024, kernel_init=_kernel_init, name="hidden")(x))
        return nn.Dense(len(CLASSES), kernel_init=_kernel_init, name="classifier")(x)
