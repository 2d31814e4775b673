import math
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from atnet_jax.preprocessing.adm import adm_matrix, average_direction_magnitude
from atnet_jax.preprocessing.optical_flow import flow_method
from atnet_jax.preprocessing.window import flow_pairs


def slow_adm(flow: np.ndarray, circular: bool) -> list[float]:
    """Equations 5 and 6 of the paper, pixel by pixel."""
    row = []
    for top in range(0, 224, 28):
        for left in range(0, 224, 28):
            directions, magnitudes = [], []
            for y in range(top, top + 28):
                for x in range(left, left + 28):
                    u, v = float(flow[y, x, 0]), float(flow[y, x, 1])
                    directions.append(math.atan2(v, u))
                    magnitudes.append(math.sqrt(u * u + v * v))
            if circular:
                sine = math.fsum(math.sin(d) for d in directions)
                cosine = math.fsum(math.cos(d) for d in directions)
                row.append(math.atan2(sine, cosine))
            else:
                row.append(math.fsum(directions) / len(directions))
            row.append(math.fsum(magnitudes) / len(magnitudes))
    return row


@pytest.mark.parametrize("circular", [False, True])
def test_equals_the_slow_reference(circular: bool):
    flow = np.random.default_rng(0).normal(0.02, 0.1, (224, 224, 2)).astype(np.float32)
    result = average_direction_magnitude(flow, circular=circular)
    assert result.shape == (128,)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, slow_adm(flow, circular), rtol=1e-5, atol=1e-6)


def test_blocks_row_by_row_and_interleaved():
    flow = np.zeros((224, 224, 2), np.float32)
    flow[28:56, 56:84] = 0.0, 0.5  # block row 1, column 2: down
    result = average_direction_magnitude(flow)
    assert dict(zip(np.flatnonzero(result), result[result != 0], strict=True)) == {
        2 * 10: pytest.approx(np.pi / 2),
        2 * 10 + 1: pytest.approx(0.5),
    }


@pytest.mark.parametrize("circular", [False, True])
@pytest.mark.parametrize("u", [0.0, -0.0])
@pytest.mark.parametrize("v", [0.0, -0.0])
def test_no_motion_is_zero(u: float, v: float, circular: bool):
    flow = np.full((224, 224, 2), [u, v], np.float32)
    np.testing.assert_array_equal(average_direction_magnitude(flow, circular=circular), 0)


@pytest.mark.parametrize("v", [0.0, -0.0, 1e-12, -1e-12])
def test_left_is_plus_pi(v: float):
    """(−π, π] excludes −π, which −0.0 and rounding would give."""
    flow = np.full((224, 224, 2), [-0.3, v], np.float32)
    np.testing.assert_allclose(average_direction_magnitude(flow)[::2], np.pi, rtol=1e-6)


def test_means_of_directions_across_the_cut():
    flow = np.zeros((224, 224, 2), np.float32)
    flow[..., 0] = -1
    flow[::2, :, 1] = 0.1
    flow[1::2, :, 1] = -0.1
    np.testing.assert_allclose(average_direction_magnitude(flow)[::2], 0, atol=1e-6)
    circular = average_direction_magnitude(flow, circular=True)[::2]
    np.testing.assert_allclose(np.abs(circular), np.pi, rtol=1e-5)


def test_rows_without_a_flow_are_zero():
    flow = np.full((224, 224, 2), 0.5, np.float32)
    matrix = adm_matrix({19: flow, 58: 2 * flow})
    assert matrix.shape == (64, 128)
    assert np.flatnonzero(matrix.any(axis=1)).tolist() == [19, 58]
    np.testing.assert_array_equal(matrix[58], average_direction_magnitude(2 * flow))


@pytest.fixture(scope="module")
def released(real_data: Path) -> dict[str, np.ndarray]:
    with np.load(real_data / "adm_released.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def test_released_layout(released):
    for clip, matrix in released.items():
        rows = matrix[matrix.any(axis=1)]
        assert matrix.shape == (64, 128), clip
        assert rows[:, 1::2].min() >= 0, clip
        assert rows[:, 0::2].min() < -2, clip  # directions on both sides of 0
        assert -np.pi < rows[:, 0::2].min() < rows[:, 0::2].max() <= np.pi, clip


def test_released_zero_rows(released):
    """The clip's onset, apex and offset are 46, 59 and 86 in the annotation of CASME II."""
    matrix = released["casme2-sub01-EP02_01f"]
    rows = [row for row, _, _ in flow_pairs(46, 59, 86)]
    assert np.flatnonzero(matrix.any(axis=1)).tolist() == rows == list(range(19, 59))


def test_magnitudes_are_of_the_released_order(released, texture):
    """A face-like motion of 0.035 pixels a frame, noise and 8 bits give what CASME II has."""
    random = np.random.default_rng(0)
    motion = np.stack([gaussian_filter(random.standard_normal((224, 224)), 22) for _ in "uv"])
    motion *= 0.035 / np.hypot(*motion).mean()
    y, x = np.mgrid[:224, :224]
    frames = []
    for number in range(12):
        moved = map_coordinates(
            texture, [y - number * motion[1], x - number * motion[0]], order=3, mode="wrap"
        )
        noisy = moved + 0.4 * random.standard_normal((224, 224))
        frames.append(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
    method = flow_method("paper").between
    pairs = [(row, a) for row, a, _ in flow_pairs(0, 5, 11)]
    ours = adm_matrix({row: method(frames[a], frames[a + 1]) for row, a in pairs})
    assert np.flatnonzero(ours.any(axis=1)).tolist() == list(range(27, 38))

    theirs = released["casme2-sub01-EP02_01f"]
    theirs = theirs[theirs.any(axis=1)]
    ours = ours[ours.any(axis=1)]
    ratio = ours[:, 1::2].mean() / theirs[:, 1::2].mean()
    assert 0.5 < ratio < 2
    assert -np.pi < ours[:, 0::2].min() < -1 < 1 < ours[:, 0::2].max() <= np.pi
