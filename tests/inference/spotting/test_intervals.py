import numpy as np
import pytest

from atnet_jax.inference import spotting
from atnet_jax.inference.spotting.intervals import (
    Candidate,
    _flank,
    _without_nested,
    contrast,
    noise_floor,
)
from atnet_jax.inference.spotting.signals import Signal, _smooth, euclidean
from atnet_jax.names import SPOTTERS
from benchmarks.apex_spotting import overlap, right
from tests.inference.spotting.made_videos import BROW, film, pulse

RATE = 30.0
FIRST, SECOND = (20, 26, 33), (56, 62, 67)
FRAMES = 90


def two():
    return pulse(FRAMES, *FIRST) + pulse(FRAMES, *SECOND)


def shares(timeline):
    return [
        overlap((c.onset, c.offset), (t[0], t[2]))
        for c, t in zip(timeline.candidates, (FIRST, SECOND), strict=True)
    ]


@pytest.mark.parametrize("method", SPOTTERS)
def test_two_expressions_are_two_candidates(method):
    timeline = spotting.spot_intervals(film(two(), pixels=3.0), RATE, method=method)
    assert min(shares(timeline)) >= 0.6
    for candidate, (_, apex, _) in zip(timeline.candidates, (FIRST, SECOND), strict=True):
        assert abs(candidate.apex - apex) <= 2
        assert candidate.onset < candidate.apex < candidate.offset
        assert candidate.strength > timeline.threshold
    assert timeline.strength.shape == (FRAMES,)
    assert timeline.strength.min() >= 0


@pytest.mark.parametrize("change", ["head", "light", "brow"])
def test_two_expressions_whatever_else_changes(change):
    options = {
        "head": {"head": (14.0, -9.0)},
        "light": {"gain": np.linspace(1, 1.15, FRAMES)},
        "brow": {"centre": BROW},
    }[change]
    assert min(shares(spotting.spot_intervals(film(two(), **options), RATE))) >= 0.5


def test_a_blink_is_no_third():
    longer = np.concatenate([two(), np.zeros(50)])
    crops = film(longer, blink=pulse(len(longer), 105, 109, 114))
    assert min(shares(spotting.spot_intervals(crops, RATE))) >= 0.5


@pytest.mark.parametrize(
    ("method", "change"),
    [(m, c) for m in SPOTTERS for c in ("noise", "blink", "constant")] + [("flow", "head")],
)
def test_nothing_is_found_where_nothing_happens(method, change):
    still = np.zeros(FRAMES)
    crops = {
        "noise": lambda: film(still, noise=2.0),
        "head": lambda: film(still, head=(12.0, 10.0)),
        "blink": lambda: film(still, blink=pulse(FRAMES, 40, 44, 49)),
        "constant": lambda: np.repeat(film([0.0]), FRAMES, axis=0),
    }[change]()
    assert spotting.spot_intervals(crops, RATE, method=method).candidates == ()


@pytest.mark.parametrize("frames", [1, 2, 3, 10])
@pytest.mark.parametrize("method", SPOTTERS)
def test_short_videos(frames, method):
    timeline = spotting.spot_intervals(film(np.zeros(frames)), 200.0, method=method)
    assert timeline.candidates == ()
    assert len(timeline.strength) == frames


def test_a_slow_movement_is_no_micro_expression():
    # One and a half seconds up and as long down.
    quick = spotting.spot_intervals(film(pulse(FRAMES, 40, 45, 51)), RATE)
    slow = spotting.spot_intervals(film(pulse(FRAMES, 0, 45, 89)), RATE)
    assert len(quick.candidates) == 1
    assert slow.candidates == ()
    assert slow.strength.max() < 0.2 * quick.strength.max()


def synthetic(course, noise=0.0, reach=0):
    """A signal of three parts, of which one moves."""
    features = noise * np.random.default_rng(0).normal(size=(len(course), 3, 2))
    features[:, 0, 0] += course
    return Signal(features.astype(np.float32), reach, 0.0, euclidean, euclidean)


def test_contrast_by_hand():
    values = np.zeros(60)
    values[30] = 1.0
    raw = contrast(synthetic(values), 5)
    # At the peak the difference is 1; at k before and after it is half of that.
    expected = np.zeros(60)
    expected[30], expected[[25, 35]], expected[[20, 40]] = 0.5, 0.0, -0.25
    np.testing.assert_allclose(raw, expected, atol=1e-6)


def test_steady_motion_has_no_contrast():
    raw = contrast(synthetic(np.arange(100.0)), 8)
    np.testing.assert_allclose(raw[16:-16], 0, atol=1e-4)


def test_only_the_strongest_third_of_the_parts_counts():
    values = np.zeros(60)
    values[30] = 1.0
    watched = synthetic(values)
    doubled = np.concatenate([watched.features, 0 * watched.features], axis=1)
    other = Signal(doubled, 0, 0.0, euclidean, euclidean)
    assert contrast(other, 5)[30] == pytest.approx(contrast(watched, 5)[30] / 2)


def test_noise_at_the_ends_is_not_contrast():
    noise = np.random.default_rng(0).normal(size=(2000, 60, 2)).astype(np.float32)
    features, reach = _smooth(noise, 4.0)
    raw = contrast(Signal(features, reach, 0.0, euclidean, euclidean), 20)
    assert max(raw[:40].max(), raw[-40:].max()) < raw[40:-40].max()


def test_noise_floor():
    rng = np.random.default_rng(0)
    raw = rng.normal(1.0, 2.0, 100_000)
    assert noise_floor(raw) == pytest.approx(1 + 5 * 2, rel=0.03)
    # A quarter of the frames in an expression hardly moves it.
    raw[:25_000] += 100
    assert noise_floor(raw) < 18


def test_a_flank_is_drawn_to_its_foot():
    straight = np.interp(np.arange(30), [0, 20], [1.0, 0.0])
    assert _flank(straight) == 20
    assert _flank(np.array([1.0])) == 0
    # A curve that falls ever more slowly: 80 % after 2 frames, 20 % after 9.
    assert _flank(np.exp(-np.arange(60) / 5)) == round(9 + 7 / 3)
    # It ends at the minimum even where the line would go on.
    assert _flank(np.array([1, 0.9, 0.8, 0.75, 0.0])) == 4


def test_candidates_within_a_stronger_one_are_left_out():
    strong, weak, after = (
        Candidate(10, 20, 30, 2.0),
        Candidate(25, 28, 40, 1.0),
        Candidate(31, 35, 40, 0.5),
    )
    assert _without_nested([strong, weak, after]) == (strong, after)
    early = Candidate(1, 2, 3, 0.1)
    assert _without_nested([strong, early]) == (early, strong)


def test_overlap_and_matches():
    assert overlap((0, 9), (0, 9)) == 1
    assert overlap((0, 9), (5, 14)) == pytest.approx(5 / 15)
    assert overlap((0, 9), (10, 14)) == 0
    # Two found for one true interval count once.
    assert right([(0, 9), (1, 9)], [(0, 9)]) == 1
    assert right([(0, 9), (20, 29)], [(0, 9), (21, 29), (50, 60)]) == 2
    assert right([(0, 9)], [(6, 20)]) == 0
    assert right([], [(0, 1)]) == 0
