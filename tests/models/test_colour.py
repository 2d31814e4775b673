import jax
import jax.numpy as jnp
import numpy as np
import pytest

from atnet_jax.models.layers.colour import jitter, turn_hue
from tests.reference import capsule_net as reference


def pictures(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def test_jitter_against_the_standard_library():
    key = jax.random.key(0)
    faces = pictures(2, 4, 5, 6, 3).astype(np.float32)
    faces[0, 0] = 77  # Grey.
    faces[1, 0, :, 0] = faces[1, 0, :, 1]  # Two equal channels.
    draws = np.asarray(jax.random.uniform(key, (4, 4, 1, 1, 1), minval=-0.2, maxval=0.2)).squeeze()
    out = jax.jit(jitter, static_argnums=2)(key, jnp.asarray(faces), 0.2)
    expected = [
        reference.jitter(face.astype(np.float64), 1 + b, 1 + c, 1 + s, h)
        for face, b, c, s, h in zip(faces, *draws, strict=True)
    ]
    np.testing.assert_allclose(out, expected, atol=0.02)
    assert np.abs(out - faces).max() > 20


def test_jitter_leaves_grey_pictures_grey():
    faces = jnp.broadcast_to(jnp.arange(40.0).reshape(1, 5, 8, 1) * 6, (3, 5, 8, 3))
    out = np.asarray(jax.jit(jitter, static_argnums=2)(jax.random.key(1), faces, 0.2))
    np.testing.assert_allclose(out, out[..., :1].repeat(3, axis=-1), atol=0.01)


@pytest.mark.parametrize("turn", [1 / 3, -1 / 3, 1.0])
def test_hue_goes_round_from_red_over_green_to_blue(turn):
    face = jnp.asarray(pictures(3, 1, 4, 4, 3), jnp.float32)
    out = jax.jit(turn_hue)(face, jnp.full((1, 1, 1), turn))
    np.testing.assert_allclose(out, np.roll(face, round(turn * 3), axis=-1), atol=0.01)
