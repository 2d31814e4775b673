import math

import numpy as np
import pytest

from atnet_jax.models.riesz import Features, monogenic, monogenic_histograms
from atnet_jax.preprocessing.optical_flow import flow_method
from atnet_jax.preprocessing.prepared_clip import PreparedClip


def slow_waves(frame: np.ndarray, scale: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Band and Riesz transform by the discrete Fourier transform written out."""
    height, width = frame.shape
    rows = np.concatenate([frame, frame[::-1]])
    picture = np.concatenate([rows, rows[:, ::-1]], axis=1).astype(float)
    waves = np.zeros((3, height, width))
    y, x = np.mgrid[: 2 * height, : 2 * width]
    for j in range(-height, height):
        for i in range(-width, width):
            wy, wx = math.pi * j / height, math.pi * i / width
            radius = math.sqrt(wx**2 + wy**2)
            if not math.pi / 4 < 2**scale * radius <= math.pi:
                continue
            gain = math.cos(math.pi / 2 * math.log2(2 * 2**scale * radius / math.pi))
            phases = wy * y + wx * x
            cosine, sine = (picture * np.cos(phases)).mean(), (picture * np.sin(phases)).mean()
            inner = phases[:height, :width]
            # One wave of the picture, and that wave a quarter later: the sine of a cosine.
            wave = cosine * np.cos(inner) + sine * np.sin(inner)
            quarter = cosine * np.sin(inner) - sine * np.cos(inner)
            waves[0] += gain * wave
            waves[1] += gain * wx / radius * quarter
            waves[2] += gain * wy / radius * quarter
    return waves[0], waves[1], waves[2]


def slow_histograms(frames: np.ndarray, scales: int, blocks: int, parts: int) -> np.ndarray:
    length, height, width = frames.shape
    totals = np.zeros((scales, parts, blocks, blocks, 3, 8))

    def place(position: int, size: int, count: int) -> int:
        return next(k for k in range(count) if position < size * (k + 1) // count)

    for scale in range(scales):
        for t in range(length):
            waves = slow_waves(frames[t], scale)
            for y in range(height):
                for x in range(width):
                    f, r_x, r_y = (float(wave[y, x]) for wave in waves)
                    odd = math.sqrt(r_x**2 + r_y**2)
                    magnitude = math.sqrt(f**2 + odd**2)
                    phase = math.degrees(math.atan2(odd, f))
                    orientation = math.degrees(math.atan2(r_y, r_x))
                    cuboid = totals[
                        scale,
                        place(t, length, parts),
                        place(y, height, blocks),
                        place(x, width, blocks),
                    ]
                    cuboid[0, sum(magnitude >= edge for edge in (1, 2, 4, 8, 16, 32, 64))] += 1
                    cuboid[1, min(int(phase / 22.5), 7)] += magnitude
                    for k in range(8):
                        if (orientation - 45 * k + 22.5) % 360 < 45:
                            cuboid[2, k] += odd
    return (totals / totals.sum(axis=-1, keepdims=True)).ravel()


def grating(across: float, down: float, amplitude: float, shape: tuple[int, int]) -> np.ndarray:
    """Return a cosine with whole half periods between the borders, which mirroring continues."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    wave = np.cos(math.pi * across * x / shape[1]) * np.cos(math.pi * down * y / shape[0])
    return (amplitude * wave).astype(np.float32)[None]


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize(("scales", "blocks", "parts"), [(2, 1, 2), (1, 3, 1)])
def test_equals_the_slow_reference(random, scales, blocks, parts):
    frames = random.integers(0, 256, (3, 12, 15), dtype=np.uint8)
    result = monogenic_histograms(frames, scales, blocks, parts)
    assert result.shape == (scales * blocks**2 * parts * 24,)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, slow_histograms(frames, scales, blocks, parts), atol=1e-5)


def test_waves_equal_the_slow_reference(random):
    frames = random.uniform(0, 255, (2, 11, 14)).astype(np.float32)
    for scale, waves in enumerate(monogenic(frames, 3)):
        for index, frame in enumerate(frames):
            for ours, theirs in zip(waves, slow_waves(frame, scale), strict=True):
                np.testing.assert_allclose(ours[index], theirs, atol=1e-3)


@pytest.mark.parametrize("scale", [0, 1, 2])
def test_riesz_transform_of_a_grating_is_its_sine(scale):
    """In the middle of the band the gain is 1; of the neighbours' there is nothing."""
    half_periods = 64 // 2**scale  # of 128 pixels: waves of 4, 8 and 16 pixels
    waves = list(monogenic(grating(half_periods, 0, 20, (96, 128)), 3))
    x = np.arange(128) + 0.5
    for k, (f, r_x, r_y) in enumerate(waves):
        on = 20.0 * (k == scale)
        np.testing.assert_allclose(
            f[0, 50], on * np.cos(math.pi * half_periods * x / 128), atol=1e-3
        )
        np.testing.assert_allclose(
            r_x[0, 50], on * np.sin(math.pi * half_periods * x / 128), atol=1e-3
        )
        np.testing.assert_allclose(r_y, 0, atol=1e-3)


@pytest.mark.parametrize(
    ("across", "down", "orientations"),
    [(32, 0, [0, 4]), (0, 32, [2, 6]), (24, 24, [0, 1, 2, 3, 4, 5, 6, 7])],
)
def test_orientation_is_across_the_stripes(across, down, orientations):
    frames = 128 + grating(across, down, 40, (128, 128))
    magnitude, phase, orientation = monogenic_histograms(frames, 2, 1, 1)[24:].reshape(3, 8)
    assert np.flatnonzero(orientation > 0.01).tolist() == orientations
    if not across or not down:
        assert magnitude.tolist() == [0, 0, 0, 0, 0, 0, 1, 0]  # 40 grey levels: 32…64
        np.testing.assert_allclose(orientation[orientations], 0.5, atol=1e-3)
        np.testing.assert_allclose(phase, 1 / 8, atol=0.13)
        assert phase.sum() == pytest.approx(1)


def test_clear_stripes_outweigh_faint_ones():
    """Stripes side by side of 2 grey levels over each other, and of 40 next to each other."""
    frames = grating(32, 0, 40, (128, 128)) + grating(0, 32, 2, (128, 128))
    orientation = monogenic_histograms(frames, 2, 1, 1)[24:].reshape(3, 8)[2]
    assert orientation[[0, 4]].sum() > 0.9


def test_magnitudes_double_from_bin_to_bin():
    for amplitude, expected in ((0.5, 0), (1.5, 1), (3, 2), (6, 3), (48, 6), (100, 7)):
        frames = grating(64, 0, amplitude, (32, 128))
        histogram = monogenic_histograms(frames, 1, 1, 1)[:8]
        assert histogram.tolist() == [float(k == expected) for k in range(8)]


def test_troughs_have_the_last_phase():
    """Waves of 5 pixels: of every five, two have the phase π/5, two 3π/5, and one is a trough."""
    frames = grating(10, 0, 50, (20, 25))
    f, r_x, r_y = next(monogenic(frames, 1))
    phase = np.arctan2(np.hypot(r_x, r_y), f)[0, 0, :5]
    np.testing.assert_allclose(phase / np.pi, [0.2, 0.6, 1, 0.6, 0.2], atol=1e-5)
    histogram = monogenic_histograms(frames, 1, 1, 1)[8:16]
    np.testing.assert_allclose(histogram, np.array([0, 2, 0, 0, 2, 0, 0, 1]) / 5, atol=1e-3)


def test_grey_added_changes_nothing(random):
    frames = random.integers(0, 100, (4, 40, 44), dtype=np.uint8)
    np.testing.assert_allclose(
        monogenic_histograms(frames + 150, 2, 2, 2),
        monogenic_histograms(frames, 2, 2, 2),
        atol=1e-4,
    )


@pytest.mark.parametrize("level", [0, 100, 255, 33.3])
def test_a_flat_clip_has_neither_phase_nor_orientation(level):
    frames = np.full((3, 50, 40), level, np.float32)
    histograms = monogenic_histograms(frames, 3, 2, 1).reshape(-1, 3, 8)
    np.testing.assert_array_equal(histograms[:, 0], [[1, 0, 0, 0, 0, 0, 0, 0]] * 12)
    np.testing.assert_array_equal(histograms[:, 1:], 0)


def test_borders_are_mirrored():
    """A mirrored ramp continues as a roof, without a step of 200 grey levels at its ends."""
    ramp = np.broadcast_to(np.linspace(0, 200, 128, dtype=np.float32), (1, 64, 128))
    for f, r_x, r_y in monogenic(np.ascontiguousarray(ramp), 2):
        assert max(np.abs(wave).max() for wave in (f, r_x, r_y)) < 3


def test_cuboids_are_in_their_order(random):
    """One part of three and one block of four has texture."""
    frames = np.zeros((9, 64, 64), np.float32)
    frames[3:6, 32:, :32] = random.uniform(0, 255, (3, 32, 32))
    textured = monogenic_histograms(frames, 1, 2, 3).reshape(3, 2, 2, 3, 8)[..., 0, 4:].sum(axis=-1)
    assert textured[1, 1, 0] > 0.8
    assert np.delete(textured.ravel(), 6).max() < 0.4


def test_a_part_without_a_frame_is_zero(random):
    frames = random.uniform(0, 255, (2, 16, 16)).astype(np.float32)
    parts = monogenic_histograms(frames, 1, 1, 3).reshape(3, 24)
    assert parts.any(axis=1).tolist() == [False, True, True]


def test_features_of_a_clip(random):
    frames = random.integers(0, 256, (4, 224, 224), dtype=np.uint8)
    features = Features(length=3)(PreparedClip("clip", frames=frames), flow_method("dis"))
    assert features.shape == (5400,)
    np.testing.assert_allclose(features.reshape(-1, 8).sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(  # The middle one is interpolated.
        features.reshape(3, 3, -1)[:, [0, 2]],
        monogenic_histograms(frames[[0, 3]], 3, 5, 2).reshape(3, 2, -1),
        atol=1e-3,
    )
