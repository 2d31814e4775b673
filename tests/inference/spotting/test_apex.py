import sys
from subprocess import run

import cv2
import numpy as np
import pytest

from atnet_jax.errors import UserError
from atnet_jax.inference import spotting
from atnet_jax.inference.spotting.apex import divide_and_conquer, local_maxima
from atnet_jax.names import SPOTTERS
from tests.inference.spotting.made_videos import BROW, film, pulse

FRAMES, TRUE = 40, 16


def course():
    return pulse(FRAMES, 0, TRUE, FRAMES - 1)


def near(method):
    return 1 if method == "flow" else 3


@pytest.mark.parametrize("method", SPOTTERS)
@pytest.mark.parametrize("change", ["none", "brow", "head", "blink", "light"])
def test_apex_is_found_whatever_else_changes(method, change):
    options = {
        "none": {},
        "brow": {"centre": BROW},
        "head": {"head": (5.0, -4.0)},
        "blink": {"blink": pulse(FRAMES, 24, 30, 36)},
        "light": {"gain": 1 - 0.2 * pulse(FRAMES, 24, 30, 36)},
    }[change]
    apex = spotting.spot_apex(film(course(), **options), 200.0, method=method)
    assert abs(apex.index - TRUE) <= near(method)
    assert apex.strength.shape == (FRAMES,)
    assert apex.strength[0] == pytest.approx(0, abs=1e-6)
    assert apex.strength.dtype == np.float32


def test_flow_is_measured_in_pixels_of_the_crop():
    one, two = (
        spotting.spot_apex(film(course(), pixels=pixels), 200.0).strength.max()
        for pixels in (1.0, 2.0)
    )
    assert two == pytest.approx(2 * one, rel=0.15)
    # The patch moves two pixels at its middle; its neighbourhood is a part of the regions.
    assert 0.1 < two < 0.8


def test_head_that_moves_far_and_turns_is_no_expression():
    still = film(np.zeros(FRAMES), noise=0.0)
    turned = np.stack(
        [
            cv2.warpAffine(
                frame,
                cv2.getRotationMatrix2D((112, 120), 0.08 * t, 1 + 0.0005 * t)
                + [[0, 0, 0.2 * t]] * 2,
                (224, 224),
                borderMode=cv2.BORDER_REFLECT_101,
            )
            for t, frame in enumerate(still)
        ]
    )
    # Its parts move by at least 9 pixels; at most a twentieth of this may remain.
    assert spotting.spot_apex(turned, 200.0).strength.max() < 0.45


def test_light_is_no_motion():
    gain = np.linspace(0.9, 1.1, FRAMES)
    steady, drifting = (
        spotting.spot_apex(film(course(), gain=light, noise=0.0), 200.0).strength
        for light in (None, gain)
    )
    assert np.abs(drifting - steady).max() < 0.04 * steady.max()


@pytest.mark.parametrize("method", SPOTTERS)
def test_short_and_constant_videos(method):
    frame = film([0.0])
    one = spotting.spot_apex(frame, 200.0, method=method)
    assert one.index == 0
    assert one.strength == pytest.approx([0], abs=1e-6)
    assert spotting.spot_apex(np.repeat(frame, 2, axis=0), 30.0, method=method).index in (0, 1)
    constant = spotting.spot_apex(np.repeat(frame, 9, axis=0), 30.0, method=method)
    assert np.abs(constant.strength).max() < 1e-3
    black = spotting.spot_apex(np.zeros((5, 224, 224), np.uint8), 30.0, method=method)
    assert np.abs(black.strength).max() < 1e-3


@pytest.mark.parametrize("frame_rate", [25.0, 100.0, 500.0])
def test_frame_rates(frame_rate):
    frames = max(8, round(0.2 * frame_rate))
    true = round(0.4 * frames)
    crops = film(pulse(frames, 0, true, frames - 1))
    assert abs(spotting.spot_apex(crops, frame_rate).index - true) <= max(1, 0.05 * frames)


def test_clips_that_cannot_be_spotted_are_rejected():
    crops = film([0.0])
    with pytest.raises(
        UserError, match=r"Unknown spotting method 'magic'\. Choose one of flow, lbp"
    ):
        spotting.spot_apex(crops, 200.0, method="magic")
    for rate in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match=r"frame rate is .* above 0"):
            spotting.spot_apex(crops, rate)
    with pytest.raises(UserError, match="has no frames"):
        spotting.spot_apex(crops[:0], 200.0)


def halving(values):
    """Divide and conquer, written plainly."""
    peaks = {
        i: values[i]
        for i in range(1, len(values) - 1)
        if values[i - 1] < values[i] and values[i] > values[i + 1]
    }
    if not peaks:
        return max(range(len(values)), key=lambda i: values[i])
    low, high = 0, len(values)
    while True:
        inside = [i for i in peaks if low <= i < high]
        if len(inside) == 1:
            return inside[0]
        half = (low + high) // 2
        first = sum(peaks[i] for i in inside if i < half)
        second = sum(peaks[i] for i in inside if i >= half)
        low, high = (low, half) if first >= second else (half, high)


def test_divide_and_conquer_agrees_with_a_plain_reference():
    rng = np.random.default_rng(0)
    for _ in range(300):
        # Distinct values; plateaus are tested below.
        values = rng.permutation(int(rng.integers(1, 40))) / 7 + 0.1
        assert divide_and_conquer(values) == halving(values.tolist())


def test_divide_and_conquer_is_not_the_largest_value():
    # The later half holds the largest value, the earlier one the larger sum.
    values = np.array([0, 3, 0, 3, 0, 0, 0, 4, 0, 0.0])
    assert divide_and_conquer(values) == 1
    assert divide_and_conquer(np.array([0.0, 1, 2, 3])) == 3


def test_local_maxima_take_a_plateau_once():
    assert local_maxima(np.array([0, 1, 1, 0, 2, 2, 3, 1, 1.0])).tolist() == [1, 6]
    assert local_maxima(np.array([3, 1, 2.0])).tolist() == []
    assert local_maxima(np.array([1.0])).tolist() == []


def test_spotting_needs_no_jax():
    program = "import sys, atnet_jax.inference.spotting; sys.exit('jax' in sys.modules)"
    assert run([sys.executable, "-c", program], check=False).returncode == 0
