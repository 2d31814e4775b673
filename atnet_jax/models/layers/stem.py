"""The first layers of ResNet-10 in training on a TPU, in the form that suits its registers.

A TPU computes with registers of 8 rows and 128 lanes. As separate layers, the first layers have
arrays of 1 or 64 channels, which leave most lanes empty, and pooling moves values across rows. Here

- the outputs of conv1 lie in groups of two rows and two columns: 4 × 64 channels, which one product
  yields. It multiplies the 9×9 pixels that a group sees by a matrix that contains the 7×7 kernel
  four times;
- the axes are `[row, column, clip, channel]`, so that neighbours are whole registers apart;
- the scale and bias of data_bn are part of the matrix. No gradient with respect to the pixels is
  then needed, which is the most expensive part of the separate layers;
- pooling comes before normalisation and ReLU, which keep the order of values, so that four times
  fewer values are normalised. Where conv1_bn has a negative scale, the kernel is negated.

The results are those of the separate layers within rounding.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from atnet_jax.models.layers.batch_norm import (
    EPSILON,
    BatchNorm,
    count_values,
    moments,
    one_pass,
    unbiased,
)
from atnet_jax.models.layers.convolution import Conv

# The 2×2 outputs of a group see 9×9 pixels, the first of which lie 3 before the group's.
_SEEN = 9
_BEFORE = 3
_STRIDE = 4
# In place of the row that a window passes its gradient to, where ReLU stops the gradient.
_NONE = 3

Pair = tuple[jax.Array, jax.Array]
"""Outputs in the even and the odd columns, each `[row, column, clip, 2 · channel]`.

The last axis contains the channels of the even rows, then those of the odd rows.
"""


def fits(image: Float[Array, "batch height width 1"]) -> bool:
    """Return whether `stem` can compute pictures of this size: multiples of four."""
    return image.shape[1] % _STRIDE == 0 and image.shape[2] % _STRIDE == 0


def stem(
    image: Float[Array, "batch height width 1"],
    weight: Float[Array, " batch"] | None,
    data_bn: BatchNorm,
    conv1: Conv,
    conv1_bn: BatchNorm,
) -> Float[Array, "batch height/4 width/4 channel"]:
    """Return the pooled output of the three layers in training, and update their statistics.

    Args:
        image: Grey pictures whose size `fits`.
        weight: 0 for clips that pad the batch; see `BatchNorm`.
        data_bn: Layer that normalises the pictures.
        conv1: Convolution of 7×7 pixels with stride 2, padding 3 and bias.
        conv1_bn: Layer that normalises its output; ReLU and 3×3 max-pooling with stride 2 follow.
    """
    counts = None if weight is None else (weight > 0).astype(jnp.float32)
    wide = image.astype(jnp.float32)
    mean, variance = moments(wide, counts)
    data_bn.keep(mean, unbiased(variance, count_values(wide, counts)))
    standardised = (wide - mean) * jax.lax.rsqrt(variance + EPSILON)

    scale = conv1_bn.get_variable("params", "scale")
    sign = jnp.where(scale < 0, -1.0, 1.0)
    kernel = conv1.get_variable("params", "kernel")[:, :, 0]
    matrices = _matrices(
        kernel,
        conv1.get_variable("params", "bias"),
        data_bn.get_variable("params", "scale"),
        data_bn.get_variable("params", "bias"),
        sign,
    )
    seen = _pixels_of_groups(standardised.astype(kernel.dtype))
    even, odd = (jnp.einsum("rcnk,ko->rcno", seen, matrix) for matrix in matrices)
    pooled, mean, variance, count = _pool(
        (even, odd), scale * sign, conv1_bn.get_variable("params", "bias"), counts
    )
    conv1_bn.keep(mean * sign, unbiased(variance, count))
    return pooled.transpose(2, 0, 1, 3)


def _pixels_of_groups(
    pictures: Float[Array, "batch height width 1"],
) -> Float[Array, "height/4 width/4 batch 90"]:
    """Return the 9×9 pixels that each group sees, and 9 indicators of the picture's border.

    A convolution with the identity as kernel copies the pixels; other ways to form patches are
    several times slower on a TPU.
    """
    rows, columns = (size // _STRIDE for size in pictures.shape[1:3])
    indicators = _indicators(rows, columns)
    pixels = _SEEN * _SEEN
    identity = np.eye(pixels, pixels + indicators.shape[-1]).reshape(_SEEN, _SEEN, 1, -1)
    after = _SEEN - _STRIDE - _BEFORE
    seen = jax.lax.conv_general_dilated(
        pictures,
        jnp.asarray(identity, pictures.dtype),
        (_STRIDE, _STRIDE),
        [(_BEFORE, after)] * 2,
        dimension_numbers=("NHWC", "HWIO", "HWNC"),
    )
    padded = np.pad(indicators, ((0, 0), (0, 0), (pixels, 0)))
    return seen + jnp.asarray(padded[:, :, None], seen.dtype)


def _indicators(rows: int, columns: int) -> np.ndarray:
    """Return products of (1, first row, last row) and (1, first column, last column)."""

    def ends(length: int) -> np.ndarray:
        place = np.arange(length)
        return np.stack([np.ones(length), place == 0, place == length - 1])

    return np.einsum("ar,bc->rcab", ends(rows), ends(columns)).reshape(rows, columns, -1)


def _outside() -> np.ndarray:
    """Return the factors of the indicators in the mask of pixels that lie in the picture.

    Of the 9 rows that a group sees, the first 3 lie outside if it is in the first row, and the last
    2 if it is in the last row. The same holds for columns.
    """
    place = np.arange(_SEEN)
    inside = _BEFORE + _STRIDE
    ends = np.stack([np.ones(_SEEN), -1.0 * (place < _BEFORE), -1.0 * (place >= inside)])
    return np.einsum("ai,bj->abij", ends, ends).reshape(9, _SEEN * _SEEN)


def _matrices(kernel: Any, bias: Any, data_scale: Any, data_bias: Any, sign: Any) -> Pair:
    """Return the matrices from the pixels of a group to its even and odd columns."""
    wide = kernel.astype(jnp.float32)

    def of_column(column: int) -> jax.Array:
        spread = [
            jnp.pad(wide, ((2 * row, 2 - 2 * row), (2 * column, 2 - 2 * column), (0, 0)))
            for row in (0, 1)
        ]
        matrix = jnp.concatenate(spread, axis=-1).reshape(_SEEN * _SEEN, -1)
        # data_bn's bias lies under the kernel except outside the picture, where zeros are.
        of_bias = data_bias * jnp.matmul(_outside(), matrix, precision="highest")
        of_bias = of_bias.at[0].add(_twice(bias))
        whole = jnp.concatenate([data_scale * matrix, of_bias]) * _twice(sign)
        return whole.astype(kernel.dtype)

    return of_column(0), of_column(1)


def _twice(channels: Any) -> Any:
    return jnp.concatenate([channels, channels])


def _per_channel(sums: Any) -> Any:
    return sums.reshape(2, -1).sum(axis=0)


@jax.custom_vjp
def _pool(outputs: Pair, scale: Any, bias: Any, counts: Any) -> tuple[Any, Any, Any, Any]:
    """Return the pooled output of batch norm and ReLU, and the batch's mean, variance and count.

    The scale must not be negative. As in `max_pool_rounding_up`, the gradient goes to a window's
    first maximum, row by row.
    """
    return _pool_forward(outputs, scale, bias, counts)[0]


def _pool_forward(outputs: Pair, scale: Any, bias: Any, counts: Any) -> tuple[tuple, tuple]:
    real = None if counts is None else (counts > 0)[:, None]
    clips = outputs[0].shape[2] if counts is None else jnp.maximum(counts.sum(), 1)
    count = 4 * outputs[0].shape[0] * outputs[0].shape[1] * clips

    def mean_of(values: Any) -> Any:
        sums = (_per_channel(part.sum((0, 1, 2), where=real)) for part in values)
        return sum(sums) / count

    wide = [part.astype(jnp.float32) for part in outputs]
    mean = mean_of(wide)
    if one_pass(outputs[0]):
        variance = jnp.maximum(mean_of([jnp.square(part) for part in wide]) - mean * mean, 0)
    else:
        variance = mean_of([jnp.square(part - _twice(mean)) for part in wide])

    # Three columns, then three rows; the third is the next group's first.
    even, odd = outputs
    of_columns, column = _first_maximum(even, odd, _next(even, 1))
    channels = scale.shape[0]
    even_row, odd_row = of_columns[..., :channels], of_columns[..., channels:]
    largest, row = _first_maximum(even_row, odd_row, _next(even_row, 0))
    gain = jax.lax.rsqrt(variance + EPSILON) * scale
    y = jax.nn.relu((largest - mean) * gain + bias).astype(largest.dtype)
    row = jnp.where(y > 0, row, jnp.int8(_NONE))
    residuals = (outputs, scale, counts, mean, variance, count, largest, column, row)
    return (y, mean, variance, count), residuals


def _pool_backward(residuals: tuple, gradients: tuple) -> tuple:
    outputs, scale, counts, mean, variance, count, largest, column, row = residuals
    gradient = jnp.where(row < _NONE, gradients[0], 0).astype(jnp.float32)
    inverse = jax.lax.rsqrt(variance + EPSILON)
    of_bias = gradient.sum((0, 1, 2))
    of_scale = ((gradient * largest).sum((0, 1, 2)) - mean * of_bias) * inverse

    gain = inverse * scale
    to_rows = (gradients[0] * gain).astype(largest.dtype)
    to_even = _chosen(to_rows, row, 0) + _previous(_chosen(to_rows, row, 2), 0)
    to_columns = jnp.concatenate([to_even, _chosen(to_rows, row, 1)], axis=-1)
    to_even = _chosen(to_columns, column, 0) + _previous(_chosen(to_columns, column, 2), 1)
    # Gradient through the statistics: -(of_bias + of_scale · (output - mean) · inverse) · gain.
    slope = -of_scale * inverse * gain / count
    offset = -of_bias * gain / count - mean * slope
    real = 1.0 if counts is None else counts[:, None]
    of_outputs = tuple(
        (own + (_twice(offset) + part * _twice(slope)) * real).astype(part.dtype)
        for part, own in zip(outputs, (to_even, _chosen(to_columns, column, 1)), strict=True)
    )
    return of_outputs, of_scale, of_bias, None if counts is None else 0 * counts


_pool.defvjp(_pool_forward, _pool_backward)


def _first_maximum(first: Any, second: Any, third: Any) -> tuple[Any, Any]:
    """Return the largest of three values, and the number of the first that is equal to it."""
    largest = jnp.maximum(first, second)
    place = jnp.where(second > first, jnp.int8(1), jnp.int8(0))
    return jnp.maximum(largest, third), jnp.where(third > largest, jnp.int8(2), place)


def _chosen(gradient: Any, place: Any, number: int) -> Any:
    return jnp.where(place == number, gradient, jnp.zeros((), gradient.dtype))


def _next(x: Any, axis: int) -> Any:
    """Return the values of the next row or column, minus infinity after the last."""
    return _shifted(x, axis, (-1, 1), -jnp.inf)


def _previous(x: Any, axis: int) -> Any:
    """Return the values of the previous row or column, zero before the first."""
    return _shifted(x, axis, (1, -1), 0.0)


def _shifted(x: Any, axis: int, edges: tuple[int, int], fill: float) -> Any:
    padding = [(*edges, 0) if number == axis else (0, 0, 0) for number in range(x.ndim)]
    return jax.lax.pad(x, jnp.asarray(fill, x.dtype), padding)
