import jax
import jax.numpy as jnp
import numpy as np
import pytest

from atnet_jax.models.layers.resampling import mirror_some, turn_and_cut


def literally(picture, degrees, corner, size, fill):
    height, width, _ = picture.shape
    out = np.empty((*size, picture.shape[2]))
    angle = np.deg2rad(degrees)
    for r in range(size[0]):
        for c in range(size[1]):
            y, x = corner[0] + r, corner[1] + c
            out[r, c] = fill
            if not (0 <= y < height and 0 <= x < width):
                continue
            down, right = y - (height - 1) / 2, x - (width - 1) / 2
            row = np.floor(np.cos(angle) * down - np.sin(angle) * right + height / 2)
            column = np.floor(np.sin(angle) * down + np.cos(angle) * right + width / 2)
            if 0 <= row < height and 0 <= column < width:
                out[r, c] = picture[int(row), int(column)]
    return out


@pytest.mark.parametrize(
    ("size", "low", "high"), [((9, 12), 0, 1), ((7, 6), 0, 3), ((9, 12), -3, 4)]
)
def test_turned_window_is_that_of_a_loop(size, low, high):
    rng = np.random.default_rng(0)
    pictures = rng.uniform(0, 255, (6, 9, 12, 2)).astype(np.float32)
    degrees = rng.uniform(-30, 30, 6).astype(np.float32)
    corner = rng.integers(low, high, (6, 2)).astype(np.int32)
    fill = np.array([-1, -2], np.float32)
    out = turn_and_cut(
        jnp.asarray(pictures), jnp.asarray(degrees), jnp.asarray(corner), size, jnp.asarray(fill)
    )
    expected = [
        literally(*case, size, fill) for case in zip(pictures, degrees, corner, strict=True)
    ]
    assert np.array_equal(out, np.array(expected, np.float32))
    assert (np.array(expected) == fill).any() and (np.array(expected) != fill).any()


def test_without_an_angle_the_picture_stays():
    pictures = jnp.arange(2 * 5 * 4 * 1.0).reshape(2, 5, 4, 1)
    still = turn_and_cut(pictures, jnp.zeros(2), jnp.zeros((2, 2), jnp.int32), (5, 4), jnp.zeros(1))
    assert np.array_equal(still, pictures)


def test_a_quarter_turn_is_clockwise():
    picture = jnp.zeros((1, 3, 3, 1)).at[0, 0, 0].set(1)
    out = turn_and_cut(
        picture, jnp.array([90.0]), jnp.zeros((1, 2), jnp.int32), (3, 3), jnp.zeros(1)
    )
    assert np.argwhere(np.asarray(out)[0, :, :, 0]).tolist() == [[0, 2]]


def test_half_of_the_pictures_are_mirrored():
    pictures = jnp.broadcast_to(jnp.arange(3.0)[:, None], (400, 2, 3, 1))
    out = np.asarray(mirror_some(pictures, jax.random.key(0)))
    mirrored = out[:, 0, 0, 0] == 2
    assert 160 < mirrored.sum() < 240
    assert np.array_equal(out[mirrored], pictures[: mirrored.sum(), :, ::-1])
    assert np.array_equal(out[~mirrored], pictures[: (~mirrored).sum()])
