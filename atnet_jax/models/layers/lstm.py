"""The temporal stream: two stacked LSTMs on the ADM features, pooled over time."""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from atnet_jax.models.layers.network import BaseNetwork, Batch
from atnet_jax.system import backend

_STREAM = "temporal"
_normal = nn.initializers.normal(stddev=0.1)


class LSTM(nn.Module):
    """One LSTM layer, `[batch, time, features]` → `[batch, time, hidden]`, as in Caffe.

    The gates have the order input, forget, output, candidate, and each has one bias. Initial
    weights are drawn from N(0, 0.1²); initial biases and state are 0. The input projections of all
    steps are one product; only the recurrent part runs step by step. Products use the kernels'
    precision; sums and gates are float32.
    """

    hidden: int = 512

    @nn.compact
    def __call__(self, x: Float[Array, "batch time features"]) -> Float[Array, "batch time hidden"]:
        input_kernel = self.param("input_kernel", _normal, (x.shape[-1], 4 * self.hidden))
        recurrent_kernel = self.param("recurrent_kernel", _normal, (self.hidden, 4 * self.hidden))
        # Not called "bias", because parameters of that name learn at twice the base rate.
        gate_bias = self.param("gate_bias", nn.initializers.zeros, (4 * self.hidden,))
        projected = _product(x.swapaxes(0, 1), input_kernel) + gate_bias
        return _recur(projected, recurrent_kernel).swapaxes(0, 1)


def _product(x: Any, kernel: Any) -> Any:
    return jnp.matmul(x.astype(kernel.dtype), kernel, preferred_element_type=jnp.float32)


@jax.custom_vjp
def _recur(projected: Any, kernel: Any) -> Float[Array, "time batch hidden"]:
    """Return the outputs of all steps, given the input projections (biases included).

    The gradient is written by hand, so that the kernel's gradient is one product over all steps.
    With automatic differentiation, every step adds a product.
    """
    return _recur_forward(projected, kernel)[0]


def _recur_forward(projected: Any, kernel: Any) -> tuple[Any, tuple]:
    # A TPU computes the gates again for the gradient, in one product over all steps, which takes
    # less time than to keep them.
    keep = backend.platform() != "tpu"

    def step(state: tuple[Any, Any], projected: Any) -> tuple:
        cell, output = state
        gates = _gates(projected, output, kernel)
        i, f, o, g = jnp.split(gates, 4, axis=-1)
        cell = f * cell + i * g
        output = o * jnp.tanh(cell)
        return (cell, output), (output, cell, gates if keep else None)

    zeros = jnp.zeros((projected.shape[1], kernel.shape[0]), jnp.float32)
    _, (outputs, cells, gates) = jax.lax.scan(step, (zeros, zeros), projected)
    return outputs, (outputs, cells, gates, None if keep else projected, kernel)


def _gates(projected: Any, output: Any, kernel: Any) -> Any:
    """Return the input, forget and output gates and the candidate, side by side."""
    i, f, o, g = jnp.split(projected + _product(output, kernel), 4, axis=-1)
    return jnp.concatenate([nn.sigmoid(i), nn.sigmoid(f), nn.sigmoid(o), jnp.tanh(g)], axis=-1)


def _recur_backward(residuals: tuple, gradient: Any) -> tuple[Any, Any]:
    outputs, cells, gates, projected, kernel = residuals
    transposed = kernel.T  # Outside the loop, so that it is computed once.

    def delayed(x: Any) -> Any:
        return jnp.concatenate([jnp.zeros_like(x[:1]), x[:-1]])

    if gates is None:
        gates = _gates(projected, delayed(outputs), kernel).astype(kernel.dtype)

    def step(later: tuple[Any, Any], now: tuple[Any, ...]) -> tuple:
        of_cell, of_output = later
        gates, cell, cell_before, gradient = now
        i, f, o, g = jnp.split(gates.astype(jnp.float32), 4, axis=-1)
        squashed = jnp.tanh(cell)
        of_output += gradient
        of_cell += of_output * o * (1 - squashed * squashed)
        of_gates = jnp.concatenate(
            [
                of_cell * g * i * (1 - i),
                of_cell * cell_before * f * (1 - f),
                of_output * squashed * o * (1 - o),
                of_cell * i * (1 - g * g),
            ],
            axis=-1,
        ).astype(kernel.dtype)  # All products below use this precision.
        return (of_cell * f, _product(of_gates, transposed)), of_gates

    zeros = jnp.zeros_like(cells[0])
    now = (gates, cells, delayed(cells), gradient)
    _, of_projected = jax.lax.scan(step, (zeros, zeros), now, reverse=True)
    of_kernel = jnp.einsum(
        "tbh,tbg->hg",
        delayed(outputs).astype(kernel.dtype),
        of_projected,
        preferred_element_type=jnp.float32,
    )
    return of_projected.astype(jnp.float32), of_kernel.astype(kernel.dtype)


_recur.defvjp(_recur_forward, _recur_backward)


class TemporalStream(nn.Module):
    """ADM features `[batch, 64, 128]` → the second LSTM's outputs pooled over time, `[batch, 512]`.

    Attributes:
        time_pooling: "mean" averages the outputs of all steps; "last" takes the last output.
        mask_time: True excludes rows outside onset…offset, which are zero, from the pooling. The
            authors' release includes them. The LSTMs process all rows in both cases.
    """

    time_pooling: Literal["mean", "last"] = "mean"
    mask_time: bool = False

    @nn.compact
    def __call__(self, adm: Float[Array, "batch time features"]) -> Float[Array, "batch 512"]:
        outputs = LSTM(name="lstm2")(LSTM(name="lstm1")(adm))
        counts = (adm != 0).any(axis=-1) if self.mask_time else jnp.ones(adm.shape[:2], bool)
        if self.time_pooling == "last":
            last = adm.shape[1] - 1 - counts[:, ::-1].argmax(axis=1)
            return jnp.take_along_axis(outputs, last[:, None, None], axis=1)[:, 0]
        total = (outputs * counts[..., None]).sum(axis=1)
        return total / jnp.maximum(counts.sum(axis=1), 1)[:, None]


class TemporalNetwork(BaseNetwork):
    """A network with the temporal stream.

    Attributes:
        time_pooling: See `TemporalStream`.
        mask_time: See `TemporalStream`.
    """

    time_pooling: Literal["mean", "last"] = "mean"
    mask_time: bool = False

    @property
    def recurrent_layers(self) -> tuple[str, ...]:
        """The stream."""
        return (_STREAM,)

    @nn.nowrap
    def recurrent_features(self, params: Any, inputs: Batch) -> Batch:
        """Return the features of the stream."""
        features: Any = self._stream().apply({"params": params[_STREAM]}, inputs["adm"])
        return {_STREAM: features}

    @nn.nowrap
    def temporal_features(self, inputs: Batch) -> jax.Array:
        """Return the features of the stream, `[batch, 512]`, from inside `__call__`."""
        return inputs[_STREAM] if _STREAM in inputs else self._stream(_STREAM)(inputs["adm"])

    @nn.nowrap
    def _stream(self, name: str | None = None) -> TemporalStream:
        return TemporalStream(self.time_pooling, self.mask_time, name=name)
