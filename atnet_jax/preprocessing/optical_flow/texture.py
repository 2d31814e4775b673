"""The texture of a picture: what is left without its large, smoothly lit shapes."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float32

THETA = 1 / 8
ITERATIONS = 100
STRUCTURE_REMOVED = 0.95


@jax.jit
def texture(
    first: Float32[Array, "height width"], second: Float32[Array, "height width"]
) -> tuple[Array, Array]:
    """Texture of both grey pictures of a pair, as Sun, Roth and Black (IJCV 2014) use it.

    The structure S of a picture I in [−1, 1] minimises Σ |∇S| + (S − I)²/(2θ) (Rudin, Osher and
    Fatemi; Wedel et al. 2009), θ = 1/8, by 100 steps of projected gradient ascent. Texture is
    I − 0.95 S, scaled so that the darkest pixel of both pictures is 0 and the brightest 255. Thus
    the contrast of the pair does not matter, and slow changes of the light matter little.

    Returns:
        The textures, 0…255, both scaled alike.
    """
    pictures = 2 * _to_unit_range(jnp.stack([first, second])) - 1
    # One after the other: what a picture's iteration needs stays in the processor's cache.
    structures = jnp.stack([_structure(picture) for picture in pictures])
    textures = pictures - STRUCTURE_REMOVED * structures
    first, second = 255 * _to_unit_range(textures)
    return first, second


def _to_unit_range(pair: Array) -> Array:
    low, high = pair.min(), pair.max()
    return (pair - low) / jnp.maximum(high - low, 1e-6)  # an even pair has no contrast to scale


def _structure(picture: Float32[Array, "height width"]) -> Float32[Array, "height width"]:
    step = 1 / (4 * THETA)

    def ascend(_: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        structure, p, q = state
        along_x, along_y = gradient(structure)
        p, q = p + step * along_x, q + step * along_y
        # Brought back to length 1 where longer.
        shortened = jnp.minimum(1, jax.lax.rsqrt(p * p + q * q + 1e-20))
        p, q = p * shortened, q * shortened
        return picture + THETA * divergence(p, q), p, q

    zero = jnp.zeros_like(picture)
    return jax.lax.fori_loop(0, ITERATIONS, ascend, (picture, zero, zero))[0]


def gradient(x: Float32[Array, "*batch height width"]) -> tuple[Array, Array]:
    """Differences to the next column and the next row; zero in the last ones."""
    along_x, along_y = x[..., :, 1:] - x[..., :, :-1], x[..., 1:, :] - x[..., :-1, :]
    none = [(0, 0)] * (x.ndim - 2)
    return jnp.pad(along_x, [*none, (0, 0), (0, 1)]), jnp.pad(along_y, [*none, (0, 1), (0, 0)])


def divergence(
    p: Float32[Array, "*batch height width"], q: Float32[Array, "*batch height width"]
) -> Float32[Array, "*batch height width"]:
    """Minus the transpose of `gradient`, for p and q that are zero in the last column and row."""
    none = [(0, 0)] * (p.ndim - 2)
    before_x = jnp.pad(p[..., :, :-1], [*none, (0, 0), (1, 0)])
    before_y = jnp.pad(q[..., :-1, :], [*none, (1, 0), (0, 0)])
    return p - before_x + q - before_y
