"""PyTorch's batch normalisation and default initial weights, for networks published in PyTorch."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from atnet_jax.models.layers.batch_norm import normalise_batch, normalise_with
from atnet_jax.models.layers.convolution import Conv

kernel_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
"""PyTorch's default for kernels of convolutions and linear layers: uniform in ±1/√fan-in."""

MOMENTUM = 0.1


def bias_init(fan_in: int) -> nn.initializers.Initializer:
    """Return PyTorch's default initialiser of biases: uniform in ±1/√fan-in.

    Args:
        fan_in: Number of input values summed for one output.
    """

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -(fan_in**-0.5), fan_in**-0.5)

    return init


def linear(features: int, name: str, x: jax.Array) -> jax.Array:
    """Apply a linear layer of the calling module to `x`, with PyTorch's initial weights."""
    bias = bias_init(x.shape[-1])
    return nn.Dense(features, kernel_init=kernel_init, bias_init=bias, name=name)(x)


def conv(
    features: int, size: int, name: str, x: jax.Array, stride: int = 1, padding: int = 0
) -> jax.Array:
    """Apply a convolution with bias of the calling module to `x`, with PyTorch's initial weights.

    Args:
        features: Number of output channels.
        size: Height and width of the kernel.
        name: Name of the layer.
        x: Input, `[batch, height, width, channel]`.
        stride: Stride in both directions.
        padding: Number of zeros added on every side.

    Returns:
        The output, `[batch, out_height, out_width, features]`.
    """
    bias = bias_init(size * size * x.shape[-1])
    return Conv(
        features, size, stride, padding, True, kernel_init=kernel_init, bias_init=bias, name=name
    )(x)


class BatchNorm(nn.Module):
    """Normalises each channel over batch and space, then scales and shifts it; epsilon 1e-5.

    Training uses the statistics of the batch and moves the running statistics towards them by a
    tenth; the running variance is the unbiased one. Testing uses the running statistics. Clips that
    only pad an incomplete batch (`weight` 0) are excluded.
    """

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch *space channel"],
        train: bool,
        weight: Float[Array, " batch"] | None = None,
    ) -> Float[Array, "batch *space channel"]:
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,))
        variance = self.variable("batch_stats", "var", jnp.ones, (channels,))
        if not train:
            return normalise_with(x, mean.value, variance.value, scale, bias)
        y, of_batch, unbiased = normalise_batch(x, scale, bias, weight)
        if not self.is_initializing():
            mean.value += MOMENTUM * (of_batch - mean.value)
            variance.value += MOMENTUM * (unbiased - variance.value)
        return y
