import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from atnet_jax.training.augment import Augmentation, augment, rotate_and_translate

INTENSITY = Augmentation(probability=0.5, rotation=5.0, shift_kind="intensity", shift=10.0)


# In one program: outside one, each operation is compiled by itself.
_augment = jax.jit(augment, static_argnums=2)
_rotate_and_translate = jax.jit(rotate_and_translate)


def smooth_image(size: int = 48) -> np.ndarray:
    image = np.random.default_rng(0).uniform(0, 255, (size, size)).astype(np.float32)
    return cv2.GaussianBlur(image, (0, 0), 4)[..., None] * 1.0


def apply(how: Augmentation, count: int = 64, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    image = smooth_image()
    batch = jnp.asarray(np.broadcast_to(image, (count, *image.shape)))
    return image, np.asarray(_augment(jax.random.key(seed), batch, how))


def test_probability_zero_changes_nothing():
    image, out = apply(Augmentation(0.0, 5.0, "intensity", 10.0), count=4)
    assert np.array_equal(out, np.broadcast_to(image, out.shape))


def test_same_key_same_pictures_and_other_key_others():
    assert np.array_equal(apply(INTENSITY)[1], apply(INTENSITY)[1])
    assert not np.array_equal(apply(INTENSITY)[1], apply(INTENSITY, seed=1)[1])


def test_each_change_comes_to_about_half_of_the_pictures():
    image, out = apply(Augmentation(0.5, 0.0, "intensity", 10.0), count=400)
    mirrored = [np.abs(p - p.mean() - (image - image.mean())[:, ::-1]).max() < 1e-3 for p in out]
    shift = out.mean((1, 2, 3)) - image.mean()
    assert 0.4 < np.mean(mirrored) < 0.6
    assert 0.4 < np.mean(np.abs(shift) > 1e-3) < 0.6
    assert 8 < np.abs(shift).max() <= 10
    assert abs(np.corrcoef(mirrored, np.abs(shift) > 1e-3)[0, 1]) < 0.2  # Drawn independently.


def test_intensity_stays_within_grey_levels():
    bright = jnp.asarray(np.full((32, 8, 8, 1), 252, np.float32))
    out = np.asarray(_augment(jax.random.key(0), bright, INTENSITY))
    assert out.max() == 255
    assert out.min() >= 242


@pytest.mark.parametrize(
    ("degrees", "down", "right"), [(4, 0, 0), (-5, 0, 0), (0, 2.5, -1.25), (3, -2, 1)]
)
def test_geometry_agrees_with_opencv(degrees, down, right):
    image = smooth_image()
    size = image.shape[0]
    centre = ((size - 1) / 2, (size - 1) / 2)
    warp = cv2.getRotationMatrix2D(centre, -degrees, 1)  # OpenCV's angles are anticlockwise.
    warp[:, 2] += right, down
    expected = cv2.warpAffine(
        image[..., 0], warp, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    out = _rotate_and_translate(
        jnp.asarray(image), np.float32(degrees), jnp.asarray([down, right], jnp.float32)
    )
    assert np.abs(expected - image[..., 0]).max() > 5
    # OpenCV rounds sample positions to 1/32 pixel.
    np.testing.assert_allclose(out[..., 0], expected, atol=1)


def test_translation_is_in_pixels_of_the_full_size():
    _, out = apply(Augmentation(1.0, 0.0, "translation", 10.0), count=16)
    size = out.shape[1]
    for picture in out[..., 0]:
        mirrored = smooth_image()[:, ::-1, 0]
        (dx, dy), _ = cv2.phaseCorrelate(
            np.float64(mirrored), np.float64(picture), cv2.createHanningWindow((size, size), 6)
        )
        assert max(abs(dx), abs(dy)) < 10 * size / 224 + 0.3
