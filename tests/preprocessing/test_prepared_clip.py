import numpy as np
import pytest

from atnet_jax.preprocessing.crops import colour_numbers
from atnet_jax.preprocessing.flow_map import flow_map, optical_strain
from atnet_jax.preprocessing.prepared_clip import STANDARD_LANDMARKS, PreparedClip


@pytest.fixture
def flow() -> np.ndarray:
    y, x = np.mgrid[:224, :224] / 224
    return np.stack([np.sin(9 * x) + y, x * y], -1).astype(np.float32)


def test_flow_maps_of_other_sizes_are_averages_over_areas(flow):
    clip = PreparedClip("a/b/c", flow=flow)
    np.testing.assert_array_equal(clip.flow_map_at(28), flow_map(flow))
    channels = np.dstack([flow, optical_strain(flow)])
    cells = channels.reshape(56, 4, 56, 4, 3).mean((1, 3))
    np.testing.assert_allclose(clip.flow_map_at(56), cells, atol=1e-5)
    # 60 does not divide 224, but the mean over the whole picture stays.
    odd = clip.flow_map_at(60)
    assert odd.shape == (60, 60, 3)
    np.testing.assert_allclose(odd.mean((0, 1)), channels.mean((0, 1)), atol=1e-5)


def test_a_given_flow_map_is_enlarged():
    y, x = np.mgrid[:28, :28].astype(np.float32)
    given = np.dstack([x, y, x + y])
    clip = PreparedClip("a/b/c", flow_map=given)
    assert clip.flow_map_at(28) is given
    larger = clip.flow_map_at(56)
    # Linear between the centres of the given cells.
    expected = (np.arange(56) + 0.5) / 2 - 0.5
    np.testing.assert_allclose(larger[20, 1:-1, 0], expected[1:-1], atol=1e-5)
    np.testing.assert_allclose(larger[1:-1, 20, 1], expected[1:-1], atol=1e-5)


@pytest.mark.parametrize(
    ("clip", "expected"),
    [
        ((10, 30, 60), [10, 11, 28, 29, 30, 31, 32]),
        ((10, 11, 12), [10, 11, 10, 10, 11, 12, 12]),
        ((0, 9, 9), [0, 1, 7, 8, 9, 9, 9]),
    ],
)
def test_frames_in_colour_lie_within_the_clip(clip, expected):
    assert colour_numbers(*clip) == expected


def test_standard_landmarks_are_a_face():
    left_eye, right_eye, nose, mouth_left, mouth_right = STANDARD_LANDMARKS
    assert left_eye[0] < nose[0] < right_eye[0] and mouth_left[0] < nose[0] < mouth_right[0]
    assert left_eye[1] == right_eye[1] < nose[1] < mouth_left[1] == mouth_right[1] < 224
