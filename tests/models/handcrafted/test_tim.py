import numpy as np
import pytest

from atnet_jax.errors import UserError
from atnet_jax.models.handcrafted.tim import interpolate_frames


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def path_graph_embedding(frames: np.ndarray, length: int) -> np.ndarray:
    """The model as published: embed the frames along a path graph, go along it, map back."""
    n = len(frames)
    pixels = frames.reshape(n, -1).T.astype(np.float64)
    mean = pixels.mean(axis=1, keepdims=True)
    u, s, vt = np.linalg.svd(pixels - mean, full_matrices=False)
    u, y = u[:, : n - 1], s[: n - 1, None] * vt[: n - 1]  # the mean has taken one dimension
    adjacency = np.zeros((n, n))
    for i in range(n - 1):
        adjacency[i, i + 1] = adjacency[i + 1, i] = 1
    laplacian = np.diag(adjacency.sum(axis=1)) - adjacency
    values, vectors = np.linalg.eig(np.linalg.inv(y @ y.T) @ (y @ laplacian @ y.T))
    vectors = vectors[:, np.argsort(values.real)].real
    k = np.arange(1, n)

    def curve(t: float) -> np.ndarray:
        return np.sin(np.pi * k * t + np.pi * (n - k) / (2 * n))

    scale = (y[:, 0] @ vectors) / curve(1 / n)
    back = u @ np.linalg.inv(vectors.T)
    columns = [back @ (scale * curve(t)) + mean[:, 0] for t in np.linspace(1 / n, 1, length)]
    return np.stack(columns).reshape(length, *frames.shape[1:])


@pytest.mark.parametrize(
    ("count", "length"), [(12, 10), (30, 64), (2, 10), (3, 64), (71, 10), (10, 10)]
)
def test_equals_the_graph_embedding(random, count, length):
    frames = random.uniform(80, 180, (count, 11, 13))
    expected = path_graph_embedding(frames, length)
    assert 0 < expected.min() < expected.max() < 255  # else the clipping would hide something
    np.testing.assert_allclose(interpolate_frames(frames, length), expected, rtol=0, atol=2e-4)


def test_repeated_frames_do_no_harm(random):
    frames = random.integers(80, 180, (9, 4, 5)).repeat(2, axis=0).astype(np.uint8)
    result = interpolate_frames(frames, 10)
    assert np.isfinite(result).all()
    np.testing.assert_allclose(result[[0, -1]], frames[[0, -1]], atol=1e-3)


@pytest.mark.parametrize("kind", ["tim", "linear"])
def test_as_many_frames_stay_as_they_are(random, kind):
    frames = random.integers(0, 256, (10, 6, 7), dtype=np.uint8)
    frames[:5] = 0  # a sum with weights of 1e-17 would show here
    result = interpolate_frames(frames, 10, kind)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, frames)


@pytest.mark.parametrize("kind", ["tim", "linear"])
@pytest.mark.parametrize("count", [2, 7, 30, 140])
@pytest.mark.parametrize("length", [10, 64, 65])
def test_ends_and_still_pixels_are_kept(random, kind, count, length):
    frames = random.integers(60, 200, (count, 6, 7), dtype=np.uint8)
    frames[:, 2, 3:] = 77  # exactly, or LBP would compare rounding errors
    result = interpolate_frames(frames, length, kind)
    assert result.shape == (length, 6, 7)
    np.testing.assert_allclose(result[[0, -1]], frames[[0, -1]], atol=1e-3)
    np.testing.assert_array_equal(result[:, 2, 3:], 77)


@pytest.mark.parametrize("kind", ["tim", "linear"])
def test_a_single_frame_is_repeated(random, kind):
    frame = random.integers(0, 256, (1, 6, 7), dtype=np.uint8)
    np.testing.assert_array_equal(interpolate_frames(frame, 10, kind), frame.repeat(10, axis=0))


def test_overshoot_is_clipped():
    step = np.array([0, 0, 1, 1]).reshape(4, 1, 1)
    rings = interpolate_frames(100 + 50 * step, 33)
    assert rings.min() < 95
    assert rings.max() > 155
    clipped = interpolate_frames(255 * step, 33)
    assert clipped.min() == 0
    assert clipped.max() == 255


def test_linear_is_numpys_interpolation(random):
    frames = random.integers(0, 256, (13, 2, 3), dtype=np.uint8)
    for length in (5, 64):
        result = interpolate_frames(frames, length, "linear")
        at = np.linspace(0, 12, length)
        for row, column in np.ndindex(2, 3):
            expected = np.interp(at, np.arange(13), frames[:, row, column])
            np.testing.assert_allclose(result[:, row, column], expected, atol=1e-4)


def test_the_clip_given_is_not_changed(random):
    frames = random.uniform(0, 255, (5, 2, 3)).astype(np.float32)
    before = frames.copy()
    for length in (5, 10):
        interpolate_frames(frames, length)[:] = 0
    np.testing.assert_array_equal(frames, before)


def test_refusals():
    frames = np.zeros((5, 2, 3), np.uint8)
    with pytest.raises(UserError, match="without frames"):
        interpolate_frames(frames[:0], 10)
