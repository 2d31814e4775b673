import dataclasses
import functools
import itertools

import cv2
import numpy as np
import pytest

from data_builders.synthetic import clip_specs
from data_builders.synthetic.action_units import Activation, displacement
from data_builders.synthetic.clip_spec import random_stream
from data_builders.synthetic.identity import Placement, draw_identity
from data_builders.synthetic.motion import CROP_SIDE, draw_motion
from data_builders.synthetic.scene import Scene

SEED = 5
DATASETS = ["casme2", "samm", "smic"]
scene = functools.lru_cache(maxsize=1)(Scene)
MARGIN = 8  # pixels; the flow leaves the frame at its edge


def first_clip(dataset, label=None, blink=False):
    """A clip whose eyes blink, or do not."""
    return next(
        spec
        for spec in clip_specs(dataset, 6, 6, SEED)
        if spec.label is not None
        and label in (None, spec.label)
        and (draw_motion(spec).blink is not None) == blink
    )


def grey(picture):
    return cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) if picture.ndim == 3 else picture


def warp(picture, flow):
    y, x = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    return cv2.remap(
        picture,
        x + flow[..., 0],
        y + flow[..., 1],
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT_101,
    )


def inner(picture):
    return picture[MARGIN:-MARGIN, MARGIN:-MARGIN]


def crop_window(spec):
    """The square of the face crop, and the pixels of the crop per pixel of the frame."""
    placement = scene(spec).placement
    side = CROP_SIDE * placement.unit
    left, top = placement.centre[0] - side / 2, placement.centre[1] + 0.1 * side - side / 2
    window = np.s_[round(top) : round(top + side), round(left) : round(left + side)]
    return window, 224 / side


@pytest.mark.parametrize("dataset", DATASETS)
def test_true_flow_carries_one_frame_onto_another(dataset):
    spec = first_clip(dataset)
    onset = grey(scene(spec).clean_frame(spec.onset))
    apex = grey(scene(spec).clean_frame(spec.apex))
    flow = scene(spec).true_flow(spec.onset, spec.apex)
    assert flow.dtype == np.float32 and flow.shape == (*onset.shape, 2)
    error = inner(np.abs(onset - warp(apex, flow)))
    still = inner(np.abs(onset - apex))
    # The test's own interpolation leaves something at hairs and lashes.
    assert error.mean() < 0.12 and error.mean() < 0.2 * still.mean()
    assert np.percentile(error, 99.5) < 2.5
    wrong = inner(np.abs(onset - warp(apex, -flow)))
    assert wrong.mean() > 1.5 * still.mean()


@pytest.mark.parametrize("dataset", ["casme2", "smic"])
def test_true_flow_of_adjacent_frames_explains_their_difference(dataset):
    spec = first_clip(dataset)
    frame = (spec.onset + spec.apex) // 2
    first = grey(scene(spec).clean_frame(frame)).astype(np.float64)
    second = grey(scene(spec).clean_frame(frame + 1)).astype(np.float64)
    flow = scene(spec).true_flow(frame, frame + 1).astype(np.float64)
    gy, gx = np.gradient((first + second) / 2)
    predicted = -(gx * flow[..., 0] + gy * flow[..., 1])
    window, _ = crop_window(spec)
    correlation = np.corrcoef(predicted[window].ravel(), (second - first)[window].ravel())[0, 1]
    assert correlation > 0.9


def test_true_flow_of_a_frame_onto_itself_is_zero():
    spec = first_clip("smic")
    np.testing.assert_allclose(scene(spec).true_flow(spec.apex, spec.apex), 0, atol=1e-3)


def test_true_flows_compose():
    spec = first_clip("samm")
    middle = (spec.onset + spec.apex) // 2
    there = scene(spec).true_flow(spec.onset, middle)
    on = scene(spec).true_flow(middle, spec.apex)
    whole = scene(spec).true_flow(spec.onset, spec.apex)
    back = scene(spec).true_flow(spec.apex, spec.onset)
    assert np.abs(whole).max() > 2
    np.testing.assert_allclose(inner(there + warp(on, there)), inner(whole), atol=0.02)
    np.testing.assert_allclose(inner(whole + warp(back, whole)), 0, atol=0.02)


@pytest.mark.parametrize(("dataset", "label"), [("casme2", 0), ("samm", 1), ("smic", 2)])
def test_speed_and_reach_of_the_motion(dataset, label):
    fault, rate = (0.3, 2) if dataset == "smic" else (0.0, 1)
    spec = first_clip(dataset, label)
    window, scale = crop_window(spec)
    speeds, peaks = [], []
    for frame in np.linspace(spec.onset, spec.offset - 1, 7).astype(int):
        flow = scale * scene(spec).true_flow(int(frame), int(frame) + 1)[window]
        magnitude = np.linalg.norm(flow, axis=-1)
        speeds.append(magnitude.mean())
        peaks.append(cv2.resize(magnitude, (8, 8), interpolation=cv2.INTER_AREA).max())
    assert 0.008 * rate + 0.6 * fault < np.mean(speeds) < 0.05 * rate + 1.4 * fault
    assert max(peaks) < 0.5 * rate + 1.4 * fault
    # An even number of frames apart, the camera's fault cancels.
    apex = spec.apex - (spec.apex - spec.onset) % 2
    reach = scale * np.linalg.norm(scene(spec).true_flow(spec.onset, apex)[window], axis=-1)
    low, high = spec.camera.peak
    assert low - 0.5 < reach.max() < high + 1.5  # Head drift comes on top.


def test_even_and_odd_frames_of_smic_are_displaced():
    spec = first_clip("smic")
    _, scale = crop_window(spec)
    corner = [
        scale * scene(spec).true_flow(frame, frame + 1)[5, 5]
        for frame in range(spec.apex - 2, spec.apex + 2)
    ]
    # The background does not move, so it shows only the alternation.
    for flow, following in itertools.pairwise(corner):
        np.testing.assert_allclose(following, -flow, atol=1e-5)
        assert 0.19 < np.linalg.norm(flow) < 0.42
    np.testing.assert_allclose(
        scene(spec).true_flow(spec.onset, spec.onset + 2)[5, 5], 0, atol=1e-6
    )


def test_other_cameras_have_no_such_fault():
    spec = first_clip("casme2")
    assert not scene(spec).true_flow(spec.apex, spec.apex + 1)[5, 5].any()


def moved_by(unit, point, side):
    """Displacement right and down of a point of a face at full activation of one unit."""
    face = draw_identity(random_stream(SEED, "anyone"))
    placement = Placement(640, 480, (320.0, 215.0), 300.0)
    x, y = placement.face_coordinates()
    field = displacement(face, [Activation(unit, 1.0, 1.0)], x, y)
    px, py = placement.to_pixels(side * point(face)[0], point(face)[1])
    return field[:, round(py), round(px)]


def corner(face):
    return face.mouth_half_width, face.mouth_y


def brow(face):
    return 0.10, face.brow_y


def chin(face):
    return 0.0, face.chin_y - 0.12


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize(
    ("unit", "point", "axis", "sign"),
    [
        (1, brow, 1, -1),
        (2, lambda face: (0.21, face.brow_y), 1, -1),
        (4, brow, 1, 1),
        (4, brow, 0, -1),
        (5, lambda face: (face.eye_x, -0.03), 1, -1),
        (6, lambda face: (0.20, 0.10), 1, -1),
        (7, lambda face: (face.eye_x, 0.04), 1, -1),
        (9, lambda face: (0.07, face.nose_y - 0.06), 1, -1),
        (12, corner, 1, -1),
        (12, corner, 0, 1),
        (14, corner, 0, 1),
        (15, corner, 1, 1),
        (17, chin, 1, -1),
        (26, chin, 1, 1),
    ],
)
def test_action_units_pull_where_the_muscles_do(unit, point, axis, sign, side):
    moved = moved_by(unit, point, side)
    if axis == 0:
        sign *= side  # away from the midline
    assert sign * moved[axis] > 0.2


def test_classes_move_differently():
    """Lip corners go up for positive, brows up for surprise, down or corners down for negative."""
    for dataset in DATASETS:
        for label in range(3):
            spec = first_clip(dataset, label)
            # Both sides alike, the head held still.
            units = tuple(dataclasses.replace(a, left=1.0, right=1.0) for a in spec.activations)
            face, placement = spec.identity(), Placement(640, 480, (320.0, 215.0), 300.0)
            x, y = placement.face_coordinates()
            down = displacement(face, units, x, y)[1]

            def at(point, placement=placement, down=down):
                px, py = placement.to_pixels(*point)
                return float(down[round(py), round(px)])

            lips, brows = at(corner(face)), at(brow(face))
            if label == 1:
                assert lips < -0.3
            elif label == 2:
                assert brows < -0.3
            else:
                assert max(lips, brows) > 0.2 or {9, 14} & {unit.unit for unit in units}


def test_expression_runs_from_onset_over_apex_to_offset():
    for dataset in DATASETS:
        for spec in clip_specs(dataset, 3, 3, SEED):
            motion = draw_motion(spec)
            course = np.array([motion.expression(frame) for frame in spec.frames])
            onset, apex, offset = (n - spec.first for n in (spec.onset, spec.apex, spec.offset))
            assert not course[: onset + 1].any() and not course[offset:].any()
            np.testing.assert_array_equal(course[apex], 1)
            assert (np.diff(course[: apex + 1], axis=0) >= 0).all()
            assert (np.diff(course[apex:], axis=0) <= 0).all()


def test_blinks_change_the_eyes_only_and_are_not_part_of_the_flow():
    spec = first_clip("smic", blink=True)
    blinking = Scene(spec)
    frame = blinking.motion.blink
    shut = blinking.clean_frame(frame)
    blinking.motion = dataclasses.replace(blinking.motion, blink=None)
    difference = np.abs(shut - blinking.clean_frame(frame))
    assert difference.max() > 60
    for side in (-1, 1):
        x, y = blinking.placement.to_pixels(side * blinking.face.eye_x, 0.0)
        half = round(0.14 * blinking.placement.unit)
        difference[round(y) - half : round(y) + half, round(x) - half : round(x) + half] = 0
    assert difference.max() == 0


def test_noise_is_a_cameras():
    spec = first_clip("casme2")
    clip = Scene(spec)
    residual = clip.frame(spec.onset) - clip.clean_frame(spec.onset)
    assert 0.7 < residual[20:100, 20:100].std() < 1.6
    # Independent from frame to frame.
    other = clip.frame(spec.onset + 1) - clip.clean_frame(spec.onset + 1)
    patch = np.s_[20:100, 20:100]
    assert abs(np.corrcoef(residual[patch].ravel(), other[patch].ravel())[0, 1]) < 0.1
