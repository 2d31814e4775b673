"""Structure-texture decomposition, and the difference operators it uses."""

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
    """Compute the texture of both pictures of a pair, as in Sun, Roth and Black (IJCV 2014).

    The structure S of a picture I in [−1, 1] minimises Σ |∇S| + (S − I)²/(2θ) (Rudin, Osher and
    Fatemi; Wedel et al. 2009) with θ = 1/8, by 100 steps of projected gradient ascent. Texture is
    I − 0.95 S, scaled so that the darkest pixel of both pictures is 0 and the brightest 255. The
    result therefore does not depend on the contrast of the pair and hardly on slow changes of the
    light.

    Args:
        first: Grey levels of any range.
        second: Grey levels of the same range.

    Returns:
        The textures, 0…255, both with the same scale.
    """
    pictures = 2 * _to_unit_range(jnp.stack([first, second])) - 1
    # Processing the pictures one by one keeps the data of an iteration in the processor's cache.
    structures = jnp.stack([_structure(picture) for picture in pictures])
    textures = pictures - STRUCTURE_REMOVED * structures
    first, second = 255 * _to_unit_range(textures)
    return first, second


def _to_unit_range(pair: Array) -> Array:
    low, high = pair.min(), pair.max()
    return (pair - low) / jnp.maximum(high - low, 1e-6)  # A uniform pair has no contrast.


def _structure(picture: Float32[Array, "height width"]) -> Float32[Array, "height width"]:
    step = 1 / (4 * THETA)

    def ascend(_: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        structure, p, q = state
        along_x, along_y = gradient(structure)
        p, q = p + step * along_x, q + step * along_y
        # Project vectors longer than 1 onto length 1.
        shortened = jnp.minimum(1, jax.lax.rsqrt(p * p + q * q + 1e-20))
        p, q = p * shortened, q * shortened
        return picture + THETA * divergence(p, q), p, q

    zero = jnp.zeros_like(picture)
    return jax.lax.fori_loop(0, ITERATIONS, ascend, (picture, zero, zero))[0]


def gradient(x: Float32[Array, "*batch height width"]) -> tuple[Array, Array]:
    """Return the differences to the next column and to the next row, zero in the last of each."""
    along_x, along_y = x[..., :, 1:] - x[..., :, :-1], x[..., 1:, :] - x[..., :-1, :]
    none = [(0, 0)] * (x.ndim - 2)
    return jnp.pad(along_x, [*none, (0, 0), (0, 1)]), jnp.pad(along_y, [*none, (0, 1), (0, 0)])


def divergence(
    p: Float32[Array, "*batch height width"], q: Float32[Array, "*batch height width"]
) -> Float32[Array, "*batch height width"]:
    """Return the divergence of (p, q), the negative adjoint of `gradient`.

    Args:
        p: Horizontal components, zero in the last column.
        q: Vertical components, zero in the last row.
    """
    none = [(0, 0)] * (p.ndim - 2)
    before_x = jnp.pad(p[..., :, :-1], [*none, (0, 0), (1, 0)])
    before_y = jnp.pad(q[..., :-1, :], [*none, (1, 0), (0, 0)])
    return p - before_x + q - before_y
