import cv2
import numpy as np
import pytest

from atnet_jax.errors import UserError
from atnet_jax.names import DEFAULT_FLOW, FLOWS
from atnet_jax.preprocessing.optical_flow import _METHODS, flow_method


def test_unknown_method_lists_the_known():
    with pytest.raises(UserError, match=r"'tvl1'\. Choose one of spatiotemporal, paper, "):
        flow_method("tvl1")
    assert tuple(_METHODS) == FLOWS


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize(("right", "down"), [(0.4, 0), (-0.4, 0), (0, 0.4), (0, -0.4), (2.5, -1.5)])
def test_direction_and_size(shifted, name: str, right: float, down: float):
    flow = flow_method(name).between(shifted(0, 0), shifted(right, down))
    assert flow.shape == (224, 224, 2)
    assert flow.dtype == np.float32
    u, v = np.median(flow[30:-30, 30:-30], axis=(0, 1))
    # OpenCV's FAST sees small motions a sixth too large.
    tolerance = (0.2 if name == "dis_fast" else 0.12) * max(abs(right), abs(down))
    assert u == pytest.approx(right, abs=tolerance)
    assert v == pytest.approx(down, abs=tolerance)


@pytest.mark.parametrize("name", FLOWS)
def test_equal_frames_do_not_move(shifted, name: str):
    """Not even at the border, beyond which OpenCV's Farnebäck takes the image to be black."""
    flow = flow_method(name).between(shifted(0, 0), shifted(0, 0))
    assert np.abs(flow).mean() < 1e-4
    assert np.abs(flow).max() < 5e-3


@pytest.mark.parametrize("name", FLOWS)
def test_low_contrast_does_not_shorten_the_flow(shifted, name: str):
    """As OpenCV's Farnebäck does by itself, to less than half here."""

    def smooth(image: np.ndarray) -> np.ndarray:
        wide = np.pad(image, 40, mode="wrap")
        return cv2.GaussianBlur(wide, (0, 0), 3)[40:-40, 40:-40]

    flow = flow_method(name).between(smooth(shifted(0, 0)), smooth(shifted(1, 0)))
    assert np.median(flow[30:-30, 30:-30, 0]) == pytest.approx(1, rel=0.2)


@pytest.mark.parametrize("name", FLOWS)
def test_calls_do_not_influence_each_other(shifted, name: str):
    method = flow_method(name).between
    pair = shifted(0, 0), shifted(0.3, 0.1)
    before = method(*pair)
    kept = before.copy()
    method(shifted(0, 0), shifted(-3, 2))
    np.testing.assert_array_equal(method(*pair), kept)
    np.testing.assert_array_equal(before, kept)


def test_the_default_sees_three_hundredths_of_a_pixel(shifted):
    """The motion between frames of CASME II, with a camera's noise and 8-bit grey levels."""
    frames = np.stack([shifted(0.03 * n, 0, 0.7, seed=n) for n in range(12)])
    u, v = flow_method(DEFAULT_FLOW).flows(frames).mean(axis=(1, 2)).T
    np.testing.assert_allclose(u, 0.03, atol=0.006)
    np.testing.assert_allclose(v, 0, atol=0.006)
