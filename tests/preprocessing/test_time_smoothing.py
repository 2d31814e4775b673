import numpy as np
import pytest

from atnet_jax.preprocessing.optical_flow import FlowMethod
from atnet_jax.preprocessing.time_smoothing import even_light, reach, smooth, smoothing_weights


@pytest.mark.parametrize("sigma", [0.7, 1.5, 3.0])
def test_steady_change_stays_as_it_is_even_at_the_ends(sigma):
    numbers = range(100, 120)
    course = np.linspace(20, 60, 20, dtype=np.float32)
    frames = np.tile(course[:, None, None], (1, 4, 5))
    np.testing.assert_allclose(smooth(frames, numbers, numbers, sigma), frames, rtol=1e-5)


def test_inside_a_clip_it_is_a_gaussian_filter():
    weights = smoothing_weights(range(41), [20], 2.0)[0]
    time = np.arange(-20, 21)
    expected = np.exp(-0.5 * (time / 2) ** 2) * (np.abs(time) <= reach(2.0))
    np.testing.assert_allclose(weights, expected / expected.sum(), atol=1e-12)


def test_noise_falls_as_the_weights_say():
    noise = np.random.default_rng(0).normal(size=(41, 100, 100)).astype(np.float32)
    smoothed = smooth(noise, range(41), [20], 3.0)
    # The variance left by a Gaussian filter: 1 / (2 sigma sqrt(pi)).
    assert smoothed.var() == pytest.approx(1 / (6 * np.sqrt(np.pi)), rel=0.08)


def test_frames_that_are_not_there_have_no_part():
    """The onset and a window that begins later: each is smoothed with what lies near it."""
    frames = np.array([10, 12, 200, 202, 204], np.float32).reshape(-1, 1, 1)
    smoothed = smooth(frames, [0, 1, 50, 51, 52], [0, 51], 1.5).ravel()
    np.testing.assert_allclose(smoothed, [10, 202], rtol=1e-5)


def test_a_frame_without_neighbours_stays():
    frames = np.array([7, 9], np.float32).reshape(2, 1, 1)
    np.testing.assert_allclose(smooth(frames, [0, 100], [0, 100], 2.0), frames)


def test_odd_frames_that_are_brighter_are_evened_out():
    frames = (100 + 8 * (-1.0) ** np.arange(40)).astype(np.float32).reshape(-1, 1, 1)
    inner = smooth(frames, range(40), range(10, 30), 1.5)
    assert np.abs(inner - 100).max() < 0.1


def test_light_that_drifts_is_evened_out_and_motion_stays():
    rng = np.random.default_rng(0)
    picture = rng.uniform(40, 200, (60, 60)).astype(np.float32)
    frames = np.tile(picture, (9, 1, 1))
    frames[:, 20:30, 20:30] += np.linspace(0, 30, 9, dtype=np.float32)[:, None, None]
    gain = np.linspace(0.98, 1.02, 9, dtype=np.float32)[:, None, None]
    evened = even_light(frames * gain)
    # The light of the clip's mean, to which what moves does not belong.
    np.testing.assert_allclose(evened, frames, rtol=2e-3)
    assert np.ptp(evened[:, 0, 0]) < 1e-3 * picture[0, 0]
    assert evened.dtype == np.float32


def test_a_black_clip_stays_black():
    assert not even_light(np.zeros((3, 30, 30), np.float32)).any()


def test_a_method_smooths_or_takes_frames_as_they_are():
    asked = []

    def solve(first, second):
        asked.append((first, second))
        return np.zeros((*first.shape, 2), np.float32)

    frames = np.random.default_rng(0).integers(0, 255, (6, 16, 16)).astype(np.uint8)
    plain, smoothing = FlowMethod(solve), FlowMethod(solve, sigma=1.5)
    assert (plain.reach, smoothing.reach) == (0, reach(1.5))
    assert plain.flows(frames).shape == (5, 16, 16, 2)
    np.testing.assert_array_equal(asked[0][0], frames[:-1])
    np.testing.assert_array_equal(asked[0][1], frames[1:])
    smoothing.flows(frames)
    expected = even_light(smooth(frames.astype(np.float32), range(6), range(6), 1.5))
    np.testing.assert_allclose(asked[1][1], expected[1:], rtol=1e-5)
    np.testing.assert_array_equal(
        plain.smooth(frames, [3, 4, 5, 9, 10, 11], [4, 11]), frames[[1, 5]].astype(np.float32)
    )
