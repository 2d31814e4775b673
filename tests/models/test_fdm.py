import math
import statistics

import numpy as np
import pytest

from atnet_jax.models.fdm import Features, facial_dynamics_map, mode, principal_vector
from atnet_jax.preprocessing.optical_flow import flow_method
from atnet_jax.preprocessing.prepared_clip import PreparedClip

Vector = tuple[float, float]


def mean_of(vectors: list[Vector]) -> Vector:
    return tuple(math.fsum(v[k] for v in vectors) / len(vectors) for k in (0, 1))


def slow_mode(vectors: list[Vector]) -> Vector:
    centre = tuple(statistics.median(v[k] for v in vectors) for k in (0, 1))
    radius = statistics.median(math.dist(v, centre) for v in vectors)
    for _ in range(50):
        near = [v for v in vectors if math.dist(v, centre) <= radius]
        if near:
            centre = mean_of(near)
    return centre


def degrees_between(a: Vector, b: Vector) -> float:
    difference = math.degrees(math.atan2(a[1], a[0]) - math.atan2(b[1], b[0])) % 360
    return min(difference, 360 - difference)


def slow_principal_vector(vectors: list[Vector], angle: float) -> Vector:
    mean = mean_of(vectors)
    for _ in range(20):
        kept = [v for v in vectors if v != (0, 0) and degrees_between(v, mean) <= angle]
        if kept:
            mean = mean_of(kept)
    return mean


def slow_map(flows: np.ndarray, blocks: int, parts: int, angle: float) -> list[float]:
    length, height, width, _ = flows.shape
    still = flows.astype(float)
    for flow in still:
        flow -= slow_mode(
            [tuple(flow[y, x]) for y in range(0, height, 4) for x in range(0, width, 4)]
        )
    features = []
    for part in range(parts):
        for row in range(blocks):
            for column in range(blocks):
                vectors = [
                    tuple(still[t, y, x])
                    for t in range(length * part // parts, length * (part + 1) // parts)
                    for y in range(height * row // blocks, height * (row + 1) // blocks)
                    for x in range(width * column // blocks, width * (column + 1) // blocks)
                ]
                features += slow_principal_vector(vectors, angle)
    return features


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize(("blocks", "parts", "angle"), [(2, 2, 45.0), (3, 1, 90.0), (1, 3, 20.0)])
def test_equals_the_slow_reference(random, blocks, parts, angle):
    flows = random.normal((0.1, -0.05), 0.1, (5, 22, 25, 2)).astype(np.float32)
    flows[:, 12:, 4:] += np.float32([0.3, 0.1])
    result = facial_dynamics_map(flows, blocks, parts, angle)
    assert result.shape == (2 * blocks**2 * parts,)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, slow_map(flows, blocks, parts, angle), atol=1e-5)


def test_mode_is_where_most_vectors_are(random):
    """Three of five follow the head, the others an expression and a blink."""
    head = random.normal((0.5, -0.2), 0.02, (600, 2))
    smile = random.normal((0.9, 0.1), 0.05, (300, 2))
    blink = random.normal((0.4, 2.0), 0.05, (100, 2))
    found = mode(np.concatenate([smile, head, blink]))
    np.testing.assert_allclose(found, (0.5, -0.2), atol=0.01)
    np.testing.assert_allclose(mode(head[:1]), head[0], rtol=1e-6)


@pytest.mark.parametrize("scale", [0.01, 100])
def test_mode_does_not_depend_on_the_size_of_motion(random, scale):
    vectors = np.concatenate([random.normal(1, 0.1, (70, 2)), random.normal(3, 0.1, (30, 2))])
    np.testing.assert_allclose(mode(scale * vectors), scale * mode(vectors), rtol=1e-5)


def test_principal_vector_leaves_out_other_directions():
    right = [(1.0, 0.1), (3.0, -0.1), (2.0, 0.0)]
    np.testing.assert_allclose(principal_vector(np.array([*right, (-1, 0.5)]), 45.0), (2, 0))
    np.testing.assert_allclose(principal_vector(np.array([*right, (0.5, 2)]), 45.0), (2, 0))
    # Within 90° is the last one, too.
    np.testing.assert_allclose(principal_vector(np.array([*right, (0.5, 2)]), 90.0), (6.5 / 4, 0.5))


def test_principal_vector_is_iterated_to_convergence():
    """The first mean points to 43°: what is at -10° is left out first, what is at 60° comes in."""

    def at(degrees: float, length: float = 1.0) -> Vector:
        return length * math.cos(math.radians(degrees)), length * math.sin(math.radians(degrees))

    vectors = [at(-10, 2), *[at(60)] * 4, at(100)]
    once = mean_of([v for v in vectors if degrees_between(v, mean_of(vectors)) <= 45])
    twice = mean_of([v for v in vectors if degrees_between(v, once) <= 45])
    assert math.dist(once, twice) > 0.01
    np.testing.assert_allclose(principal_vector(np.array(vectors), 45.0), twice)


def test_principal_vector_of_directions_that_balance():
    """None is within 45° of the mean."""
    up_and_down = np.array([(0.5, 1.0), (0.5, -1.0)])
    np.testing.assert_allclose(principal_vector(up_and_down, 45.0), (0.5, 0))
    np.testing.assert_array_equal(
        principal_vector(np.array([(1.0, 0.0), (-1.0, 0.0)]), 45.0), (0, 0)
    )


def test_still_vectors_have_no_direction():
    np.testing.assert_allclose(
        principal_vector(np.array([(0.0, 0.0)] * 5 + [(0, 3.0)]), 45.0), (0, 3)
    )
    np.testing.assert_array_equal(principal_vector(np.zeros((4, 2)), 45.0), (0, 0))
    np.testing.assert_array_equal(principal_vector(np.zeros((0, 2)), 45.0), (0, 0))


def test_motion_stands_in_its_cuboid():
    """The second half of the clip: the block in row 1, column 2 moves to the right."""
    flows = np.zeros((8, 40, 40, 2), np.float32)
    flows[4:, 10:20, 20:30] = 0.7, 0
    cuboids = facial_dynamics_map(flows, 4, 2).reshape(2, 4, 4, 2)
    expected = np.zeros((2, 4, 4, 2))
    expected[1, 1, 2] = 0.7, 0
    np.testing.assert_allclose(cuboids, expected)


def test_the_heads_shift_does_not_matter(random):
    flows = random.normal(0, 0.1, (4, 32, 32, 2)).astype(np.float32)
    flows[:, :12, :12] += 1
    shifts = random.normal(0, 3, (4, 1, 1, 2)).astype(np.float32)
    shifted = facial_dynamics_map(flows + shifts, 4, 2)
    np.testing.assert_allclose(shifted, facial_dynamics_map(flows, 4, 2), atol=1e-5)


def test_a_part_without_a_flow_is_zero():
    flows = np.zeros((1, 16, 16, 2), np.float32)
    flows[:, :4] = 1, 1
    parts = facial_dynamics_map(flows, 2, 3).reshape(3, -1)
    assert parts.any(axis=1).tolist() == [False, False, True]


def test_features_of_a_moving_and_of_a_still_clip(random):
    """A square of skin moves right by 1 pixel a frame."""
    skin = random.integers(0, 256, (60, 60)).astype(np.uint8).repeat(4, 0).repeat(4, 1)[:224, :224]
    frames = np.stack([skin] * 6)
    for k in range(6):
        frames[k, 56:168, 56:168] = skin[56:168, 56 - k : 168 - k]
    method = flow_method("farneback")
    features = Features()(PreparedClip("clip", frames=frames), method)
    assert features.shape == (512,)
    cuboids = features.reshape(4, 8, 8, 2)
    np.testing.assert_allclose(
        cuboids[:, 3:5, 3:5], np.broadcast_to([1, 0], (4, 2, 2, 2)), atol=0.15
    )
    assert np.abs(cuboids[:, 0]).max() < 0.05
    for count in (6, 1):
        still = PreparedClip("clip", frames=frames[:1].repeat(count, 0))
        np.testing.assert_allclose(Features()(still, method), np.zeros(512), atol=1e-4)
