import dataclasses
import json
import os

import cv2
import numpy as np
import pytest

from atnet_jax.data.composite import resize
from atnet_jax.errors import UserError
from atnet_jax.inference.predict import Options, answers, predict_clip
from atnet_jax.inference.predict.footage import open_footage
from atnet_jax.inference.predict.intervals import Interval
from atnet_jax.preprocessing.annotation import Clip
from atnet_jax.preprocessing.crops import cut
from atnet_jax.preprocessing.face import find_faces
from atnet_jax.preprocessing.frames import read_image
from atnet_jax.preprocessing.magnification import magnify
from atnet_jax.preprocessing.optical_flow import flow_method
from tests.extract import extract
from tests.inference.predict.conftest import untrained

GIVEN = {"onset": 5, "apex": 14, "offset": 26}


def codes(found) -> list[str]:
    return [each.code for each in found]


def test_a_given_expression_is_read_as_in_training(frames, folder, networks):
    path = folder("clip", frames)
    found = predict_clip(path, networks, Options(**GIVEN, frame_rate=200.0))
    files = {number: path / f"img{number}.png" for number in range(30)}
    clip = Clip("own", "s", "c", 0, "", 5, 14, 26, 200.0, files)
    features = extract(clip, face="mtcnn", box=None, flow="farneback")
    (expression,) = found.expressions
    np.testing.assert_array_equal(expression.features.apex, features.apex)
    np.testing.assert_array_equal(expression.features.adm, features.adm)
    np.testing.assert_array_equal(expression.features.flow_map, features.flow_map)
    each = networks.scores({"flow_map": features.flow_map[None]})[:, 0]
    np.testing.assert_allclose(expression.scores, each.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(expression.spread, each.std(axis=0), atol=1e-6)
    assert sum(expression.votes) == 3
    assert found.course is None
    assert codes(found.warnings) == []


def test_motion_is_that_of_the_training_data(frames, folder):
    """Its flow looks beyond the window, and its directions are circular means."""
    path = folder("clip", [*frames, *frames[::-1], *frames])
    circular = untrained("ststnet", 1, data={"flow": "spatiotemporal_circular"})
    options = Options(onset=0, apex=14, offset=89, frame_rate=200.0)
    (expression,) = predict_clip(path, circular, options).expressions
    files = {number: path / f"img{number}.png" for number in range(90)}
    clip = Clip("own", "s", "c", 0, "", 0, 14, 89, 200.0, files)
    features = extract(clip, face="mtcnn", box=None, flow="spatiotemporal", circular=True)
    np.testing.assert_array_equal(expression.features.adm, features.adm)
    np.testing.assert_array_equal(expression.features.flow_map, features.flow_map)


def test_colour_and_landmarks_are_those_of_the_training_data(frames, folder):
    """Colours are read if a method requires them, from pictures with three different channels."""
    coloured = [np.dstack([grey // 2, grey, grey // 4 * 3]) for grey in (f[..., 0] for f in frames)]
    path = folder("clip", coloured)
    files = {number: path / f"img{number}.png" for number in range(30)}
    clip = Clip("own", "s", "c", 0, "", 5, 14, 26, 200.0, files)
    expected = cut(clip, face="mtcnn", box=None)
    interval = Interval(5, 14, 26)
    faces = find_faces(read_image(files[14]))
    given = {interval: (faces[0].box, faces)}
    crops = answers._cut(open_footage(path), given, 0, ("colour", "landmarks"))[interval]
    for name in ("frames", "colour", "landmarks"):
        np.testing.assert_array_equal(getattr(crops, name), getattr(expected, name))
    red, green, blue = np.moveaxis(crops.colour.astype(int), -1, 0)
    assert np.abs(red - green).mean() > 10 and np.abs(red - blue).mean() > 10
    without = answers._cut(open_footage(path), given, 0, ("flow_map",))[interval]
    assert without.colour is None and without.landmarks is None


def test_a_network_that_computes_its_input_answers_without_maps(clip):
    """RCN's flow map is larger; its explanation cannot be shown, and the answer states this."""
    networks = untrained("rcn", 1)
    found = predict_clip(clip, networks, Options(**GIVEN, explain=True))
    (expression,) = found.expressions
    assert "no_maps" in codes(found.warnings)
    assert expression.explanation is None
    computed = networks.network.prepare(expression.features, flow_method("farneback"), 224)
    each = networks.scores({name: array[None] for name, array in computed.items()})[:, 0]
    np.testing.assert_allclose(expression.scores, each.mean(axis=0), atol=1e-5)


def test_motion_is_magnified_as_in_training(clip, monkeypatch):
    cut, asked = answers._cut, []
    monkeypatch.setattr(answers, "_cut", lambda *args: asked.append(args[-1]) or cut(*args))
    plain, magnifying = (
        untrained("spatial", 1, recipe={"magnification": times}) for times in (0.0, 20.0)
    )
    (usual,) = predict_clip(clip, plain, Options(**GIVEN)).expressions
    (larger,) = predict_clip(clip, magnifying, Options(**GIVEN)).expressions
    assert asked == [("apex",), ("apex", "frames")]
    assert np.abs(larger.scores - usual.scores).max() > 1e-6
    features = larger.features
    frames = np.clip(magnify(features.frames, features.frame_rate, 20.0), 0, 255)
    size = magnifying.config.data.image_size
    apex = resize(np.rint(frames[features.apex_index]).astype(np.uint8), size)
    expected = magnifying.scores({"apex": apex[None]})[0, 0]
    np.testing.assert_allclose(larger.scores, expected, atol=1e-6)


def test_the_apex_is_spotted_in_a_short_clip(clip, networks, spec):
    found = predict_clip(clip, networks)
    (expression,) = found.expressions
    assert expression.interval.spotted == ("apex",)
    assert (expression.interval.onset, expression.interval.offset) == (0, 29)
    assert abs(expression.interval.apex - spec.apex) <= 3
    assert found.course is not None and len(found.course.strength) == 30
    assert (found.frames, found.frame_rate) == (30, 200.0)
    assert codes(found.warnings) == []


def test_onset_and_offset_bound_the_search(clip, networks):
    (expression,) = predict_clip(clip, networks, Options(onset=16, offset=29)).expressions
    assert expression.interval.onset == 16 and 16 < expression.interval.apex <= 29


def test_an_apex_alone_takes_the_ends_of_a_short_clip(clip, networks):
    (expression,) = predict_clip(clip, networks, Options(apex=14)).expressions
    interval = expression.interval
    assert (interval.onset, interval.apex, interval.offset) == (0, 14, 29)
    assert interval.spotted == ()


def test_an_apex_alone_in_a_long_clip_takes_half_a_second(clip, networks):
    # 30 frames at 20 a second last 1.5 s.
    found = predict_clip(clip, networks, Options(apex=14, frame_rate=20.0))
    (expression,) = found.expressions
    assert (expression.interval.onset, expression.interval.offset) == (4, 24)
    assert "ends_assumed" in codes(found.warnings)


def test_long_clips_are_searched(frames, folder, networks):
    rest = [frames[0]] * 20
    rng = np.random.default_rng(0)
    images = [*rest, *frames, *[frames[-1]] * 30, *frames[::-1], *rest]
    noisy = [
        np.clip(image + rng.normal(0, 1, image.shape), 0, 255).astype(np.uint8) for image in images
    ]
    found = predict_clip(folder("long", noisy, 500), networks, Options(frame_rate=100.0))
    apexes = [expression.interval.apex for expression in found.expressions]
    assert found.course is not None and found.course.threshold is not None
    # The first expression's apex is frame 34 of the clip, the second's, played backwards, 95.
    assert len(apexes) == 2
    assert abs(apexes[0] - 534) <= 5 and abs(apexes[1] - 595) <= 5
    intervals = [expression.interval for expression in found.expressions]
    assert all(each.spotted == ("onset", "apex", "offset") for each in intervals)


def test_nothing_in_a_long_clip_is_an_answer(frames, folder, networks):
    rng = np.random.default_rng(0)
    images = [
        np.clip(frames[0] + rng.normal(0, 1, frames[0].shape), 0, 255).astype(np.uint8)
        for _ in range(60)
    ]
    found = predict_clip(folder("still", images), networks, Options(frame_rate=50.0))
    assert found.expressions == []
    assert "nothing_found" in codes(found.warnings)
    json.dumps(found.to_json(), allow_nan=False)


def test_abstaining(clip, networks):
    sure = predict_clip(clip, networks, Options(**GIVEN, abstain_below=0.0)).expressions[0]
    unsure = predict_clip(clip, networks, Options(**GIVEN, abstain_below=1.0)).expressions[0]
    assert sure.predicted == sure.likeliest
    assert unsure.predicted is None
    assert unsure.to_json()["prediction"] is None
    assert "low_score" in codes(unsure.warnings) and "low_score" not in codes(sure.warnings)
    np.testing.assert_array_equal(sure.scores, unsure.scores)


def test_json_holds_everything_said(clip, networks):
    found = predict_clip(
        clip, dataclasses.replace(networks, notes=("A control.",)), Options(**GIVEN)
    )
    told = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert told["warnings"] == [{"code": "networks", "text": "A control."}]
    assert told["model"]["networks"] == 3
    assert told["model"]["digest"] == networks.digest
    (expression,) = told["expressions"]
    assert sum(expression["scores"].values()) == pytest.approx(1, abs=1e-5)
    assert "lie detector" in told["note"]
    assert set(told["seconds"]) == {"reading", "face", "cropping", "motion", "networks"}


def test_stages_are_reported(clip, networks):
    told = []
    predict_clip(clip, networks, Options(), told.append)
    assert told == [
        answers.READING, answers.FACE, answers.SPOTTING, answers.FACE, answers.CROPPING,
        answers.MOTION, answers.NETWORKS,
    ]  # fmt: skip


def test_maps_of_at_most_five_networks(clip):
    seven = untrained("ststnet", 7)
    (expression,) = predict_clip(clip, seven, Options(**GIVEN, explain=True)).expressions
    assert expression.explanation is not None
    assert expression.explanation.networks == 5
    assert expression.explanation.class_index == expression.likeliest
    assert expression.explanation.flow_map is not None


def test_cropped_frames_need_no_detector(frames, folder, networks):
    cropped = [image[100:380, 180:460] for image in frames]
    options = Options(**GIVEN, face="none", frame_rate=200.0)
    (expression,) = predict_clip(folder("cropped", cropped), networks, options).expressions
    assert expression.box == (0, 0, 280, 280)
    trained_so = dataclasses.replace(networks, face="none")
    again = predict_clip(folder("again", cropped), trained_so, Options(**GIVEN)).expressions[0]
    np.testing.assert_array_equal(again.scores, expression.scores)
    # A requested detector is used, whatever detector cropped the training data.
    found = predict_clip(folder("raw", frames), trained_so, Options(**GIVEN, face="mtcnn"))
    assert found.expressions[0].box[2] - found.expressions[0].box[0] < 320


def test_a_given_box(frames, folder, networks):
    box = (180.0, 100.0, 460.0, 380.0)
    found = predict_clip(folder("clip", frames), networks, Options(box=box, frame_rate=200.0))
    assert found.expressions[0].box == box


def test_two_faces(frames, folder, networks):
    pairs = []
    for image in frames:
        small = cv2.resize(image, (400, 300), interpolation=cv2.INTER_AREA)
        wide = np.zeros((480, 1040, 3), np.uint8)
        wide[:, :640] = image
        wide[90:390, 640:] = small
        pairs.append(wide)
    found = predict_clip(folder("two", pairs), networks, Options(**GIVEN, frame_rate=200.0))
    (expression,) = found.expressions
    assert "several_faces" in codes(expression.warnings)
    assert expression.box[2] < 640  # The larger one.


def test_an_odd_shape(frames, folder, networks):
    tall = [cv2.copyMakeBorder(image, 500, 700, 0, 0, cv2.BORDER_REPLICATE) for image in frames]
    found = predict_clip(folder("tall", tall), networks, Options(**GIVEN, frame_rate=200.0))
    assert found.expressions[0].box[1] > 500


def test_4k(frames, folder, networks):
    large = [cv2.resize(image, (2880, 2160)) for image in frames[9:15]]
    options = Options(onset=9, apex=14, offset=14, frame_rate=200.0)
    (expression,) = predict_clip(folder("4k", large, 9), networks, options).expressions
    assert 900 < expression.box[3] - expression.box[1] < 1500
    assert "short" in codes(expression.warnings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"onset": 14, "apex": 5, "offset": 26}, "onset <= apex <= offset"),
        ({"onset": 14, "apex": 14, "offset": 26}, "apex and onset are both frame 14"),
        (
            {"onset": 5, "apex": 14, "offset": 99},
            "offset is 99, expected a frame number from 0 to 29",
        ),
        ({"apex": 99}, "apex is 99, expected a frame number from 0 to 29"),
        ({"onset": 29}, "leave no frames between"),
        ({"apex": 0}, "apex and onset are both frame 0"),
        ({"box": (5000.0, 0.0, 6000.0, 900.0)}, r"smile\.mp4: .*leaves the frame"),
    ],
)
def test_numbers_that_do_not_fit(clip, networks, options, message):
    with pytest.raises(UserError, match=message):
        predict_clip(clip, networks, Options(**options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"onset": -1}, "onset is -1"),
        ({"face": "dlib"}, "face is 'dlib'"),
        ({"spotting": "magic"}, "spotting is 'magic'"),
        ({"abstain_below": 2.0}, "abstain_below is 2.0"),
        ({"box": (5.0, 5.0, 5.0, 9.0)}, "x0 < x1"),
        ({"box": (float("nan"), 5.0, 5.0, 9.0)}, "x0 < x1"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(UserError, match=message):
        Options(**options)


def test_clips_without_an_answer(frames, folder, video, networks):
    noise = np.random.default_rng(0).integers(0, 255, (12, 240, 320, 3), dtype=np.uint8)
    with pytest.raises(
        UserError, match=r"no face was found in 12 frames throughout the clip\. It may be dark"
    ):
        predict_clip(video("noise.mp4", list(noise)), networks)
    with pytest.raises(UserError, match="no face was found in the apex frame 14"):
        predict_clip(folder("dark", [image // 60 for image in frames]), networks, Options(**GIVEN))
    with pytest.raises(UserError, match="only one frame"):
        predict_clip(folder("one", frames[:1]), networks)
    with pytest.raises(UserError, match="only one frame"):
        predict_clip(video("one.mp4", frames[:1]), networks)
    with pytest.raises(UserError, match="no motion was found in frames 0 to 11"):
        predict_clip(folder("same", [frames[0]] * 12), networks)


def test_a_video_that_ends_before_the_offset(video, networks, frames):
    noisy = [
        cv2.add(image, np.random.default_rng(k).integers(0, 9, image.shape, dtype=np.uint8))
        for k, image in enumerate(frames)
    ]
    path = video("cut.avi", noisy, 200.0, "MJPG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    with pytest.raises(UserError, match=r"offset is 29, expected a frame number from 0 to 2\d"):
        predict_clip(path, networks, Options(onset=5, apex=14, offset=29))
    # Unless all that is needed is there.
    found = predict_clip(path, networks)
    assert "ends_early" in codes(found.warnings)
    assert len(found.expressions) == 1


def test_a_face_late_in_the_clip_is_found(frames, folder, networks):
    """Nothing is there in the first half; the program chooses no interval in it."""
    rng = np.random.default_rng(0)
    empty = [rng.integers(90, 110, frames[0].shape, dtype=np.uint8) for _ in range(120)]
    path = folder("late", [*empty, *frames])
    found = predict_clip(path, networks, Options(onset=120, offset=149, frame_rate=200.0))
    assert found.watched is not None and found.watched.frame >= 120
    assert found.to_json()["face"]["frame"] == found.watched.frame
    assert abs(found.expressions[0].interval.apex - 134) <= 3


def test_intervals_without_a_face_are_left_out(frames, networks, folder, monkeypatch):
    """An interval that the program chose is no error where it shows no face."""
    intervals = [Interval(0, k, 29, ("onset", "apex", "offset")) for k in (14, 20)]
    course = answers.Course(0, np.zeros(30, np.float32), 0.1)
    monkeypatch.setattr(answers, "find", lambda *_: (intervals, course, []))
    pictures = [*frames[:20], np.full_like(frames[0], 90), *frames[21:]]
    found = predict_clip(folder("one", pictures), networks, Options(frame_rate=200.0))
    assert [each.interval.apex for each in found.expressions] == [14]
    (lost,) = [each for each in found.warnings if each.code == "face_lost"]
    assert "frames 0…29" in lost.text
    del intervals[0]
    found = predict_clip(folder("none", pictures), networks, Options(frame_rate=200.0))
    assert found.expressions == [] and "face_lost" in codes(found.warnings)


def test_the_watched_face_is_described_where_nothing_is_found(frames, folder, networks):
    rng = np.random.default_rng(0)
    dark = frames[0] // 4
    images = [
        np.clip(dark + rng.normal(0, 1, dark.shape), 0, 255).astype(np.uint8) for _ in range(60)
    ]
    found = predict_clip(folder("dark", images), networks, Options(frame_rate=50.0))
    assert {"nothing_found", "light"} <= set(codes(found.warnings))
    assert found.watched is not None
    assert found.to_json()["face"]["box"] == pytest.approx(found.watched.box, abs=0.1)


def test_a_box_that_leaves_the_frame(frames, folder, networks):
    path = folder("clip", frames)
    for options in (GIVEN, {}):
        with pytest.raises(UserError, match="5000 leaves the frame of 640x480 pixels"):
            predict_clip(path, networks, Options(box=(10.0, 10.0, 5000.0, 5000.0), **options))


def test_a_name_that_is_not_utf8(frames, video, networks, tmp_path):
    name = os.fsdecode(b"caf\xe9.mp4")
    found = predict_clip(video("cafe.mp4", frames).rename(tmp_path / name), networks)
    assert found.clip.endswith("caf\\xe9.mp4")
    json.dumps(found.to_json(), ensure_ascii=False).encode()
