import math

import numpy as np
import pytest

from atnet_jax import published
from atnet_jax.errors import UserError
from atnet_jax.models import bi_woof as method
from atnet_jax.models.bi_woof import bi_woof, overlapping_slices
from atnet_jax.preprocessing.optical_flow import flow_method
from atnet_jax.preprocessing.prepared_clip import PreparedClip


def slow_ranges(size: int, count: int) -> list[list[int]]:
    """Row or column numbers of each block, as the released code computes them, from 1."""
    share = size // count
    ranges = []
    for k in range(1, count + 1):
        first, last = (k - 1) * share, k * share + 1
        if k == 1:
            first = 1
        if k == count:
            last = size
        ranges.append([number - 1 for number in range(first, last + 1)])
    return ranges


def slow_strain(flow: np.ndarray, y: int, x: int) -> float:
    height, width, _ = flow.shape

    def slope(channel: int, down: int, right: int) -> float:
        y0, y1 = max(y - down, 0), min(y + down, height - 1)
        x0, x1 = max(x - right, 0), min(x + right, width - 1)
        change = float(flow[y1, x1, channel]) - float(flow[y0, x0, channel])
        return change / (y1 - y0 + x1 - x0)

    stretch = slope(0, 0, 1) ** 2 + slope(1, 1, 0) ** 2
    return math.sqrt(stretch + (slope(0, 1, 0) + slope(1, 0, 1)) ** 2 / 2)


def slow_bi_woof(flow: np.ndarray, blocks: int, bins: int) -> np.ndarray:
    height, width, _ = flow.shape
    features = []
    for rows in slow_ranges(height, blocks):
        for columns in slow_ranges(width, blocks):
            histogram, strain = [0.0] * bins, 0.0
            for y in rows:
                for x in columns:
                    u, v = flow[y, x].tolist()
                    degrees = math.degrees(math.atan2(v, u))
                    if degrees == 180:
                        degrees = -180
                    for k in range(bins):
                        if -180 + k * 360 / bins <= degrees < -180 + (k + 1) * 360 / bins:
                            histogram[k] += math.sqrt(u * u + v * v)
                    strain += slow_strain(flow, y, x)
            total = sum(histogram)
            features += [value / total * strain for value in histogram]
    length = math.sqrt(sum(value**2 for value in features))
    return np.array(features) / length


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize(("blocks", "bins"), [(5, 8), (1, 4), (3, 6)])
def test_equals_the_slow_reference(random, blocks, bins):
    flow = random.normal(0.02, 0.1, (23, 31, 2)).astype(np.float32)
    result = bi_woof(flow, blocks, bins)
    assert result.shape == (blocks**2 * bins,)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, slow_bi_woof(flow, blocks, bins), rtol=1e-4)
    assert np.linalg.norm(result) == pytest.approx(1)


@pytest.mark.parametrize(("size", "count"), [(224, 5), (23, 5), (10, 1), (8, 2), (5, 5)])
def test_blocks_are_those_of_the_released_code(size, count):
    ours = [list(range(size)[part]) for part in overlapping_slices(size, count)]
    assert ours == slow_ranges(size, count)


def test_blocks_of_a_crop():
    parts = [(part.start, part.stop) for part in overlapping_slices(224, 5)]
    assert parts == [(0, 45), (43, 89), (87, 133), (131, 177), (175, 224)]


@pytest.mark.parametrize(
    ("u", "v", "expected"),
    [
        (-1, 0, 0),  # left; 180° …
        (-1, -0.0, 0),  # … is -180°
        (-1, -1, 1),  # an edge belongs to the bin that begins there
        (0, -1, 2),  # up
        (1, -1, 3),
        (1, 0, 4),  # right
        (2, 1, 4),
        (1, 1, 5),
        (0, 1, 6),  # down
        (-1, 1, 7),
    ],
)
def test_where_the_bins_are(u, v, expected):
    """Motion that grows along the picture has strain; a shift has none."""
    growth = np.arange(1, 13, dtype=np.float32)[:, None, None]
    flow = np.broadcast_to(growth * np.array([u, v], np.float32), (12, 12, 2))
    blocks = bi_woof(np.ascontiguousarray(flow), 2).reshape(4, 8)
    np.testing.assert_array_equal(blocks > 0, np.eye(8, dtype=bool)[[expected] * 4])


def test_weighted_by_strain_between_blocks():
    """Left, u grows by 0.1 a pixel; right, by 0.2: twice the strain, the same direction."""
    rate = np.repeat([0.1, 0.2], 20)
    flow = np.zeros((40, 40, 2), np.float32)
    flow[..., 0] = 1 + np.cumsum(rate)
    left, right = bi_woof(flow, 2).reshape(2, 2, 8)[0, :, 4]
    # Both have 21 columns, as neighbours share two; derivatives are central.
    ours = 19 * 0.1 + 0.15 + 0.2
    assert right / left == pytest.approx((20 * 0.2 + 0.15) / ours, rel=1e-4)


def test_the_flows_scale_does_not_matter(random):
    flow = random.normal(size=(30, 30, 2)).astype(np.float32)
    np.testing.assert_allclose(bi_woof(flow * 8), bi_woof(flow), rtol=1e-5)


def test_blocks_without_motion_are_zero():
    np.testing.assert_array_equal(bi_woof(np.zeros((20, 20, 2), np.float32)), np.zeros(200))
    flow = np.zeros((20, 20, 2), np.float32)
    flow[1, 1] = 1e-3, 0
    assert bi_woof(flow).tolist() == [float(k == 4) for k in range(200)]
    shift = np.ones((20, 20, 2), np.float32)  # motion, but no strain
    np.testing.assert_array_equal(bi_woof(shift), np.zeros(200))


def test_features_of_a_clip(random):
    flow = random.normal(size=(224, 224, 2)).astype(np.float32)
    features = method.Features()(PreparedClip("clip", flow=flow), flow_method("dis"))
    np.testing.assert_array_equal(features, bi_woof(flow, 5, 8))
    assert features.shape == (200,)


def test_machine_is_linear_and_separates_pairs_of_classes(random):
    labels = np.repeat([0, 1, 2], 20)
    clips = np.eye(3)[labels] + random.normal(0, 0.2, (60, 3))
    machine = method.Features().machine().fit(clips, labels)
    np.testing.assert_allclose(
        machine.decision_function(clips), clips @ machine.coef_.T + machine.intercept_, atol=1e-6
    )
    assert machine.C == 10_000


def test_published_figures_are_of_the_composite():
    assert set(method.PUBLISHED.cde) == set(published.COMPOSITE)


def test_refusals():
    flow = np.zeros((20, 30, 2), np.float32)
    with pytest.raises(UserError, match=r"20 pixels .* 21 blocks\. Choose 1 to 20 blocks"):
        bi_woof(flow, 21)
    with pytest.raises(UserError, match="into 0 blocks"):
        bi_woof(flow, 0)
