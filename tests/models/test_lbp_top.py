import math

import numpy as np
import pytest
from skimage.feature import local_binary_pattern

from atnet_jax.errors import UserError
from atnet_jax.models.lbp_top import lbp_top, uniform_bins


def slow_lbp_top(frames: np.ndarray, radii: tuple[int, int, int], points: int) -> np.ndarray:
    """The definition, voxel by voxel: 3 rows of 2^points counts of raw codes."""
    length, height, width = frames.shape
    volume = frames.tolist()

    def brightness(t: float, y: float, x: float) -> float:
        total = 0.0
        for k in {math.floor(t), math.ceil(t)}:
            for j in {math.floor(y), math.ceil(y)}:
                for i in {math.floor(x), math.ceil(x)}:
                    weight = (1 - abs(t - k)) * (1 - abs(y - j)) * (1 - abs(x - i))
                    total += weight * volume[k][j][i]
        return total

    xy, xt, yt = radii
    codes = np.zeros((3, 2**points), int)
    for t in range(max(xt, yt), length - max(xt, yt)):
        for y in range(max(xy, yt), height - max(xy, yt)):
            for x in range(max(xy, xt), width - max(xy, xt)):
                code = [0, 0, 0]
                for p in range(points):
                    # Rounded: 2.9999999999999996 would take a voxel from outside as well.
                    c = round(math.cos(2 * math.pi * p / points), 12)
                    s = round(math.sin(2 * math.pi * p / points), 12)
                    neighbours = (
                        brightness(t, y - xy * s, x + xy * c),
                        brightness(t + xt * s, y, x + xt * c),
                        brightness(t + yt * c, y - yt * s, x),
                    )
                    for plane in range(3):
                        if neighbours[plane] >= volume[t][y][x]:
                            code[plane] += 2**p
                for plane in range(3):
                    codes[plane, code[plane]] += 1
    return codes


def is_uniform(code: int) -> bool:
    bits = f"{code:08b}"
    return sum(bits[i] != bits[i - 1] for i in range(8)) <= 2


def slow_bins(codes: np.ndarray) -> np.ndarray:
    """59 shares a plane from counts of raw codes."""
    uniform = [code for code in range(256) if is_uniform(code)]
    assert len(uniform) == 58
    result = np.zeros((3, 59))
    for plane, row in enumerate(codes):
        for code, count in enumerate(row):
            result[plane, uniform.index(code) if code in uniform else 58] += count
    return result / codes.sum(axis=1, keepdims=True)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("points", [4, 8])
@pytest.mark.parametrize("radii", [(3, 3, 3), (1, 1, 1), (2, 1, 3), (1, 3, 2), (3, 2, 1)])
def test_equals_the_slow_reference(random, radii, points):
    frames = random.uniform(0, 255, (10, 14, 13)).astype(np.float32)
    expected = slow_bins(slow_lbp_top(frames, radii, points))
    result = lbp_top(frames, radii, points)
    assert result.shape == (177,)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result.reshape(3, 59), expected, rtol=1e-6)


@pytest.mark.parametrize("points", [4, 8])
def test_ties_of_integers_equal_the_slow_reference(random, points):
    """Few grey levels: many neighbours are as bright as the centre, exactly."""
    frames = random.integers(0, 3, (9, 16, 15), dtype=np.uint8)
    frames[:, :, 8:] = 1  # and flat places, where interpolation must not round below
    expected = slow_bins(slow_lbp_top(frames * 64, (3, 3, 3), points))
    np.testing.assert_allclose(lbp_top(frames * 64, points=points).reshape(3, 59), expected, 1e-6)


@pytest.mark.parametrize("points", [4, 8])
@pytest.mark.parametrize("plane", [0, 1, 2])
def test_equals_scikit_image_on_single_planes(random, plane, points):
    """Its circle begins to the right and goes round by way of up (lower rows), as ours on XY.

    On XT ours goes by way of later, so rows of time are turned over; on YT, time is its columns.
    """
    frames = random.integers(0, 256, (15, 40, 44), dtype=np.uint8)
    pictures = (frames, frames[::-1].swapaxes(0, 1), frames.transpose(2, 1, 0))[plane]
    inside = (slice(3, -3),) * 3
    counts = np.zeros(256, int)
    for picture in pictures[inside[0]]:
        codes = local_binary_pattern(np.ascontiguousarray(picture), points, 3)[inside[1:]]
        counts += np.bincount(codes.astype(int).ravel(), minlength=256)
    expected = slow_bins(counts[None].repeat(3, axis=0))[plane]
    result = lbp_top(frames, points=points).reshape(3, 59)[plane]
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_bins_are_the_uniform_patterns_in_ascending_order():
    bins = uniform_bins()
    uniform = [code for code in range(256) if is_uniform(code)]
    assert bins[uniform].tolist() == list(range(58))
    assert set(np.delete(bins, uniform)) == {58}


def test_four_points_use_twelve_bins_as_the_papers_features(random):
    frames = random.uniform(0, 255, (10, 40, 40)).astype(np.float32)
    histograms = lbp_top(frames, points=4).reshape(3, 59)
    assert np.count_nonzero(histograms, axis=1).tolist() == [12, 12, 12]
    assert np.count_nonzero(lbp_top(frames, points=8).reshape(3, 59), axis=1).min() > 55


@pytest.mark.parametrize(("points", "all_set"), [(4, 15), (8, 255)])
def test_a_flat_clip_has_all_bits_set(random, points, all_set):
    """Interpolating between equal levels must not round below them."""
    expected = np.eye(59)[[uniform_bins()[all_set]] * 3]
    for level in random.uniform(0, 255, 20).astype(np.float32):
        frames = np.full((7, 9, 9), level)
        np.testing.assert_array_equal(lbp_top(frames, points=points).reshape(3, 59), expected)


# With 4 points a voxel of a ramp has two neighbours that are brighter, of four in the order
# XY right, up, left, down; XT right, later, left, earlier; YT later, up, earlier, down.
# The bin of a code is its place among 0 1 2 3 4 6 7 8 12 14 15 …; 0b1001 has no separate bin.
@pytest.mark.parametrize(
    ("brighter_towards", "bins"),
    [
        # later, down, right
        ((+1, -2, +4), (3, 3, 3)),  # right and up; right and later; later and up
        ((+1, -2, -4), (5, 5, 3)),  # up and left; later and left; later and up
        ((-1, -2, -4), (5, 8, 5)),  # up and left; left and earlier; up and earlier
        ((-1, +2, -4), (8, 8, 8)),  # left and down; left and earlier; earlier and down
        ((-1, +2, +4), (58, 58, 8)),  # right and down; right and earlier; earlier and down
        ((+1, +2, +4), (58, 3, 58)),  # right and down; right and later; later and down
    ],
)
def test_order_of_the_bits(brighter_towards, bins):
    later, down, right = brighter_towards
    t, y, x = np.indices((8, 8, 8)).astype(np.float32)
    histograms = lbp_top(later * t + down * y + right * x, (1, 1, 1), 4).reshape(3, 59)
    np.testing.assert_array_equal(histograms, np.eye(59)[list(bins)])


def test_only_whole_neighbourhoods_count():
    """TIM 10 with a radius of 3 leaves 4 frames; what lies further out has no part in it."""
    random = np.random.default_rng(0)
    frames = random.uniform(0, 255, (10, 12, 11)).astype(np.float32)
    shares = lbp_top(frames) * (4 * 6 * 5)
    np.testing.assert_allclose(shares, np.rint(shares), atol=1e-4)
    assert shares.sum() == pytest.approx(3 * 4 * 6 * 5)
    smallest = frames[:7, :7, :7]
    np.testing.assert_array_equal(np.sort(lbp_top(smallest))[-4:], [0, 1, 1, 1])


def test_contrast_and_brightness_do_not_matter(random):
    frames = random.integers(0, 100, (8, 20, 20)).astype(np.float32)
    np.testing.assert_array_equal(lbp_top(frames * 2 + 16), lbp_top(frames))


def test_refusals():
    frames = np.zeros((10, 20, 20), np.uint8)
    with pytest.raises(UserError, match=r"at least 7 frames of 7x7 pixels.* has 6 frames of 20x20"):
        lbp_top(frames[:6])
    with pytest.raises(UserError, match=r"at least 3 frames of 9x9 pixels.* has 10 frames of 20x8"):
        lbp_top(frames[:, :, :8], (4, 1, 1))
