"""The median filter that takes outliers out of a flow between two warps."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float32


@jax.jit
def median_5x5(flow: Float32[Array, "2 height width"]) -> Float32[Array, "2 height width"]:
    """Median of the 25 values around each pixel, of u and of v; the border is continued.

    All pixels go through one sorting network at the same time: only minima and maxima of shifted
    pictures, which compile to a single loop. Of the network the compiler keeps what the middle
    value needs.
    """
    _, height, width = flow.shape
    padded = jnp.pad(flow, ((0, 0), (2, 2), (2, 2)), mode="edge")
    values = [padded[:, y : y + height, x : x + width] for y in range(5) for x in range(5)]
    for i, j in _sorting_network(len(values)):
        values[i], values[j] = jnp.minimum(values[i], values[j]), jnp.maximum(values[i], values[j])
    return values[len(values) // 2]


def _sorting_network(count: int) -> list[tuple[int, int]]:
    """Pairs to compare, in order: Batcher's merge exchange (Knuth, vol. 3, 5.2.2, algorithm M)."""
    pairs = []
    highest = 1 << ((count - 1).bit_length() - 1)
    p = highest
    while p > 0:
        q, r, d = highest, 0, p
        while d > 0:
            pairs += [(i, i + d) for i in range(count - d) if i & p == r]
            d, q, r = q - p, q >> 1, p
        p >>= 1
    return pairs
