"""Rotation, cropping and mirroring of pictures, for augmentation on the device."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def turn_and_cut(
    pictures: Float[Array, "batch height width channel"],
    degrees: Float[Array, " batch"],
    corner: Int[Array, "batch 2"],
    size: tuple[int, int],
    fill: Float[Array, " channel"],
) -> Float[Array, "batch rows columns channel"]:
    """Rotate each picture about its centre and crop a window, with nearest-neighbour sampling.

    Args:
        pictures: The pictures.
        degrees: Clockwise angles, in degrees.
        corner: Row and column of each window's first pixel; a window may extend past the picture.
        size: Height and width of the windows, in pixels.
        fill: Colour of pixels outside the picture, before or after the rotation.

    Returns:
        The windows.
    """
    _, height, width, _ = pictures.shape

    def one(picture: jax.Array, degrees: jax.Array, corner: jax.Array) -> jax.Array:
        row = corner[0] + jnp.arange(size[0])[:, None]
        column = corner[1] + jnp.arange(size[1])[None, :]
        kept = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        angle = jnp.deg2rad(degrees)
        down, right = row - (height - 1) / 2, column - (width - 1) / 2
        source_row = jnp.cos(angle) * down - jnp.sin(angle) * right + (height - 1) / 2
        source_column = jnp.sin(angle) * down + jnp.cos(angle) * right + (width - 1) / 2
        source_row, source_column = (
            jnp.floor(place + 0.5).astype(jnp.int32) for place in (source_row, source_column)
        )
        kept &= (source_row >= 0) & (source_row < height)
        kept &= (source_column >= 0) & (source_column < width)
        source_row = jnp.clip(source_row, 0, height - 1)
        source_column = jnp.clip(source_column, 0, width - 1)
        return jnp.where(kept[..., None], picture[source_row, source_column], fill)

    return jax.vmap(one)(pictures, degrees, corner)


def mirror_some(
    pictures: Float[Array, "batch height width channel"], key: jax.Array
) -> Float[Array, "batch height width channel"]:
    """Mirror each picture horizontally with probability 1/2."""
    mirrored = jax.random.bernoulli(key, 0.5, (len(pictures), 1, 1, 1))
    return jnp.where(mirrored, pictures[:, :, ::-1], pictures)
