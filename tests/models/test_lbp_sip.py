import cv2
import numpy as np
import pytest

from atnet_jax.errors import UserError
from atnet_jax.models.handcrafted.blocks import even_slices
from atnet_jax.models.lbp_sip import BINS, Features, halved, lbp_sip
from atnet_jax.preprocessing.optical_flow import flow_method
from atnet_jax.preprocessing.prepared_clip import PreparedClip


def slow_histograms(frames: np.ndarray, blocks: int, radius: int, time_radius: int) -> list[float]:
    """The definition on one level, voxel by voxel."""
    length, height, width = frames.shape
    inner_height, inner_width = height - 2 * radius, width - 2 * radius
    counts = np.zeros((blocks, blocks, 20))
    for t in range(time_radius, length - time_radius):
        for y in range(radius, height - radius):
            for x in range(radius, width - radius):
                centre = frames[t, y, x]
                space = (
                    1 * (frames[t, y, x + radius] >= centre)
                    + 2 * (frames[t, y - radius, x] >= centre)
                    + 4 * (frames[t, y, x - radius] >= centre)
                    + 8 * (frames[t, y + radius, x] >= centre)
                )
                time = 1 * (frames[t - time_radius, y, x] >= centre) + 2 * (
                    frames[t + time_radius, y, x] >= centre
                )
                row, column = (
                    max(k for k in range(blocks) if size * k // blocks <= place - radius)
                    for size, place in ((inner_height, y), (inner_width, x))
                )
                counts[row, column, space] += 1
                counts[row, column, 16 + time] += 1
    counts[..., :16] /= counts[..., :16].sum(axis=-1, keepdims=True)
    counts[..., 16:] /= counts[..., 16:].sum(axis=-1, keepdims=True)
    return counts.ravel().tolist()


def slow_halved(frame: np.ndarray) -> np.ndarray:
    """Pixel by pixel, in float64, mirrored without repeating the border."""
    height, width = frame.shape
    weights = [1, 4, 6, 4, 1]

    def inside(place: int, size: int) -> int:
        place = abs(place)
        return place if place < size else 2 * (size - 1) - place

    result = np.zeros((-(-height // 2), -(-width // 2)))
    for y in range(result.shape[0]):
        for x in range(result.shape[1]):
            for j in range(5):
                for i in range(5):
                    value = frame[inside(2 * y + j - 2, height), inside(2 * x + i - 2, width)]
                    result[y, x] += weights[j] * weights[i] * value / 256
    return result


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize(("blocks", "radius", "time_radius"), [(1, 1, 1), (2, 1, 3), (3, 2, 1)])
def test_one_level_equals_the_slow_reference(random, blocks, radius, time_radius):
    frames = random.integers(0, 6, (8, 13, 16), dtype=np.uint8)  # few levels: many ties
    result = lbp_sip(frames, blocks, 1, radius, time_radius)
    assert result.shape == (20 * blocks**2,)
    assert result.dtype == np.float32
    expected = slow_histograms(frames.astype(float), blocks, radius, time_radius)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_levels_equal_the_slow_reference(random):
    frames = random.integers(0, 256, (4, 23, 30), dtype=np.uint8)
    expected, level = [], frames.astype(float)
    for _ in range(3):
        expected += slow_histograms(level, 2, 1, 1)
        level = np.stack([slow_halved(frame) for frame in level])
    np.testing.assert_allclose(lbp_sip(frames, 2, 3), expected, rtol=1e-6)


@pytest.mark.parametrize("shape", [(8, 8), (9, 8), (23, 30)])
def test_halved_is_opencvs_pyramid(random, shape):
    frames = random.uniform(0, 255, (2, *shape)).astype(np.float32)
    expected = [cv2.pyrDown(frame) for frame in frames]
    np.testing.assert_allclose(halved(frames), expected, rtol=1e-5)
    np.testing.assert_allclose(halved(frames)[0], slow_halved(frames[0]), rtol=1e-5)


def test_a_flat_clip_has_all_bits_set(random):
    """Smoothing must not make it uneven by rounding."""
    expected = np.tile(np.concatenate([np.eye(16)[15], np.eye(4)[3]]), 2 * 2 * 3)
    for level in random.uniform(0, 255, 20).astype(np.float32):
        np.testing.assert_array_equal(lbp_sip(np.full((3, 41, 43), level), 2, 3), expected)


@pytest.mark.parametrize(
    ("brighter_towards", "space", "time"),
    [
        # later, down, right; bits right, up, left, down and earlier, later
        ((1, -1, 1), 0b0011, 0b10),
        ((1, -1, -1), 0b0110, 0b10),
        ((-1, 1, -1), 0b1100, 0b01),
        ((-1, 1, 1), 0b1001, 0b01),
        ((0, 0, 1), 0b1011, 0b11),
    ],
)
def test_order_of_the_bits(brighter_towards, space, time):
    later, down, right = brighter_towards
    t, y, x = np.indices((5, 9, 9)).astype(np.float32)
    result = lbp_sip(later * t + down * y + right * x, 1, 1)
    np.testing.assert_array_equal(result, [*np.eye(16)[space], *np.eye(4)[time]])


def test_nothing_is_wrapped_around():
    """A neighbour that lies outside counts nothing: a ramp has no voxel of another code."""
    ramp = np.broadcast_to(np.arange(12.0, dtype=np.float32), (12, 12))
    frames = np.arange(5, dtype=np.float32)[:, None, None] + ramp
    for radius in (1, 3):
        assert lbp_sip(frames, 1, 1, radius, 2).max() == 1


def test_brightness_and_contrast_do_not_matter(random):
    """Whole grey levels, whose smoothing has no rounding on three levels."""
    frames = random.integers(0, 100, (5, 40, 40), dtype=np.uint8)
    np.testing.assert_array_equal(lbp_sip(frames * 2 + 16, 2), lbp_sip(frames, 2))


def test_blocks_are_read_row_by_row(random):
    frames = np.zeros((3, 22, 22), np.uint8)
    frames[:, 1:11, 11:21] = random.integers(0, 256, (3, 10, 10))  # the second of 2×2
    parts = lbp_sip(frames, 2, 1).reshape(4, 20)
    assert (parts.max(axis=1) < 1).tolist() == [False, True, False, False]


def test_features_of_a_clip(random):
    frames = random.integers(0, 256, (13, 224, 224), dtype=np.uint8)
    features = Features()(PreparedClip("clip", frames=frames), flow_method("dis"))
    assert features.shape == (BINS * 25 * 3,) == (1500,)
    np.testing.assert_allclose(features.reshape(-1, 20).sum(axis=1), 2, rtol=1e-5)
    still = Features()(PreparedClip("clip", frames=frames[:1]), flow_method("dis"))
    np.testing.assert_array_equal(still.reshape(-1, 20)[:, 16:], [[0, 0, 0, 1]] * 75)


def test_refusals():
    frames = np.zeros((10, 40, 40), np.uint8)
    with pytest.raises(UserError, match=r"needs 5 frames or more .* has 4 frames of 40x40"):
        lbp_sip(frames[:4], time_radius=2)
    with pytest.raises(UserError, match=r"level, 7x7 pixels. The clip has 10 frames of 20x40"):
        lbp_sip(frames[:, :20], levels=3)


@pytest.mark.parametrize(("size", "count"), [(10, 1), (10, 3), (224, 5), (7, 7), (2, 4)])
def test_even_slices_cover_all_once(size, count):
    parts = [list(range(size)[part]) for part in even_slices(size, count)]
    assert len(parts) == count
    assert [place for part in parts for place in part] == list(range(size))
    lengths = [len(part) for part in parts]
    assert max(lengths) - min(lengths) <= 1
