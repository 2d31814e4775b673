"""Max-pooling with gradients that are as fast as the pooling itself."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int8


@jax.custom_vjp
def max_pool_rounding_up(
    x: Float[Array, "batch height width channel"],
) -> Float[Array, "batch pooled_height pooled_width channel"]:
    """3×3 max-pooling with stride 2, no padding, output size rounded up as Caffe does (112 → 56).

    The last window may reach over the edge; what lies outside does not count. The gradient goes to
    a window's first maximum, row by row, as Caffe's does.

    XLA scatters the gradient of `reduce_window` value by value, on a CPU 30× slower than the
    pooling. Here the forward pass remembers where each maximum lay, so that the backward pass is
    elementwise: an input lies in at most four windows, whose places depend only on whether its row
    and its column are even.
    """
    return _pool(x)[0]


def _pool(x: jax.Array) -> tuple[jax.Array, Int8[Array, "batch rows columns channel"]]:
    """Maxima, and each one's place in its window, 0 to 8."""
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

    # (window's shift, place in it): an even row is the first of its window and the last of the one
    # above; an odd row is in the middle of its window. Columns alike.
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
    """The largest value along an axis; the gradient goes to the first of them.

    That of `jnp.max` goes to all values that are equal to the largest, and there may be none; see
    `max_pool`.
    """
    first = jax.nn.one_hot(x.argmax(axis), x.shape[axis], axis=axis, dtype=x.dtype)
    return (x * first).sum(axis)


def max_pool(
    x: Float[Array, "batch height width channel"], size: int, stride: int, padding: int = 0
) -> Float[Array, "batch pooled_height pooled_width channel"]:
    """Max-pooling as PyTorch's: the output size is rounded down, padding is minus infinity.

    Written as maxima of shifted slices, whose gradient is elementwise; see `max_pool_rounding_up`.
    The gradient goes to a window's first maximum, as PyTorch's does. `jnp.maximum` would look for
    it among values that XLA may have computed a second time and rounded otherwise, find none that
    is equal, and lose it.

    Args:
        x: The pictures.
        size: Height and width of the windows, in pixels.
        stride: From one to the next.
        padding: On every side.
    """
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
