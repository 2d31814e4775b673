import numpy as np
import pytest

from atnet_jax.preprocessing.head_motion import rigid_part


def similarity(right, down, scale, turn):
    y, x = np.mgrid[:224, :224] - 112.0
    return np.stack([right + scale * x - turn * y, down + turn * x + scale * y], axis=-1)


def expression(size=1.0):
    """A mouth's corner and a brow: a sixth of the face."""
    y, x = np.mgrid[:224, :224]
    flow = np.zeros((224, 224, 2))
    for (cx, cy), motion in (((150, 160), (0.5, -1.0)), ((70, 60), (0.0, -1.0))):
        bump = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 18.0**2))
        flow += bump[..., None] * motion
    return size * flow


@pytest.mark.parametrize("size", [0.03, 0.5])
def test_head_motion_is_separated_from_the_expression(size):
    head = size * similarity(0.8, -0.4, 0.001, 0.003)
    noise = 0.05 * size * np.random.default_rng(0).normal(size=head.shape)
    found = rigid_part((head + expression(size) + noise).astype(np.float32))
    assert found.dtype == np.float32
    assert np.abs(found - head).max() < 0.03 * size
    # Least squares would take part of the expression for the head.
    y, x = np.mgrid[:224, :224].reshape(2, -1) - 112.0
    one, zero = np.ones_like(x), np.zeros_like(x)
    basis = np.concatenate([np.stack([one, zero, x, -y], 1), np.stack([zero, one, y, x], 1)])
    target = (head + expression(size)).reshape(-1, 2).T.ravel()
    plain = basis @ np.linalg.lstsq(basis, target, rcond=None)[0]
    assert np.abs(plain.reshape(2, 224, 224).transpose(1, 2, 0) - head).max() > 0.08 * size


def test_nothing_moves():
    assert not rigid_part(np.zeros((224, 224, 2), np.float32)).any()


def test_a_shift_that_all_pixels_share_is_found_exactly():
    found = rigid_part(np.full((224, 224, 2), 0.25, np.float32))
    np.testing.assert_allclose(found, 0.25, rtol=1e-6)
