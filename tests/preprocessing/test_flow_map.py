import numpy as np
import pytest

from atnet_jax.names import FLOWS
from atnet_jax.preprocessing.flow_map import flow_map, optical_strain
from atnet_jax.preprocessing.optical_flow import flow_method


def linear_flow(matrix: list[list[float]]) -> np.ndarray:
    """(u, v) = matrix @ (x, y)."""
    y, x = np.mgrid[:224, :224].astype(np.float32)
    return (np.stack([x, y], -1) @ np.array(matrix, np.float32).T).astype(np.float32)


@pytest.mark.parametrize(
    ("matrix", "strain"),
    [
        ([[0.02, 0], [0, 0]], 0.02),  # u_x
        ([[0, 0], [0, -0.03]], 0.03),  # v_y
        ([[0, 0.02], [0, 0]], 0.02 / np.sqrt(2)),  # u_y
        ([[0, 0], [0.02, 0]], 0.02 / np.sqrt(2)),  # v_x
        ([[0, 0.02], [-0.02, 0]], 0.0),  # a rotation strains nothing
        ([[0.01, 0.02], [0.03, 0.04]], np.sqrt(0.01**2 + 0.04**2 + 0.05**2 / 2)),
    ],
)
def test_strain_of_linear_flows(matrix: list[list[float]], strain: float):
    result = optical_strain(linear_flow(matrix))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, strain, atol=1e-5)


def test_strain_of_a_shift_is_zero():
    assert not optical_strain(np.full((224, 224, 2), 3.0, np.float32)).any()


def test_area_average_and_order_of_channels():
    motion = np.random.default_rng(0).normal(size=(224, 224, 2)).astype(np.float32)
    result = flow_map(motion)
    assert result.shape == (28, 28, 3)
    assert result.dtype == np.float32
    cell = np.s_[5 * 8 : 6 * 8, 17 * 8 : 18 * 8]
    np.testing.assert_allclose(result[5, 17, :2], motion[cell].mean((0, 1)), rtol=1e-5, atol=1e-6)
    assert result[5, 17, 2] == pytest.approx(optical_strain(motion)[cell].mean(), rel=1e-5)


@pytest.mark.parametrize("name", FLOWS)
def test_from_onset_to_apex(shifted, name: str):
    """u is first and positive to the right, v second and positive downwards."""
    result = flow_map(flow_method(name).between(shifted(0, 0), shifted(2, -1)))[4:-4, 4:-4]
    np.testing.assert_allclose(np.median(result, axis=(0, 1)), [2, -1, 0], atol=0.1)
