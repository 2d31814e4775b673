"""Max-pooling whose gradients are as fast as the pooling itself."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int8

from atnet_jax.system import backend


@jax.custom_vjp
def max_pool_rounding_up(
    x: Float[Array, "batch height width channel"],
) -> Float[Array, "batch pooled_height pooled_width channel"]:
    """Return 3×3 max-pooling with stride 2, no padding, output size rounded up as in Caffe.

    For example, 112 pixels become 56. The last window may extend past the edge, where positions do
    not count. As in Caffe, the gradient goes to a window's first maximum, row by row.

    XLA scatters the gradient of `reduce_window` value by value, which is 30 times slower than the
    pooling on a CPU. Here the forward pass stores the place of each maximum, so that the backward
    pass is elementwise. An input lies in at most four windows, whose places depend only on whether
    its row and column are even.

    Args:
        x: The pictures.
    """
    return _pool(x)[0]


def _pool(x: jax.Array) -> tuple[jax.Array, Int8[Array, "batch rows columns channel"]]:
    """Return the maxima and the place of each in its window, 0 to 8."""
    rows, columns = (-(-(size - 3) // 2) + 1 for size in x.shape[1:3])
    overhang = ((0, 2 * rows + 1 - x.shape[1]), (0, 2 * columns + 1 - x.shape[2]))
    x = jnp.pad(x, ((0, 0), *overhang, (0, 0)), constant_values=-jnp.inf)
    largest = x[:, : 2 * rows : 2, : 2 * columns : 2]
    place = jnp.zeros(largest.shape, jnp.int8)
    for k in range(1, 9):
        row, column = divmod(k, 3)
        value = x[:, row : row + 2 * rows : 2, column : column + 2 * columns : 2]
        place = jnp.where(value > largest, jnp.int8(k), place)
        largest = jnp.maximum(value, largest)
    return largest, place


def _forward(x: jax.Array) -> tuple[jax.Array, tuple]:
    largest, place = _pool(x)
    return largest, (place, x.shape[1:3])


def _backward(
    residuals: tuple[jax.Array, tuple[int, int]], gradient: jax.Array
) -> tuple[jax.Array]:
    place, (height, width) = residuals
    batch, rows, columns, channels = gradient.shape
    around = ((0, 0), (1, 1), (1, 1), (0, 0))
    place = jnp.pad(place, around, constant_values=-1)
    gradient = jnp.pad(gradient, around)

    # (window's shift, place in it): an even row is the first of its window and the last of the
    # window above; an odd row is the middle of its window. The same holds for columns.
    even, odd = ((1, 0), (0, 2)), ((1, 1),)

    def received(row_kind: tuple[tuple[int, int], ...], column_kind: tuple[tuple[int, int], ...]):
        total = jnp.zeros((batch, rows + 1, columns + 1, channels), gradient.dtype)
        for down, row in row_kind:
            for right, column in column_kind:
                window = (
                    slice(None), slice(down, down + rows + 1), slice(right, right + columns + 1)
                )  # fmt: skip
                total += jnp.where(place[window] == 3 * row + column, gradient[window], 0)
        return total

    pairs = [jnp.stack([received(kind, even), received(kind, odd)], axis=3) for kind in (even, odd)]
    whole = jnp.stack(pairs, axis=2).reshape(batch, 2 * rows + 2, 2 * columns + 2, channels)
    return (whole[:, :height, :width],)


max_pool_rounding_up.defvjp(_forward, _backward)


def largest(x: Float[Array, "..."], axis: int) -> Float[Array, "..."]:
    """Return the largest value along an axis; the gradient goes to its first occurrence.

    The gradient of `jnp.max` goes to all values equal to the largest, and XLA may find none; see
    `max_pool`.

    Args:
        x: The values.
        axis: Axis to reduce.
    """
    first = jax.nn.one_hot(x.argmax(axis), x.shape[axis], axis=axis, dtype=x.dtype)
    return (x * first).sum(axis)


def max_pool(
    x: Float[Array, "batch height width channel"], size: int, stride: int, padding: int = 0
) -> Float[Array, "batch pooled_height pooled_width channel"]:
    """Return max-pooling as in PyTorch: output size rounded down, padding with minus infinity.

    The maxima are taken over shifted slices, whose gradient is elementwise; see
    `max_pool_rounding_up`. If 3×3 or larger windows do not overlap, a CPU stores the place of each
    maximum instead, which is three times as fast. As in PyTorch, the gradient goes to a window's
    first maximum. The gradient of `jnp.maximum` compares the maximum with values that
    XLA may have recomputed with different rounding. If none is equal, the gradient is lost.

    Args:
        x: The pictures.
        size: Height and width of the windows, in pixels.
        stride: Distance between neighbouring windows, in pixels.
        padding: Number of pixels added on every side.
    """
    if stride == size > 2 and padding == 0 and backend.platform() == "cpu":
        return _pool_apart(x, size)
    around = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    x = jnp.pad(x, around, constant_values=-jnp.inf)
    rows, columns = ((length - size) // stride + 1 for length in x.shape[1:3])
    found = None
    for row in range(size):
        for column in range(size):
            shifted = x[
                :,
                row : row + stride * (rows - 1) + 1 : stride,
                column : column + stride * (columns - 1) + 1 : stride,
            ]
            found = shifted if found is None else jnp.where(shifted > found, shifted, found)
    assert found is not None
    return found


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _pool_apart(x: Any, size: int) -> Any:
    """Compute `max_pool` with windows that lie side by side."""
    return _pool_apart_forward(x, size)[0]


def _pool_apart_forward(x: Any, size: int) -> tuple[Any, tuple]:
    batch, height, width, channels = x.shape
    rows, columns = height // size, width // size
    inside = x[:, : rows * size, : columns * size]
    windows = inside.reshape(batch, rows, size, columns, size, channels)
    largest = windows[:, :, 0, :, 0]
    place = jnp.zeros(largest.shape, jnp.int8)
    for k in range(1, size * size):
        value = windows[:, :, k // size, :, k % size]
        place = jnp.where(value > largest, jnp.int8(k), place)
        largest = jnp.where(value > largest, value, largest)
    return largest, (place, x.shape[1:3])


def _pool_apart_backward(
    size: int, residuals: tuple[jax.Array, tuple[int, int]], gradient: jax.Array
) -> tuple[jax.Array]:
    place, (height, width) = residuals
    batch, rows, columns, channels = gradient.shape
    places = jnp.arange(size * size, dtype=jnp.int8).reshape(1, 1, size, 1, size, 1)
    here = place[:, :, None, :, None] == places
    inside = jnp.where(here, gradient[:, :, None, :, None], 0)
    inside = inside.reshape(batch, rows * size, columns * size, channels)
    left_over = ((0, height - rows * size), (0, width - columns * size))
    return (jnp.pad(inside, ((0, 0), *left_over, (0, 0))),)


_pool_apart.defvjp(_pool_apart_forward, _pool_apart_backward)
