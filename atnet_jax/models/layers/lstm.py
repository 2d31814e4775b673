"""The temporal stream: two stacked LSTMs on the ADM features, pooled over time."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from atnet_jax.errors import UserError

TIME_POOLINGS = ("mean", "last")

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
    """ADM features `[batch, 64, 128]` → `[batch, 512]`: the second LSTM's outputs, pooled in time.

    Attributes:
      time_pooling: "mean" of the outputs of all steps, or the "last" step's.
      mask_time: whether rows outside onset…offset, which are zero, are left out of the pooling; in
        the authors' release they count. The LSTMs run over all rows either way.
    """

    time_pooling: str = "mean"
    mask_time: bool = False

    @nn.compact
    def __call__(self, adm: Float[Array, "batch time features"]) -> Float[Array, "batch 512"]:
        if self.time_pooling not in TIME_POOLINGS:
            raise UserError(
                f"options.time_pooling is one of {', '.join(TIME_POOLINGS)}, not"
                f" {self.time_pooling!r}."
            )
        outputs = LSTM(name="lstm2")(LSTM(name="lstm1")(adm))
        counts = (adm != 0).any(axis=-1) if self.mask_time else jnp.ones(adm.shape[:2], bool)
        if self.time_pooling == "last":
            last = adm.shape[1] - 1 - counts[:, ::-1].argmax(axis=1)
            return jnp.take_along_axis(outputs, last[:, None, None], axis=1)[:, 0]
        total = (outputs * counts[..., None]).sum(axis=1)
        return total / jnp.maximum(counts.sum(axis=1), 1)[:, None]
