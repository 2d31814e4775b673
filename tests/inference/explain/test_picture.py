"""Pictures of explanations: readable PNG files with the colours of the maps."""

import dataclasses
import itertools

import cv2
import numpy as np
import pytest

from atnet_jax.inference.explain import Explanation
from atnet_jax.inference.explain.picture import _BAR, _FACE, _MARGIN, _NUMBERS, _spans, pictures

CROP = np.full((224, 224), 120, np.uint8)


def decoded(png: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR).astype(int)


def redness(picture, row, column):
    """Red less blue in the middle of a block of the face."""
    block = _FACE // 8
    y, x = (_MARGIN + block * k + block // 2 for k in (row, column))
    blue, _, red = picture[y, x]
    return red - blue


def explanation(**maps):
    return Explanation(class_index=0, networks=1, **maps)


@pytest.fixture(scope="module")
def adm_picture():
    values = np.zeros((64, 8, 8), np.float32)
    values[20:30, 2, 5] = 1
    values[40, 6, 1] = -5
    adm = np.zeros((64, 128), np.float32)
    adm[10:50] = 0.3
    return decoded(pictures(explanation(adm=values), CROP, adm)["adm"])


def test_only_maps_there_are_are_drawn():
    assert pictures(explanation(), CROP, None) == {}
    maps = explanation(grad_cam=np.zeros((56, 56), np.float32))
    assert set(pictures(maps, CROP, None)) == {"grad_cam"}
    maps = dataclasses.replace(maps, occlusion=np.zeros((56, 56), np.float32))
    assert set(pictures(maps, CROP, None)) == {"grad_cam", "occlusion"}


def test_sum_over_time_is_red_where_it_speaks_for_the_class_and_blue_against(adm_picture):
    assert redness(adm_picture, 2, 5) > 80
    assert redness(adm_picture, 6, 1) < -30
    assert redness(adm_picture, 4, 4) == 0


def test_course_in_time_has_bars_where_the_attributions_are(adm_picture):
    """Ten bars up and one down, in the colours of their signs."""
    course = adm_picture[350:, 560:]
    red = (course[..., 2] - course[..., 0] > 100).any(axis=0)
    blue = (course[..., 0] - course[..., 2] > 100).any(axis=0)
    assert np.diff(np.flatnonzero(red)).max() <= 2
    step = (4 * (112 + 16) - 16 - 4) / 64
    first = 2 * _MARGIN + _FACE + 10 + _BAR + _NUMBERS + 22 + 2 - 560  # Where row 0 starts.
    for bars, start, stop in ((red, 20, 30), (blue, 40, 41)):
        places = np.flatnonzero(bars)
        assert places[0] == pytest.approx(first + step * start, abs=1)
        assert places[-1] == pytest.approx(first + step * stop - 2, abs=1)


def test_rows_that_are_not_the_clips_are_darker(adm_picture):
    course = adm_picture[-60]
    right = 68 + _NUMBERS  # The margins, the scale and its numbers.
    shades = [course[-(right + k)].tolist() for k in (5, 200)]
    assert shades[0] == [225] * 3 and shades[1] == [245] * 3


def test_occlusion_has_the_scale_of_its_largest_value():
    """Weak maps are as strong in colour as others; the numbers tell."""
    drops = np.zeros((32, 32), np.float32)
    drops[8:12, 20:24] = 1
    strong, weak = (
        decoded(pictures(explanation(occlusion=share * drops), CROP, None)["occlusion"])
        for share in (1, 0.001)
    )
    assert redness(strong, 2, 5) == redness(weak, 2, 5) > 100
    right = _MARGIN + _FACE
    assert (strong[:, right:] != weak[:, right:]).any()
    below = decoded(pictures(explanation(occlusion=-drops), CROP, None)["occlusion"])
    assert redness(below, 2, 5) < -80


@pytest.mark.parametrize("value", [1.2e-5, 0.00012, 0.0012])
def test_the_numbers_of_a_scale_are_not_cut_off(value):
    """The columns right of the longest number, left of the title, are white."""
    drops = np.zeros((32, 32), np.float32)
    drops[8:12, 20:24] = value
    picture = decoded(pictures(explanation(occlusion=drops), CROP, None)["occlusion"])
    numbers = picture[_MARGIN : _MARGIN + 20, _MARGIN + _FACE + 10 + _BAR :]
    assert (numbers < 128).any() and (numbers[:, _NUMBERS - 4 : _NUMBERS] > 250).all()


def test_grad_cam_leaves_the_face_where_it_is_zero():
    heat = np.zeros((56, 56), np.float32)
    heat[28:35, 0:7] = 1
    picture = decoded(pictures(explanation(grad_cam=heat), CROP, None)["grad_cam"])
    assert redness(picture, 4, 0) > 50
    untouched = picture[_MARGIN + 4, _MARGIN + 4]
    assert (untouched == untouched[0]).all()


def test_flow_map_is_drawn_with_its_blocks():
    values = np.zeros((28, 28), np.float32)
    values[8, 19] = -1
    picture = decoded(pictures(explanation(flow_map=values), CROP, None)["flow_map"])
    blue = picture[..., 0] - picture[..., 2] > 80
    rows, columns = np.nonzero(blue[:, : _MARGIN + _FACE])
    assert (rows.min() - _MARGIN, rows.max() - _MARGIN) == (128, 143)
    assert (columns.min() - _MARGIN, columns.max() - _MARGIN) == (304, 319)


@pytest.mark.parametrize(
    "clip", [(0, 64), (10, 50), (31, 33), (32, 64), (0, 32), (32, 33), (0, 33), (28, 60)]
)
def test_spans_are_of_the_clip_and_one_ends_at_the_apex(clip):
    spans = _spans(*clip)
    assert spans[0][0] == clip[0] and spans[-1][1] == clip[1]
    assert all(start < end for start, end in spans) and len(spans) <= 8
    assert all(one[1] == other[0] for one, other in itertools.pairwise(spans))
    if clip[0] < 32 < clip[1]:
        assert 32 in [end for _, end in spans]
    lengths = [end - start for start, end in spans]
    assert max(lengths) <= max(2, 2.5 * (clip[1] - clip[0]) / 8)


def test_maps_without_any_value_are_drawn():
    empty = explanation(
        grad_cam=np.zeros((56, 56), np.float32),
        occlusion=np.zeros((56, 56), np.float32),
        adm=np.zeros((64, 8, 8), np.float32),
        flow_map=np.zeros((28, 28), np.float32),
    )
    for png in pictures(empty, CROP, np.zeros((64, 128), np.float32)).values():
        face = decoded(png)[_MARGIN : _MARGIN + _FACE, _MARGIN : _MARGIN + _FACE]
        assert (face == face[0, 0]).all()
