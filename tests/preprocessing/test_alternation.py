import numpy as np
import pytest

from atnet_jax.preprocessing.alternation import alternating_part, alternation


def series(kind, pairs=24):
    rng = np.random.default_rng(1)
    direction = rng.normal(size=16)
    sign = (-1.0) ** np.arange(pairs)
    if kind == "alternating":
        return sign[:, None] * direction + rng.normal(0, 0.3, (pairs, 16))
    if kind == "drift":
        return np.tile(direction, (pairs, 1)) + rng.normal(0, 0.3, (pairs, 16))
    if kind == "noise":  # Independent errors of the frames' positions.
        return np.diff(rng.normal(size=(pairs + 1, 16)), axis=0)
    assert kind == "doubled"  # Every frame twice: moving, standing, moving, standing.
    return (sign[:, None] + 1) / 2 * direction


def test_alternation_is_distinguished_from_drift_noise_and_doubled_frames():
    lags = alternation(series("alternating"))
    assert lags is not None and lags[0] < -0.8 and lags[1] > 0.8
    for kind in ("drift", "noise", "doubled"):
        assert alternation(series(kind)) is None, kind
    assert alternation(series("alternating", pairs=7)) is None
    assert alternation(np.zeros((20, 4))) is None


def clip_flows(pairs, displacement, rng, noise=0.02):
    """Flows of a face that speeds up evenly, filmed with odd frames displaced."""
    y, x = np.mgrid[:64, :64] / 64
    motion = np.stack([np.sin(3 * x) * y, np.cos(2 * y)], axis=-1)
    sign = (-1.0) ** np.arange(pairs)[:, None, None, None]
    speed = np.linspace(0.05, 0.2, pairs)[:, None, None, None]
    flows = speed * motion + sign * displacement + noise * rng.normal(size=(pairs, 64, 64, 2))
    return flows.astype(np.float32), (speed * motion).astype(np.float32)


@pytest.mark.parametrize("pairs", [8, 9, 31, 64])
def test_the_alternating_part_is_found_to_a_hundredth_of_a_pixel(pairs):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64] / 64
    displacement = np.stack([0.3 + 0.1 * x, -0.2 + 0 * y], axis=-1)
    flows, motion = clip_flows(pairs, displacement, rng)
    part = alternating_part(flows)
    assert part is not None and part.dtype == np.float32
    assert np.abs(part - displacement).mean() < 0.01
    sign = (-1.0) ** np.arange(pairs)[:, None, None, None]
    # The motion remains, as exactly as the noise allows.
    assert np.abs(flows - sign * part - motion).mean() < 0.025


def test_where_nothing_alternates_there_is_no_such_part():
    rng = np.random.default_rng(0)
    assert alternating_part(clip_flows(20, np.zeros(2), rng)[0]) is None
    assert alternating_part(clip_flows(7, np.array([0.3, 0.0]), rng)[0]) is None
