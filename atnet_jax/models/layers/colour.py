"""Colour augmentation on the device."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


def jitter(
    key: PRNGKeyArray, faces: Float[Array, "batch height width 3"], most: float
) -> Float[Array, "batch height width 3"]:
    """Change each picture's brightness, contrast, saturation and hue at random, in this order.

    Args:
        key: Random key.
        faces: RGB, 0…255.
        most: Largest relative change; for the hue, the largest share of the colour circle.

    Returns:
        The changed pictures, RGB, 0…255.
    """
    draws = jax.random.uniform(key, (4, len(faces), 1, 1, 1), minval=-most, maxval=most)
    brightness, contrast, saturation, hue = draws
    faces = _clip(faces * (1 + brightness))
    mean = grey(faces).mean(axis=(1, 2, 3), keepdims=True)
    faces = _clip(mean + (1 + contrast) * (faces - mean))
    faces = _clip(grey(faces) + (1 + saturation) * (faces - grey(faces)))
    return turn_hue(faces, hue[..., 0])


def _clip(faces: jax.Array) -> jax.Array:
    return jnp.clip(faces, 0, 255)


def grey(faces: Float[Array, "*places 3"]) -> Float[Array, "*places 1"]:
    """Return the luma of RGB values (ITU-R BT.601)."""
    weights = jnp.array([0.299, 0.587, 0.114])
    return (faces * weights).sum(axis=-1, keepdims=True)


def turn_hue(
    faces: Float[Array, "batch height width 3"], turn: Float[Array, "batch 1 1"]
) -> Float[Array, "batch height width 3"]:
    """Rotate the hue of each pixel on the colour circle; HSV's value and saturation stay the same.

    Args:
        faces: RGB, 0…255.
        turn: Rotation of each picture, in turns of the circle.

    Returns:
        The changed pictures, RGB, 0…255.
    """
    red, green, blue = jnp.moveaxis(faces, -1, 0)
    high, low = faces.max(axis=-1), faces.min(axis=-1)
    span = high - low
    divisor = jnp.where(span > 0, span, 1)
    # Hue in sixths of the circle, counted from red.
    hue = jnp.where(
        high == red,
        (green - blue) / divisor,
        jnp.where(high == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    hue += 6 * turn
    distances = [(hue + start) % 6 for start in (5, 3, 1)]
    below = [jnp.clip(jnp.minimum(place, 4 - place), 0, 1) for place in distances]
    return high[..., None] - span[..., None] * jnp.stack(below, axis=-1)
