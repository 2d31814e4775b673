"""Batch normalisation as Caffe's BatchNorm and Scale layers do it."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

EPSILON = 1e-5
MOVING_AVERAGE_FRACTION = 0.999


class BatchNorm(nn.Module):
    """Normalises each channel over batch and space, then scales and shifts it.

    Training uses the batch's own statistics. Testing uses running ones, kept as Caffe keeps them:
    each training step multiplies the running sums of means and (unbiased) variances, and the sum
    of their weights, by 0.999 and adds the batch's; dividing by the weight gives an average that
    holds from the first step on, unlike an exponential average that starts from 0 and 1.

    Clips that only pad an incomplete batch (`weight` 0) do not count.
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
        mean_sum = self.variable("batch_stats", "mean_sum", jnp.zeros, (channels,))
        variance_sum = self.variable("batch_stats", "variance_sum", jnp.zeros, (channels,))
        weight_sum = self.variable("batch_stats", "weight_sum", jnp.zeros, ())

        if train:
            axes = tuple(range(x.ndim - 1))
            counts = None if weight is None else weight.reshape((-1,) + (1,) * (x.ndim - 1)) > 0
            mean = x.mean(axes, where=counts)
            variance = jnp.square(x - mean).mean(axes, where=counts)
            per_clip = x.size // (x.shape[0] * channels)
            count = per_clip * (x.shape[0] if weight is None else weight.sum())
            if not self.is_initializing():
                unbiased = variance * count / jnp.maximum(count - 1, 1)
                for total, new in ((mean_sum, mean), (variance_sum, unbiased), (weight_sum, 1.0)):
                    total.value = MOVING_AVERAGE_FRACTION * total.value + new
        else:
            # Before any training step there are no statistics: leave x as it is.
            trained = weight_sum.value > 0
            divisor = jnp.where(trained, weight_sum.value, 1.0)
            mean = mean_sum.value / divisor
            variance = jnp.where(trained, variance_sum.value / divisor, 1.0)

        return (x - mean) * (jax.lax.rsqrt(variance + EPSILON) * scale) + bias
