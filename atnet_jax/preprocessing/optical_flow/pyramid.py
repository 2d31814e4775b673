"""Image pyramids, and coarse-to-fine refinement of flow."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float32

Refine = Callable[[Array, Array, Array], Array]
"""(first, second, flow) of one level → refined flow; `[height, width]` and `[2, height, width]`."""


def coarse_to_fine(
    first: Float32[Array, "height width"], second: Float32[Array, "height width"], refine: Refine
) -> Float32[Array, "2 height width"]:
    """Compute flow by refinement from the coarsest pyramid level, at no motion, to full size.

    Args:
        first: Grey levels.
        second: Grey levels, same shape.
        refine: Function that refines the flow of one level.

    Returns:
        u and v of each pixel of `first`, in pixels.
    """
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
    """Return the number of pyramid levels for a picture of `height`×`width` pixels.

    224×224 pixels have 4 levels, the coarsest with 28×28. The rule follows the code published with
    Sun, Roth and Black (IJCV 2014).
    """
    longer, shorter = max(height, width), min(height, width)
    return max(1, 1 + math.floor(min(math.log2(longer / 16), math.log2(shorter / 6))))


@jax.jit
def halve(picture: Float32[Array, "height width"]) -> Float32[Array, "half_height half_width"]:
    """Return the picture at half the size (rounded up).

    The filter (1 3 3 1)/8 has a standard deviation of 0.87 pixels and is centred between two
    pixels, so each pixel of the result lies in the middle of the four it replaces. Border pixels
    are repeated.

    Args:
        picture: Grey levels.
    """

    def rows(x: Array) -> Array:
        x = jnp.pad(x, ((1, 1 + x.shape[0] % 2), (0, 0)), mode="edge")
        return (x[:-3:2] + 3 * (x[1:-2:2] + x[2:-1:2]) + x[3::2]) / 8

    return rows(rows(picture).T).T


@functools.partial(jax.jit, static_argnames="shape")
def finer(
    flow: Float32[Array, "2 half_height half_width"], shape: tuple[int, int]
) -> Float32[Array, "2 height width"]:
    """Return the flow at twice the size and magnitude, interpolated linearly.

    Pixels have the same positions as in `halve`.

    Args:
        flow: u and v at half the size, in pixels of that size.
        shape: Height and width of the result.
    """

    def rows(x: Array) -> Array:
        padded = jnp.pad(x, ((1, 1), (0, 0)), mode="edge")
        pairs = jnp.stack([0.25 * padded[:-2] + 0.75 * x, 0.75 * x + 0.25 * padded[2:]], axis=1)
        return pairs.reshape(2 * x.shape[0], x.shape[1])

    height, width = shape
    return 2 * jnp.stack([rows(rows(part).T).T[:height, :width] for part in flow])
