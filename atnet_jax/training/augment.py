"""Augmentation of apex frames on the device (paper, section IV-A)."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What may happen to a picture; mirror, rotation and shift are drawn independently.

    Attributes:
      probability: of each of the three.
      rotation: largest angle, in degrees.
      shift_kind: "intensity" (grey levels) or "translation" (pixels of a 224×224 picture).
      shift: largest shift.
    """

    probability: float
    rotation: float
    shift_kind: str
    shift: float


def augment(
    key: PRNGKeyArray, images: Float[Array, "batch height width 1"], how: Augmentation
) -> Float[Array, "batch height width 1"]:
    """Mirrors, rotates and shifts each picture by its own draw; the edge is repeated outwards.

    Grey levels stay within 0…255.
    """
    keys = jax.random.split(key, images.shape[0])
    return jax.vmap(lambda k, image: _augment_one(k, image, how))(keys, images)


def rotate_and_translate(
    image: Float[Array, "height width 1"], degrees: Float[Array, ""], shift: Float[Array, "2"]
) -> Float[Array, "height width 1"]:
    """Turns a picture clockwise about its centre, then moves it; samples bilinearly.

    Args:
      image: the picture.
      degrees: angle.
      shift: down and right, in pixels.
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
