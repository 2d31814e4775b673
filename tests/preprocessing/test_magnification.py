import numpy as np
import pytest

from atnet_jax.preprocessing.magnification import ASSUMED_FRAME_RATE, magnify
from tests.reference import magnification as reference


def waves(displacement, wavelength=32.0, side=96):
    """Return a pattern of waves, displaced to the right by a number of pixels in each frame."""
    x = np.arange(side) - np.asarray(displacement)[:, None]
    rows = 128 + 60 * np.sin(2 * np.pi * x / wavelength)
    return np.repeat(rows[:, None], side, axis=1).astype(np.float32)


def measured(frames, wavelength=32.0):
    """How far the waves are moved, from their phase, against the first frame."""
    x = np.arange(frames.shape[2])
    wave = np.exp(-2j * np.pi * x / wavelength)
    phase = np.angle((frames[:, frames.shape[1] // 2] - 128) @ wave)
    return -(np.unwrap(phase) - phase[0]) * wavelength / (2 * np.pi)


def course(cycles, count, amplitude):
    """Return a sine motion with a number of whole cycles, starting at its turning point."""
    return amplitude * np.cos(2 * np.pi * cycles * (np.arange(count) + 0.5) / count)


@pytest.mark.parametrize("alpha", [2.0, 4.0, 8.0])
def test_sine_motion_comes_out_larger_by_its_factor(alpha):
    motion = course(2, 20, 0.1)  # At 100 frames a second 10 Hz.
    # A cut-off this small has all levels but the finest and the coarsest magnified in full.
    out = measured(magnify(waves(motion), 100.0, alpha, 4.0))
    expected = (1 + alpha) * (motion - motion[0])
    np.testing.assert_allclose(out, expected, atol=0.05 * np.ptp(expected))


@pytest.mark.parametrize(("cycles", "rate"), [(1, 100.0), (20, 100.0), (5, 400.0), (5, 20.0)])
def test_motion_outside_the_band_stays_as_it_is(cycles, rate):
    clip = waves(course(cycles, 50, 0.2))
    np.testing.assert_allclose(magnify(clip, rate, 10.0), clip, atol=0.3)
    inside = magnify(clip, rate, 10.0, band=(cycles * rate / 50, cycles * rate / 50))
    assert np.abs(inside - clip).max() > 5


def test_fine_structures_are_magnified_less():
    motion = course(2, 20, 0.1)

    def factor(wavelength, cutoff):
        out = magnify(waves(motion, wavelength), 100.0, 8.0, cutoff)
        return np.ptp(measured(out, wavelength)) / np.ptp(motion)

    assert 9 > factor(32.0, 16.0) > 6 > factor(16.0, 16.0) > 3 > factor(6.0, 16.0) > 1.2
    assert factor(16.0, 4.0) > 7 > factor(16.0, 8.0) > 5 > factor(16.0, 40.0) > 1.2


@pytest.mark.parametrize("shape", [(5, 41, 64), (12, 33, 20), (9, 4, 30), (1, 16, 16)])
def test_against_the_pyramid_out_of_loops(shape):
    frames = np.random.default_rng(0).uniform(0, 255, shape)
    for alpha, cutoff in ((3.0, 16.0), (30.0, 40.0), (0.5, 60.0)):
        out = magnify(frames, 50.0, alpha, cutoff, (4.0, 21.0))
        expected = reference.magnify(frames, 50.0, alpha, cutoff, (4.0, 21.0))
        np.testing.assert_allclose(out, expected, atol=2e-3 * (1 + alpha))


def test_both_ends_of_the_band_are_in_it():
    clip = waves(course(5, 50, 0.2)) + waves(course(10, 50, 0.2))
    both = magnify(clip, 100.0, 4.0, band=(10.0, 20.0)) - clip
    each = [magnify(clip, 100.0, 4.0, band=(f, f)) - clip for f in (10.0, 20.0)]
    assert all(np.abs(part).max() > 5 for part in each)
    assert np.abs(both).max() > max(np.abs(part).max() for part in each)


@pytest.mark.parametrize("count", [1, 3, 20])
def test_a_still_clip_stays_to_the_bit(count):
    frame = np.random.default_rng(0).integers(0, 256, (40, 50), np.uint8)
    still = np.repeat(frame[None], count, axis=0)
    out = magnify(still, 100.0, 30.0)
    assert out.dtype == np.float32
    assert np.array_equal(out, still)


def test_three_frames_are_enough_where_the_band_reaches_them():
    frames = np.random.default_rng(0).integers(0, 256, (3, 40, 40), np.uint8)
    # 50 and 100 frames a second at three frames: 8.3 and 16.7 Hz, 16.7 and 33 Hz.
    assert np.abs(magnify(frames, 50.0, 5.0) - frames).max() > 10
    assert np.abs(magnify(frames, 100.0, 5.0) - frames).max() > 10
    # 200: 33 and 67 Hz, both above the band.
    assert np.array_equal(magnify(frames, 200.0, 5.0), frames)


def test_unknown_frame_rate_is_taken_for_the_usual_one():
    clip = waves(course(5, 80, 0.2))
    assert ASSUMED_FRAME_RATE == 200
    assert np.array_equal(magnify(clip, 0.0, 5.0), magnify(clip, 200.0, 5.0))
    assert not np.array_equal(magnify(clip, 0.0, 5.0), magnify(clip, 100.0, 5.0))


def test_frames_given_are_left_alone():
    clip = waves(course(5, 50, 0.2))
    before = clip.copy()
    magnify(clip, 100.0, 5.0)
    assert np.array_equal(clip, before)
