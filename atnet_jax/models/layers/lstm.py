"""The temporal stream: two stacked LSTMs on the ADM features, averaged over time."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_normal = nn.initializers.normal(stddev=0.1)


class LSTM(nn.Module):
    """One LSTM layer, `[batch, time, features]` → `[batch, time, hidden]`, as Caffe's.

    Gates in the order input, forget, output, candidate; one bias a gate; weights start from
    N(0, 0.1²), biases and state from 0. The input projections of all steps are one product; only
    the recurrent part runs step by step.
    """

    hidden: int = 512

    @nn.compact
    def __call__(self, x: Float[Array, "batch time features"]) -> Float[Array, "batch time hidden"]:
        input_kernel = self.param("input_kernel", _normal, (x.shape[-1], 4 * self.hidden))
        recurrent_kernel = self.param("recurrent_kernel", _normal, (self.hidden, 4 * self.hidden))
        # Not called "bias": it learns at the base rate, other biases at twice that.
        gate_bias = self.param("gate_bias", nn.initializers.zeros, (4 * self.hidden,))

        def step(
            state: tuple[jax.Array, jax.Array], projected: jax.Array
        ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
            cell, output = state
            gates = projected + output @ recurrent_kernel
            i, f, o, g = jnp.split(gates, 4, axis=-1)
            cell = nn.sigmoid(f) * cell + nn.sigmoid(i) * jnp.tanh(g)
            output = nn.sigmoid(o) * jnp.tanh(cell)
            return (cell, output), output

        projected = x @ input_kernel + gate_bias
        zeros = jnp.zeros((x.shape[0], self.hidden), x.dtype)
        _, outputs = jax.lax.scan(step, (zeros, zeros), projected.swapaxes(0, 1))
        return outputs.swapaxes(0, 1)


class TemporalStream(nn.Module):
    """ADM features `[batch, 64, 128]` → `[batch, 512]`: the mean of the second LSTM's outputs.

    Rows outside onset…offset are zero and count in the mean, as in the authors' release.
    """

    @nn.compact
    def __call__(self, adm: Float[Array, "batch time features"]) -> Float[Array, "batch 512"]:
        hidden = LSTM(name="lstm1")(adm)
        return LSTM(name="lstm2")(hidden).mean(axis=1)
