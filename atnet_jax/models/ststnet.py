"""STSTNet: shallow triple-stream 3D CNN on the onset→apex flow map. 1,683 parameters.

Liong, Gan, See, Khor, Huang: Shallow Triple Stream Three-dimensional CNN (STSTNet) for
Micro-expression Recognition, FG 2019; layers and training as in its published PyTorch port.
"""

import math
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from atnet_jax.models.layers.pytorch import bias_init, kernel_init
from atnet_jax.preprocessing.flow_range import scale_to_unit_range
from atnet_jax.published import Published

INPUTS = ("flow_map",)
RECIPE = {
    "batch_size": 256,
    "num_epochs": 800,
    "steps_per_epoch": 0,
    "optimizer": "adam",
    "learning_rate": 5e-5,
    "decay_epochs": 0,
    "weight_decay": 0.0,
    "bias_learning_rate_factor": 1.0,
    "balance_classes": False,
    "shared_batches": True,
    "checkpoint_every": 200,
}
TITLE = "STSTNet"
PUBLISHED = Published(
    cde={
        "full": (0.7353, 0.7605),
        "smic": (0.6801, 0.7013),
        "casme2": (0.8382, 0.8686),
        "samm": (0.6588, 0.6810),
    },
    note="After the last epoch. By its own log the printed UAR is macro precision; its true UAR is"
    " .7186 (SMIC .6703, CASME II .8190, SAMM .6415). Its authors' PyTorch port: .7209/.7250.",
)
DEVIATIONS = (
    "Flow is that of the prepared data (config.flow), not of the IPOL program for TV-L1.",
)


# Output positions of the convolution, 30×30, as the 3×3 pooling (padding 1, stride 3) sees them: 9
# places in each of 10×10 windows. Row and column -1, of the padding, repeat row and column 0, which
# changes no maximum; row and column 29 are in no window, but count in the batch's statistics.
_WINDOWS = 100
_OUTSIDE = 59
_REAL = np.pad(np.ones((29, 29), np.float32), ((1, 0), (1, 0)))

# Clips looked at together: the values of their filters fit a processor cache.
_CHUNK = 32


def _in_windows(
    x: Float[Array, "batch 30 30 *channel"],
) -> tuple[Float[Array, "9 window *channel"], Float[Array, "outside *channel"]]:
    """The 9 places of all windows, and what is in none; clip by clip."""
    channels = x.shape[3:]
    inside = jnp.pad(x[:, :29, :29], ((0, 0), (1, 0), (1, 0), *[(0, 0)] * len(channels)), "edge")
    places = [
        inside[:, row::3, column::3].reshape(-1, *channels)
        for row in range(3)
        for column in range(3)
    ]
    outside = jnp.concatenate([x[:, 29], x[:, :29, 29]], axis=1)
    return jnp.stack(places), outside.reshape(-1, *channels)


def _patches(
    x: Float[Array, "batch height width channel"],
) -> Float[Array, "batch height+2 width+2 patch"]:
    """What each position of the convolution sees of the picture padded by 2, and a 1."""
    batch, height, width = x.shape[0], x.shape[1] + 2, x.shape[2] + 2
    x = jnp.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    shifted = [x[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return jnp.concatenate([*shifted, jnp.ones((batch, height, width, 1))], axis=-1)


def _counted(
    weight: Float[Array, " batch"],
) -> tuple[Float[Array, "9 window"], Float[Array, " outside"]]:
    """How much each position of `_in_windows` counts in the statistics: 1, or 0."""
    real = np.stack([_REAL[row::3, column::3].ravel() for row in range(3) for column in range(3)])
    return (weight[:, None] * real[:, None]).reshape(9, -1), jnp.repeat(weight, _OUTSIDE)


@jax.custom_vjp
def _convolve_and_pool(
    kernel: Float[Array, "filter patch"],
    sign: Float[Array, " filter"],
    patches: tuple[Float[Array, "chunk 9 window patch"], Float[Array, "chunk outside patch"]],
    counted: tuple[Float[Array, "chunk 9 window"], Float[Array, "chunk outside"]],
) -> tuple[Float[Array, "chunk filter window"], Float[Array, " filter"], Float[Array, " filter"]]:
    """Rectified convolution: its largest value in each window, its sum and its sum of squares.

    Where `sign` is -1, the smallest value. Patches are in no need of a gradient and, unlike the
    kernel, the same for folds that share a batch.

    Filters come first, so that sums are products with vectors and all else is elementwise over long
    rows; chunks of clips and the places of their windows are taken one after the other, so that
    what is in use stays in the processor's cache. On a CPU the layers written out one by one took
    3× as long.
    """
    return _convolve_and_pool_forward(kernel, sign, patches, counted)[0]


def _rectified(kernel: jax.Array, seen: jax.Array) -> jax.Array:
    return nn.relu(jnp.einsum("fp,mp->fm", kernel, seen))


def _convolve_and_pool_forward(
    kernel: jax.Array, sign: jax.Array, patches: tuple, counted: tuple
) -> tuple[tuple[jax.Array, jax.Array, jax.Array], tuple]:
    places = jnp.arange(9, dtype=jnp.int8)
    filters = kernel.shape[0]

    def sums(z: jax.Array, counts: jax.Array) -> jax.Array:
        return jnp.stack([z @ counts, (z * z) @ counts])

    def look(state: tuple, now: tuple) -> tuple[tuple, None]:
        extreme, place, total = state
        k, seen, counts = now
        z = _rectified(kernel, seen)
        value = sign[:, None] * z
        place = jnp.where(value > extreme, k, place)
        return (jnp.maximum(value, extreme), place, total + sums(z, counts)), None

    def chunk(total: jax.Array, now: tuple) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        (inside, outside), (counts_inside, counts_outside) = now
        shape = (filters, inside.shape[1])
        total += sums(_rectified(kernel, outside), counts_outside)
        start = jnp.full(shape, -jnp.inf), jnp.zeros(shape, jnp.int8), total
        (extreme, place, total), _ = jax.lax.scan(look, start, (places, inside, counts_inside))
        return total, (extreme, place)

    (total, squares), (extreme, place) = jax.lax.scan(
        chunk, jnp.zeros((2, filters)), (patches, counted)
    )
    return (sign[:, None] * extreme, total, squares), (kernel, place, patches, counted)


def _convolve_and_pool_backward(residuals: tuple, gradients: tuple) -> tuple:
    kernel, place, patches, counted = residuals
    of_extreme, of_total, of_squares = gradients
    places = jnp.arange(9, dtype=jnp.int8)

    def of_kernel(seen: jax.Array, counts: jax.Array, of_place: jax.Array | float) -> jax.Array:
        z = _rectified(kernel, seen)
        gradient = (of_total[:, None] + 2 * of_squares[:, None] * z) * counts + of_place
        return jnp.einsum("fm,mp->fp", jnp.where(z > 0, gradient, 0), seen)

    def chunk(total: jax.Array, now: tuple) -> tuple[jax.Array, None]:
        (inside, outside), (counts_inside, counts_outside), place, of_extreme = now

        def look(total: jax.Array, now: tuple) -> tuple[jax.Array, None]:
            k, seen, counts = now
            return total + of_kernel(seen, counts, jnp.where(place == k, of_extreme, 0)), None

        total += of_kernel(outside, counts_outside, 0.0)
        return jax.lax.scan(look, total, (places, inside, counts_inside))[0], None

    total, _ = jax.lax.scan(chunk, jnp.zeros_like(kernel), (patches, counted, place, of_extreme))
    return total, None, None, None


_convolve_and_pool.defvjp(_convolve_and_pool_forward, _convolve_and_pool_backward)


class Filters(nn.Module):
    """The kernel of the 16 filters, each with its bias as the last value: `[16, 28]`."""

    @nn.compact
    def __call__(self) -> Float[Array, "16 28"]:
        kernel = self.param("kernel", kernel_init, (27, 16))
        bias = self.param("bias", bias_init(27), (16,))
        return jnp.concatenate([kernel, bias[None]]).T


class NormalisedMaxima(nn.Module):
    """Batch normalisation (PyTorch's: momentum 0.1, epsilon 1e-5), then 3×3 max-pooling.

    Computed the other way round: normalisation is a rising function of each channel (a falling one
    where the scale is negative), so it gives the same before and after the maximum (minimum), and
    after it there are nine times fewer values.
    """

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch height width channel"],
        kernel: Float[Array, "filter patch"],
        train: bool,
        weight: Float[Array, " batch"] | None = None,
    ) -> Float[Array, "filter batch window"]:
        filters = kernel.shape[0]
        scale = self.param("scale", nn.initializers.ones, (filters,))
        bias = self.param("bias", nn.initializers.zeros, (filters,))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (filters,))
        running_var = self.variable("batch_stats", "var", jnp.ones, (filters,))
        sign = jnp.where(scale < 0, -1.0, 1.0)
        batch = x.shape[0]
        chunks = math.ceil(batch / _CHUNK)
        size = math.ceil(batch / chunks)
        counts = jnp.pad(jnp.ones(batch) if weight is None else weight, (0, chunks * size - batch))
        padded = jnp.pad(x, ((0, chunks * size - batch), (0, 0), (0, 0), (0, 0)))
        patches = jax.vmap(lambda clips: _in_windows(_patches(clips)))(
            padded.reshape(chunks, size, *x.shape[1:])
        )
        counted = jax.vmap(_counted)(counts.reshape(chunks, size))
        extreme, total, squares = _convolve_and_pool(kernel, sign, patches, counted)
        extreme = extreme.swapaxes(0, 1).reshape(filters, chunks * size, _WINDOWS)[:, :batch]
        if train:
            count = 30 * 30 * (x.shape[0] if weight is None else weight.sum())
            mean = total / jnp.maximum(count, 1)
            # Not below 0 by rounding, where a channel is nearly constant.
            variance = jnp.maximum(squares / jnp.maximum(count, 1) - jnp.square(mean), 0)
            if not self.is_initializing():
                running_mean.value = 0.9 * running_mean.value + 0.1 * mean
                running_var.value = 0.9 * running_var.value + 0.1 * variance
        else:
            mean, variance = running_mean.value, running_var.value
        factor = jax.lax.rsqrt(variance + 1e-5) * scale
        mean, factor, bias = (vector[:, None, None] for vector in (mean, factor, bias))
        return (extreme - mean) * factor + bias


def _drop_half(key: jax.Array, x: jax.Array) -> jax.Array:
    """Dropout of one half, at one random bit a value instead of 32."""
    words = jax.random.bits(key, (math.ceil(x.size / 32), 1), jnp.uint32)
    bits = (words >> jnp.arange(32, dtype=jnp.uint32)) & 1
    return jnp.where(bits.ravel()[: x.size].reshape(x.shape) == 1, 2 * x, 0)


class Model(nn.Module):
    """Flow map `[batch, 28, 28, 3]` → logits `[batch, 3]`.

    The three streams are 3×3 convolutions of 3, 5 and 8 filters on the same input, each followed
    by the same per-channel layers and then concatenated: one convolution of 16 filters computes
    them all.
    """

    @nn.compact
    def __call__(
        self, inputs: Mapping[str, jax.Array], train: bool, weight: jax.Array | None = None
    ) -> jax.Array:
        # As in the published maps, which are pictures.
        x = 255 * scale_to_unit_range(inputs["flow_map"])
        x = NormalisedMaxima(name="norm")(x, Filters(name="streams")(), train, weight)
        if train:
            x = _drop_half(self.make_rng("dropout"), x)
        x = x.reshape(*x.shape[:2], 5, 2, 5, 2).mean(axis=(3, 5))
        classifier = nn.Dense(
            3, kernel_init=kernel_init, bias_init=bias_init(400), name="classifier"
        )
        return classifier(x.transpose(1, 2, 3, 0).reshape(x.shape[1], -1))
