import math

import numpy as np
import pytest

from atnet_jax.models.hoof import hoof


def slow_hoof(flow: np.ndarray, bins: int) -> list[float]:
    histogram = [0.0] * bins
    for u, v in flow.reshape(-1, 2).tolist():
        degrees = math.degrees(math.atan2(v, u)) % 360
        for k in range(bins):
            if k * 360 / bins <= degrees < (k + 1) * 360 / bins:
                histogram[k] += math.sqrt(u * u + v * v)
    total = math.fsum(histogram)
    return [value / total for value in histogram]


@pytest.mark.parametrize("bins", [1, 4, 6, 8])
def test_equals_the_slow_reference(bins):
    flows = np.random.default_rng(0).normal(0.02, 0.1, (3, 31, 33, 2)).astype(np.float32)
    result = hoof(flows, bins)
    assert result.shape == (3, bins)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, [slow_hoof(flow, bins) for flow in flows], rtol=1e-5)
    np.testing.assert_allclose(result.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("u", "v", "four", "eight"),
    [
        (1, 0, 0, 0),  # right; the first bin begins here
        (2, 1, 0, 0),
        (1, 1, 0, 1),  # an edge belongs to the bin that begins there
        (0, 1, 1, 2),  # down: clockwise in the image
        (-1, 1, 1, 3),
        (-1, 0, 2, 4),
        (-1, -0.0, 2, 4),  # −π is π
        (-1, -1, 2, 5),
        (0, -1, 3, 6),
        (1, -1, 3, 7),
        (1, -1e-9, 3, 7),
        (1, -0.0, 0, 0),
    ],
)
def test_where_the_bins_are(u, v, four, eight):
    flow = np.full((1, 2, 2, 2), [u, v], np.float32)
    for bins, expected in ((4, four), (8, eight)):
        assert hoof(flow, bins).tolist() == [np.eye(bins)[expected].tolist()]


def test_weighted_by_magnitude():
    flow = np.array([[[[3, 4], [-5, -12], [0, 0]]]], np.float32)  # magnitudes 5 and 13
    np.testing.assert_allclose(hoof(flow, 4), [[5 / 18, 0, 13 / 18, 0]], rtol=1e-6)


def test_without_motion_zeros():
    flows = np.zeros((2, 3, 3, 2), np.float32)
    flows[1, 0, 0] = 1e-5, -1e-5
    np.testing.assert_array_equal(hoof(flows, 4), [[0, 0, 0, 0], [0, 0, 0, 1]])


def test_flows_may_come_one_by_one():
    flows = np.random.default_rng(0).normal(size=(3, 5, 5, 2)).astype(np.float32)
    np.testing.assert_array_equal(hoof(iter(flows), 8), hoof(flows, 8))
    assert hoof(iter(()), 8).shape == (0, 8)


@pytest.mark.parametrize("name", ["tim10_4", "tim10_8", "tim64_4", "tim64_8"])
def test_released_features_sum_to_one_for_each_flow(real_data, name):
    """Stored bin by bin, as `hoof` says."""
    with np.load(real_data / "hoof_released.npz", allow_pickle=False) as arrays:
        released = arrays[f"hoof_{name}"].reshape(442, int(name[-1]), -1)
    np.testing.assert_allclose(released.sum(axis=1), 1, atol=1e-5)
