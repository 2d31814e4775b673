import weakref

import numpy as np
import pytest

from atnet_jax.inference.spotting import STANDARD_LANDMARKS
from atnet_jax.inference.spotting.motion import face_motion, head_motion
from atnet_jax.inference.spotting.patterns import codes, histograms
from atnet_jax.inference.spotting.regions import BLOCKS, CELLS, EXPRESSIVE, in_picture
from atnet_jax.inference.spotting.signals import chi_squared, uncorrelated
from atnet_jax.models.lbp_top import lbp_top, uniform_bins
from atnet_jax.preprocessing.face import Landmarks
from tests.inference.spotting.made_videos import film, pulse


def test_face_coordinates():
    tilted = Landmarks((10.0, 20.0), (30.0, 24.0), (19.0, 32.0), (13.0, 40.0), (23.0, 44.0))
    places = np.array([[0, 0], [-0.5, 0], [0.5, 0], [0, 1.0]])
    np.testing.assert_allclose(in_picture(tilted, places), [(20, 22), (10, 20), (30, 24), (18, 42)])


def test_regions_lie_on_the_face_and_off_the_eyes():
    for places in (CELLS, BLOCKS):
        pixels = in_picture(STANDARD_LANDMARKS, places)
        assert pixels.min() > 15
        assert pixels.max() < 209
    watched = in_picture(STANDARD_LANDMARKS, CELLS[EXPRESSIVE])
    for eye in (STANDARD_LANDMARKS.left_eye, STANDARD_LANDMARKS.right_eye):
        assert np.linalg.norm(watched - eye, axis=1).min() > 30
    assert np.linalg.norm(watched - STANDARD_LANDMARKS.mouth_left, axis=1).min() < 10


def test_a_head_that_shifts_grows_and_turns():
    rng = np.random.default_rng(0)
    centres = rng.uniform(-80, 80, (60, 2))
    right, down, growth, turn = 1.5, -0.5, 0.01, 0.02
    x, y = centres.T
    flow = np.stack([right + growth * x - turn * y, down + turn * x + growth * y], axis=-1)
    moved = flow.copy()
    moved[:15] += (0.0, 3.0)
    flows = np.stack([flow, moved, 0 * flow]).astype(np.float32)
    found = head_motion(flows, centres)
    np.testing.assert_allclose(found[0], [right, down, growth, turn], atol=1e-5)
    # A quarter of the cells is an expression.
    np.testing.assert_allclose(found[1], [right, down, growth, turn], atol=2e-3)
    np.testing.assert_allclose(found[2], 0, atol=1e-9)


def test_motion_adds_up_from_reference_to_reference():
    crops = film(np.zeros(21), head=(8.0, -4.0), noise=0.0)
    # At 10 frames a second every fifth frame is a reference.
    parts = list(face_motion(crops, 10.0, STANDARD_LANDMARKS))
    cells, head = (np.concatenate([getattr(p, n) for p in parts]) for n in ("cells", "head"))
    steps = np.linspace(0, 1, 21)[:, None] * (8.0, -4.0)
    np.testing.assert_allclose(head, steps, atol=0.3)
    assert np.linalg.norm(cells, axis=-1).mean(axis=1).max() < 0.15


def test_videos_are_read_piece_by_piece():
    """No more than half a second and its reference are held at a time."""
    crops, alive = film(np.zeros(26), noise=0.5), []

    def stream():
        for crop in crops:
            held = crop.copy()
            alive.append(weakref.ref(held))
            assert sum(reference() is not None for reference in alive) <= 2 * 5 + 2
            yield held

    found = [part.cells for part in face_motion(stream(), 10.0, STANDARD_LANDMARKS)]
    assert [len(cells) for cells in found] == [1, 5, 5, 5, 5, 5]
    whole = [part.cells for part in face_motion(crops, 10.0, STANDARD_LANDMARKS)]
    np.testing.assert_array_equal(np.concatenate(found), np.concatenate(whole))


def test_cells_follow_the_head():
    # The brow moves when the head has brought it to where the eyes were.
    crops = film(pulse(60, 37, 45, 53), centre=(113.0, 86.0), head=(0.0, 50.0), pixels=3.0)
    cells = np.concatenate([p.cells for p in face_motion(crops, 30.0, STANDARD_LANDMARKS)])
    moved = np.linalg.norm(cells[45] - (cells[36] + cells[54]) / 2, axis=-1)
    assert (CELLS[moved.argsort()[-3:], 1] < -0.3).all()


def test_codes_are_those_of_lbp_top_but_for_the_diagonals():
    image = np.random.default_rng(0).integers(0, 256, (40, 40)).astype(np.uint8)
    found = codes(image)[3:-3, 3:-3]
    straight = [0, 2, 4, 6]  # right, up, left, down
    for bit, (row, column) in zip(straight, [(0, 3), (-3, 0), (0, -3), (3, 0)], strict=True):
        neighbour = np.roll(image, (-row, -column), axis=(0, 1))[3:-3, 3:-3]
        np.testing.assert_array_equal(found >> bit & 1, neighbour >= image[3:-3, 3:-3])
    # They differ only by interpolation between pixels.
    smooth = np.add.outer(np.arange(40), 2 * np.arange(40)).astype(np.uint8)
    counts = np.bincount(uniform_bins()[codes(smooth)[3:-3, 3:-3]].ravel(), minlength=59)
    reference = lbp_top(np.repeat(smooth[None], 7, axis=0))[:59]
    np.testing.assert_allclose(counts / counts.sum(), reference, atol=1e-6)


def test_blocks_follow_the_head_by_whole_pixels():
    crop = film([0.0])[0]
    moved = np.roll(crop, (4, -3), axis=(0, 1))
    heads = np.array([(0, 0), (-3, 4), (0.4, -0.4)], np.float32)
    first, second, third = histograms(np.stack([crop, moved, crop]), STANDARD_LANDMARKS, heads)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, third)
    np.testing.assert_allclose(first.sum(axis=-1), 1, rtol=1e-6)
    beside = histograms(moved[None], STANDARD_LANDMARKS, 0 * heads[:1])[0]
    assert np.abs(beside - first).max() > 0.01


def test_distances_by_hand():
    a, b = np.array([[0.5, 0.5, 0.0]]), np.array([[0.5, 0.0, 0.5]])
    assert uncorrelated(a, b) == pytest.approx(0.5)
    assert uncorrelated(a, 3 * a) == pytest.approx(0)
    assert chi_squared(a, b) == pytest.approx(1)
    assert chi_squared(a, a) == 0
