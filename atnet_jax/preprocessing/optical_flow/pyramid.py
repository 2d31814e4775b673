"""Pictures at half, a quarter, … of their size, and flow from one size to the next."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float32

Refine = Callable[[Array, Array, Array], Array]
"""(first, second, flow) of one level → better flow; `[height, width]` and `[2, height, width]`."""


def coarse_to_fine(
    first: Float32[Array, "height width"], second: Float32[Array, "height width"], refine: Refine
) -> Float32[Array, "2 height width"]:
    """Flow in pixels, refined level by level, from no motion at the coarsest to the full size."""
    pyramid = [(first, second)]
    for _ in range(levels(*first.shape) - 1):
        first, second = pyramid[-1]
        pyramid.append((halve(first), halve(second)))
    flow = jnp.zeros((2, *pyramid[-1][0].shape), jnp.float32)
    for level, (first, second) in enumerate(reversed(pyramid)):
        if level > 0:
            flow = finer(flow, first.shape)
        flow = refine(first, second, flow)
    return flow


def levels(height: int, width: int) -> int:
    """Number of levels for a picture of this size; 4 at 224×224, the coarsest being 28×28.

    The rule of the code that comes with Sun, Roth and Black (IJCV 2014).
    """
    longer, shorter = max(height, width), min(height, width)
    return max(1, 1 + math.floor(min(math.log2(longer / 16), math.log2(shorter / 6))))


@jax.jit
def halve(picture: Float32[Array, "height width"]) -> Float32[Array, "half_height half_width"]:
    """The picture at half the size (rounded up).

    The filter (1 3 3 1)/8 has a standard deviation of 0.87 pixels and lies between two pixels, so a
    pixel of the result is in the middle of the four it stands for. The border is continued.
    """

    def rows(x: Array) -> Array:
        x = jnp.pad(x, ((1, 1 + x.shape[0] % 2), (0, 0)), mode="edge")
        return (x[:-3:2] + 3 * (x[1:-2:2] + x[2:-1:2]) + x[3::2]) / 8

    return rows(rows(picture).T).T


@functools.partial(jax.jit, static_argnames="shape")
def finer(
    flow: Float32[Array, "2 half_height half_width"], shape: tuple[int, int]
) -> Float32[Array, "2 height width"]:
    """The flow at twice the size and length, interpolated linearly; pixels lie as in `halve`."""

    def rows(x: Array) -> Array:
        padded = jnp.pad(x, ((1, 1), (0, 0)), mode="edge")
        pairs = jnp.stack([0.25 * padded[:-2] + 0.75 * x, 0.75 * x + 0.25 * padded[2:]], axis=1)
        return pairs.reshape(2 * x.shape[0], x.shape[1])

    height, width = shape
    return 2 * jnp.stack([rows(rows(part).T).T[:height, :width] for part in flow])
