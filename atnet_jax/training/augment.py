"""Augmentation of apex frames on the device (paper, section IV-A)."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Random changes to a picture; mirroring, rotation and shift are drawn independently.

    Attributes:
        probability: Probability of each of the three changes.
        rotation: Largest angle in degrees.
        shift_kind: "intensity" (grey levels) or "translation" (pixels of a 224×224 picture).
        shift: Largest shift in either direction, in the unit of `shift_kind`.
    """

    probability: float
    rotation: float
    shift_kind: str
    shift: float


def augment(
    key: PRNGKeyArray, images: Float[Array, "batch height width 1"], how: Augmentation
) -> Float[Array, "batch height width 1"]:
    """Mirror, rotate and shift each picture by a separate random draw.

    Args:
        key: Random key of the batch.
        images: Pictures with grey levels 0…255.
        how: The possible changes.

    Returns:
        The changed pictures, float32 with grey levels 0…255. Edge pixels fill the uncovered area.
    """
    keys = jax.random.split(key, images.shape[0])
    return jax.vmap(lambda k, image: _augment_one(k, image, how))(keys, images)


def rotate_and_translate(
    image: Float[Array, "height width 1"], degrees: Float[Array, ""], shift: Float[Array, "2"]
) -> Float[Array, "height width 1"]:
    """Rotate a picture clockwise about its centre, then translate it.

    Args:
        image: The picture.
        degrees: Angle in degrees.
        shift: Translation down and right, in pixels.

    Returns:
        The picture, sampled bilinearly. Edge pixels fill the uncovered area.
    """
    height, width, _ = image.shape
    angle = jnp.deg2rad(degrees)
    y = jnp.arange(height)[:, None] - (height - 1) / 2 - shift[0]
    x = jnp.arange(width)[None, :] - (width - 1) / 2 - shift[1]
    rows = jnp.cos(angle) * y - jnp.sin(angle) * x + (height - 1) / 2
    columns = jnp.sin(angle) * y + jnp.cos(angle) * x + (width - 1) / 2
    sampled = jax.scipy.ndimage.map_coordinates(
        image[..., 0], [rows, columns], order=1, mode="nearest"
    )
    return sampled[..., None]


def _augment_one(key: jax.Array, image: jax.Array, how: Augmentation) -> jax.Array:
    which, angle_key, shift_key = jax.random.split(key, 3)
    mirror, rotate, shift = jax.random.bernoulli(which, how.probability, (3,))
    angle = rotate * jax.random.uniform(angle_key, minval=-how.rotation, maxval=how.rotation)
    amount = shift * jax.random.uniform(shift_key, (2,), minval=-how.shift, maxval=how.shift)

    image = jnp.where(mirror, image[:, ::-1], image)
    if how.shift_kind == "translation":
        return rotate_and_translate(image, angle, amount * (image.shape[0] / 224))
    image = rotate_and_translate(image, angle, jnp.zeros(2))
    return jnp.clip(image + amount[0], 0, 255)
