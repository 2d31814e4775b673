import numpy as np
import pytest

from atnet_jax.models.mdmo import (
    HEAD_POINTS,
    STANDARD_FACE,
    Features,
    _pixels,
    aligned,
    mdmo,
    region_corners,
    standard_to_picture,
)
from atnet_jax.preprocessing.optical_flow import FlowMethod, flow_method
from atnet_jax.preprocessing.prepared_clip import STANDARD_LANDMARKS, PreparedClip
from tests.reference import mdmo as reference

# Forehead, eyes, under the lip, jaw; cheek (3), nose, upper lip, outer cheek, side of the mouth on
# the left and on the right.
FOREHEAD, UNDER_LIP = slice(0, 6), slice(14, 18)
LEFT, RIGHT = slice(22, 29), slice(29, 36)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def in_crop(flow_at, size: int = 224) -> np.ndarray:
    """The flow u, v = flow_at(x, y) of a crop."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    return np.stack(np.broadcast_arrays(*flow_at(x, y)), axis=-1).astype(np.float32)[None]


def still_head(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """1 but at the points that go with the head, each a pixel of some region."""
    mask = np.ones(np.broadcast_shapes(x.shape, y.shape), np.float32)
    for px, py in STANDARD_FACE[list(HEAD_POINTS)].astype(int):
        mask[py, px] = 0
    return mask


def test_equals_the_slow_reference(random):
    """A quarter of a crop, a tilted face that leaves it on one side, and few vectors a region."""
    landmarks = STANDARD_LANDMARKS / 4 @ np.array([[0.9, 0.15], [-0.1, 1.05]], np.float32)
    landmarks += random.normal(0, 0.5, (5, 2)).astype(np.float32) - np.array([9, 2], np.float32)
    flows = random.normal(0.05, 0.3, (4, 50, 56, 2)).astype(np.float32)
    result = mdmo(flows, landmarks, 0.7)
    assert result.shape == (72,)
    assert result.dtype == np.float32
    face = [tuple(point) for point in STANDARD_FACE.tolist()]
    expected = reference.mdmo(flows, face, landmarks.tolist(), 0.7)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-6)


def test_standard_face_is_symmetric():
    pairs = [(k, 16 - k) for k in range(9)]
    pairs += [(17 + k, 26 - k) for k in range(5)]
    pairs += [(k, k) for k in (8, 27, 28, 29, 30, 33, 51, 57, 62, 66)]
    pairs += [(31, 35), (32, 34), (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)]
    pairs += [(48, 54), (49, 53), (50, 52), (59, 55), (58, 56)]
    pairs += [(60, 64), (61, 63), (67, 65)]
    assert {point for pair in pairs for point in pair} == set(range(68))
    for left, right in pairs:
        np.testing.assert_array_equal(
            STANDARD_FACE[left] + STANDARD_FACE[right], [224, 2 * y(left)]
        )
        assert STANDARD_FACE[left, 1] == STANDARD_FACE[right, 1]


def y(point: int) -> float:
    return STANDARD_FACE[point, 1]


def test_standard_landmarks_leave_the_standard_face_where_it_is():
    identity = [[1, 0], [0, 1], [0, 0]]
    np.testing.assert_allclose(standard_to_picture(STANDARD_LANDMARKS), identity, atol=1e-10)


def test_the_face_follows_its_landmarks(random):
    """Turned, stretched and moved as they are."""
    turn = np.array([[0.8, 0.3], [-0.2, 1.1], [7, -5]])
    moved = (np.c_[STANDARD_LANDMARKS, np.ones(5)] @ turn).astype(np.float32)
    np.testing.assert_allclose(standard_to_picture(moved), turn, atol=1e-4)
    corners = region_corners(standard_to_picture(STANDARD_LANDMARKS))
    expected = np.concatenate([corners, np.ones((36, 4, 1))], axis=-1) @ turn
    np.testing.assert_allclose(region_corners(turn), expected, atol=1e-9)


def test_regions_do_not_overlap_and_lie_in_the_crop():
    quads = region_corners(standard_to_picture(STANDARD_LANDMARKS))
    taken = np.zeros((224, 224), int)
    sizes = []
    for quad in quads.tolist():
        x0, y0 = np.floor(np.min(quad, axis=0)).astype(int)
        x1, y1 = np.ceil(np.max(quad, axis=0)).astype(int)
        members = [
            (b, a)
            for b in range(y0, y1)
            for a in range(x0, x1)
            if reference.inside([(p, q) for p, q in quad], (a + 0.31, b + 0.17))
        ]
        sizes.append(len(members))
        taken[tuple(np.transpose(members))] += 1
    assert taken.max() == 1
    assert min(sizes) > 100


def test_a_shift_of_the_face_but_not_of_the_head_has_its_direction():
    for angle in np.deg2rad([0, 30, 90, 179, -179, -120]):
        flows = in_crop(
            lambda x, y, a=angle: still_head(x, y) * np.array([[[np.cos(a)]], [[np.sin(a)]]])
        )
        magnitude, direction = mdmo(flows, STANDARD_LANDMARKS).reshape(2, 36)
        np.testing.assert_allclose(magnitude, 0.8, rtol=0.01)
        np.testing.assert_allclose(direction, 0.2 * angle, atol=1e-3)


def test_the_heads_own_motion_is_taken_out(random):
    """An affine motion of the whole picture leaves nothing, and changes nothing of the rest."""
    head = in_crop(lambda x, y: (3 + 0.02 * x - 0.01 * y, -2 + 0.01 * x + 0.02 * y))
    np.testing.assert_array_equal(mdmo(head, STANDARD_LANDMARKS), np.zeros(72))
    y, x = np.mgrid[:224, :224].astype(np.float32)
    smile = random.normal((0.6, 0.2), 0.1, (224, 224, 2)) * still_head(x, y)[..., None]
    # The head's motion after the smile: x → A (x + smile).
    matrix, shift = np.array([[1.02, 0.01], [-0.01, 1.02]]), np.array([3, -2])
    places = np.stack([x, y], axis=-1)
    both = (places + smile) @ matrix + shift - places
    alone, together = (
        mdmo(flow[None].astype(np.float32), STANDARD_LANDMARKS) for flow in (smile, both)
    )
    difference = np.abs(together - alone).reshape(2, 36)
    pixels, region = _pixels(region_corners(standard_to_picture(STANDARD_LANDMARKS)), (224, 224))
    points = STANDARD_FACE[list(HEAD_POINTS)].astype(int)
    held = np.bincount(region[(pixels[:, None] == points).all(2).any(1)], minlength=36)
    assert 0 < np.count_nonzero(held) < 12
    # A point of the head is left with the direction of rounding. Where that is the region's main
    # one, which more than half of the pixels have, it counts as one of them.
    assert (difference <= 1e-6 + 0.8 * held / (np.bincount(region) / 2)).all()


def test_alignment_takes_the_nearest_pixel_for_points_outside(random):
    flows = random.normal(size=(2, 20, 30, 2)).astype(np.float32)
    points = random.uniform(0, 19, (13, 2))
    outside, border = points.copy(), points.copy()
    outside[:3] = [[-40, 5.2], [50, 18.8], [12.4, 33]]
    border[:3] = [[0, 5], [29, 19], [12, 19]]
    pixels = np.argwhere(np.ones((30, 20)))
    np.testing.assert_array_equal(aligned(flows, outside, pixels), aligned(flows, border, pixels))


def test_directions_about_180_degrees_do_not_average_to_0():
    def flow(x: np.ndarray, y: np.ndarray) -> tuple:
        return -still_head(x, y), still_head(x, y) * np.where((x + y) % 2, 0.1, -0.1)

    magnitude, direction = mdmo(in_crop(flow), STANDARD_LANDMARKS).reshape(2, 36)
    np.testing.assert_allclose(magnitude, 0.8, rtol=0.05)
    assert np.abs(direction).min() > 0.2 * 3.1


def test_only_the_fullest_bin_counts():
    """Two of three pixels move right by 1, the third up by 5."""

    def flow(x: np.ndarray, y: np.ndarray) -> tuple:
        third = (x + y) % 3 == 0
        return still_head(x, y) * np.where(third, 0, 1), still_head(x, y) * np.where(third, -5, 0)

    magnitude, direction = mdmo(in_crop(flow), STANDARD_LANDMARKS).reshape(2, 36)
    np.testing.assert_allclose(magnitude, 0.8, rtol=0.01)
    np.testing.assert_allclose(direction, 0, atol=1e-3)


def test_motion_is_averaged_over_frames_as_vectors():
    """Right by 3, then down by 1: magnitude is not the mean of both."""
    right = in_crop(lambda x, y: (3 * still_head(x, y), 0 * x))
    down = in_crop(lambda x, y: (0 * x, still_head(x, y) * np.where(x <= 112, 1, 3)))
    magnitude, direction = mdmo(np.concatenate([right, down]), STANDARD_LANDMARKS).reshape(2, 36)
    np.testing.assert_allclose(direction[LEFT], 0.2 * np.arctan2(1, 3), atol=2e-3)
    np.testing.assert_allclose(direction[RIGHT], 0.2 * np.pi / 4, atol=2e-3)
    np.testing.assert_allclose(magnitude[LEFT], 0.8 * np.sqrt(10 / 18), rtol=0.01)
    np.testing.assert_allclose(magnitude[RIGHT], 0.8, rtol=0.01)


def test_a_region_that_moves_alone():
    """The forehead moves up; below the eyes the magnitude is 0."""

    def flow(x: np.ndarray, y: np.ndarray) -> tuple:
        return 0 * x, -still_head(x, y) * (y < 80)

    magnitude, direction = mdmo(in_crop(flow), STANDARD_LANDMARKS).reshape(2, 36)
    np.testing.assert_allclose(magnitude[FOREHEAD], 0.8, rtol=0.01)
    np.testing.assert_allclose(direction[FOREHEAD], -0.2 * np.pi / 2, atol=1e-3)
    np.testing.assert_allclose(magnitude[UNDER_LIP], 0, atol=1e-3)


@pytest.mark.parametrize("shift", [(0, 0), (2, -3)])
def test_without_motion_zero(shift):
    flows = np.broadcast_to(np.array(shift, np.float32), (3, 224, 224, 2)).copy()
    np.testing.assert_array_equal(mdmo(flows, STANDARD_LANDMARKS), np.zeros(72))


def test_regions_outside_the_picture_are_zero(random):
    flows = random.normal(size=(2, 224, 224, 2)).astype(np.float32)
    magnitude, direction = mdmo(flows, STANDARD_LANDMARKS + np.float32([0, 90])).reshape(2, 36)
    assert (magnitude[UNDER_LIP] == 0).all()
    assert (direction[UNDER_LIP] == 0).all()
    assert magnitude[FOREHEAD].min() > 0
    far = mdmo(flows, STANDARD_LANDMARKS + 500)
    np.testing.assert_array_equal(far, np.zeros(72))


def test_flow_is_from_the_first_frame_to_each_later_one(random):
    frames = random.integers(0, 256, (4, 224, 224), dtype=np.uint8)
    asked = []

    def solve(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        asked.append((first.copy(), second.copy()))
        return random.normal(size=(*first.shape, 2)).astype(np.float32)

    features = Features()(PreparedClip("clip", frames=frames), FlowMethod(solve))
    np.testing.assert_array_equal(asked[0][0], frames[[0, 0, 0]])
    np.testing.assert_array_equal(asked[0][1], frames[1:])
    assert features.shape == (72,)


def test_features_of_a_moving_and_of_a_still_clip(random):
    """The mouth's left corner is pulled to the left."""
    face = (
        np.clip(random.normal(128, 60, (56, 56)), 0, 255).astype(np.uint8).repeat(4, 0).repeat(4, 1)
    )
    frames = np.stack([face] * 3)
    frames[1:, 140:190, 60:100] = face[140:190, 62:102]
    method = flow_method("farneback")
    clip = PreparedClip("clip", frames=frames)
    magnitude, direction = Features()(clip, method).reshape(2, 36)
    assert magnitude.argmax() in range(14, 36)
    strongest = magnitude.argmax()
    assert abs(direction[strongest]) > 0.2 * 2.8
    assert magnitude[FOREHEAD].max() < 0.3
    for count in (3, 1):
        still = PreparedClip("clip", frames=frames[:1].repeat(count, 0))
        np.testing.assert_array_equal(Features()(still, method), np.zeros(72))


def test_machine_is_radial():
    machine = Features().machine()
    clips = np.random.default_rng(0).normal(size=(60, 4))
    labels = np.arange(60) % 3
    machine.fit(clips, labels)
    assert machine.decision_function(clips).shape == (60, 3)
    assert (machine.kernel, machine.C, machine.gamma) == ("rbf", 28, 0.27)
