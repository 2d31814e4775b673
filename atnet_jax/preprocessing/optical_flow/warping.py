"""Warping of pictures by a flow, and linearisation of brightness constancy around it."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float32


@jax.jit
def warp(
    picture: Float32[Array, "height width"], flow: Float32[Array, "2 height width"]
) -> Float32[Array, "height width"]:
    """Return the picture sampled where the flow leads from each pixel; NaN outside the picture.

    Args:
        picture: Grey levels.
        flow: u and v of each pixel, in pixels.
    """
    height, width = picture.shape
    x = jnp.arange(width, dtype=jnp.float32) + flow[0]
    y = jnp.arange(height, dtype=jnp.float32)[:, None] + flow[1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return jnp.where(inside, bicubic(picture, x, y), jnp.nan)


def linearise(
    first: Float32[Array, "height width"], warped: Float32[Array, "height width"]
) -> tuple[Array, Array, Array]:
    """Linearise brightness constancy: the difference in brightness is I_t + I_x du + I_y dv.

    Spatial derivatives are averaged over both pictures. Where the flow leads out of the picture,
    all three derivatives are 0.

    Args:
        first: Grey levels of the first picture.
        warped: Second picture, warped by the present flow; NaN outside the picture.

    Returns:
        I_x, I_y (grey levels per pixel) and I_t (grey levels), `[height, width]` each.
    """
    inside = ~jnp.isnan(warped)
    warped = jnp.where(inside, warped, first)  # This makes I_t zero.
    padded = jnp.pad(0.5 * (first + warped), 2, mode="edge")
    along_x, along_y = _derivative(padded[2:-2].T).T, _derivative(padded[:, 2:-2])
    return jnp.where(inside, along_x, 0), jnp.where(inside, along_y, 0), warped - first


def _derivative(padded: Array) -> Array:
    """Return the derivative along axis 0 by (1 −8 0 8 −1)/12, two pixels shorter at each end."""
    return (padded[:-4] - padded[4:] + 8 * (padded[3:-1] - padded[1:-3])) / 12


def bicubic(
    picture: Float32[Array, "height width"],
    x: Float32[Array, "*place"],
    y: Float32[Array, "*place"],
) -> Float32[Array, "*place"]:
    """Return grey levels at (y, x) by cubic convolution (Keys 1981, a = −1/2).

    Linear interpolation is not accurate enough: for motion of 0.03 pixels, its error in fine
    texture is as large as the change caused by the motion.

    Args:
        picture: Grey levels.
        x: Columns in pixels; values outside the picture are moved to its border.
        y: Rows in pixels; values outside the picture are moved to its border.
    """
    height, width = picture.shape
    x, y = jnp.clip(x, 0, width - 1), jnp.clip(y, 0, height - 1)
    left, top = jnp.floor(x), jnp.floor(y)
    stride = width + 3
    pixels = jnp.pad(picture, ((1, 2), (1, 2)), mode="edge").ravel()
    corner = top.astype(jnp.int32) * stride + left.astype(jnp.int32)
    value = jnp.zeros_like(x)
    for row, weight_y in enumerate(_keys(y - top)):
        for column, weight_x in enumerate(_keys(x - left)):
            taken = pixels.at[corner + (row * stride + column)].get(mode="promise_in_bounds")
            value += weight_y * weight_x * taken
    return value


def _keys(t: Array) -> tuple[Array, Array, Array, Array]:
    """Return the weights of the pixels at −1, 0, 1 and 2 for the position t in 0…1."""
    return (
        ((-0.5 * t + 1) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1,
        ((-1.5 * t + 2) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    )
