import dataclasses
import itertools

import cv2
import numpy as np
import pytest

from atnet_jax.inference.predict import caveats
from atnet_jax.preprocessing import face as detector
from atnet_jax.preprocessing.crops import Crops
from atnet_jax.preprocessing.face import Face, Landmarks

BOX = (100.0, 100.0, 380.0, 380.0)


def codes(found) -> list[str]:
    found = list(found)
    assert all(each.text.endswith(".") for each in found)
    return [each.code for each in found]


def texture(seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).uniform(0, 255, (224, 224)).astype(np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), 4)
    return np.clip(128 + 8 * (blurred - 128), 0, 255).astype(np.uint8)


def moved(image: np.ndarray, right: float, down: float) -> np.ndarray:
    matrix = np.array([[1, 0, right], [0, 1, down]], np.float32)
    return cv2.warpAffine(image, matrix, (224, 224), borderMode=cv2.BORDER_REPLICATE)


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (0.0, ["frame_rate_unknown"]),
        (25.0, ["frame_rate_slow"]),
        (49.0, ["frame_rate_slow"]),
        (50.0, []),
        (100.0, []),
        (200.0, []),
        (300.0, []),
        (1000.0, ["frame_rate_fast"]),
    ],
)
def test_frame_rate(rate, expected):
    assert codes(caveats.of_frame_rate(rate, False, 200.0)) == expected


def test_slow_motion_is_suggested_only_where_the_file_says_the_rate():
    (told,) = caveats.of_frame_rate(30.0, False, 200.0)
    (given,) = caveats.of_frame_rate(30.0, True, 200.0)
    assert "--frame_rate" in told.text and "--frame_rate" not in given.text
    assert "2.17 s" in told.text  # 65 frames


def test_timing():
    even = np.arange(100) / 200
    assert codes(caveats.of_timing(even)) == []
    # Milliseconds are rounded in some files.
    assert codes(caveats.of_timing(np.round(even, 3))) == []
    assert codes(caveats.of_timing(np.delete(even, [20, 21, 50]))) == ["uneven_timing"]
    assert "2%" in next(caveats.of_timing(np.delete(even, [20, 21, 50]))).text
    assert codes(caveats.of_timing(np.full(100, np.nan))) == []
    assert codes(caveats.of_timing(np.zeros(100))) == []


def test_times_of_joined_files_and_frames_without_a_time():
    even = np.arange(100) / 200
    (found,) = caveats.of_timing(np.concatenate([even, even]))
    assert "jump back at frame 100" in found.text and "Less than 1%" in found.text
    even[[20, 99]] = np.nan
    assert codes(caveats.of_timing(even)) == []


def changes(pictures: list[np.ndarray]) -> list[float]:
    return [float(np.abs(b.astype(int) - a).mean()) for a, b in itertools.pairwise(pictures)]


def test_doubled_frames_and_cuts():
    flat = [np.full((24, 24), 100 + k, np.uint8) for k in range(20)]
    assert codes(caveats.of_changes(changes(flat), 0, 200.0)) == []
    doubled = [flat[k // 2].copy() for k in range(40)]
    assert codes(caveats.of_changes(changes(doubled), 0, 200.0)) == ["doubled_frames"]
    # A codec that changes a few pixels of a copy does not hide it.
    for copy in doubled[1::2]:
        copy[::4, ::4] += 1
    assert codes(caveats.of_changes(changes(doubled), 0, 200.0)) == ["doubled_frames"]
    # A face that a codec leaves as it is, because little happens, is no copy.
    assert codes(caveats.of_changes([0.0] * 40, 0, 200.0)) == []
    (found,) = caveats.of_changes([1.0] * 11 + [60.0] + [1.0] * 8, 500, 200.0)
    assert found.code == "sudden_change" and "frame 512 " in found.text
    assert codes(caveats.of_changes([], 0, 200.0)) == []


@pytest.mark.parametrize(
    ("true", "rate"), [(25, 30), (24, 50), (30, 60), (30, 100), (30, 200), (10, 200), (30, 240)]
)
def test_the_true_rate_of_a_converted_video_is_named(true, rate):
    """Frames are repeated as `ffmpeg -r` does; the codec changes the copies a little."""
    rng = np.random.default_rng(0)
    frames = np.arange(3 * rate) * true // rate
    change = np.where(np.diff(frames) > 0, rng.uniform(1, 6, 3 * rate - 1), 0.0)
    change += rng.uniform(0, 0.1, len(change))
    (found,) = caveats.of_changes(change, 0, float(rate))
    named = float(found.text.split("at about ")[1].split(" ")[0])
    assert named == pytest.approx(true, rel=0.05)


def test_keyframes_and_single_movements_are_no_copies():
    rng = np.random.default_rng(0)
    # A codec whose every twelfth frame is a keyframe, as OpenCV writes mp4.
    keyframes = rng.uniform(0.01, 0.05, 200)
    keyframes[::12] = 0.3
    assert codes(caveats.of_changes(keyframes, 0, 200.0)) == []
    blinks = rng.uniform(0.8, 1.2, 200)
    blinks[50:54] = blinks[80:84] = 8.0
    assert codes(caveats.of_changes(blinks, 0, 200.0)) == []


def test_interlaced_frames():
    _, x = np.mgrid[:200, :200]
    early, late = ((120 + 80 * np.sin((x + k) / 9)).astype(np.uint8) for k in (0, 12))
    woven = early.copy()
    woven[1::2] = late[1::2]
    box = (20.0, 20.0, 180.0, 180.0)
    noise = np.random.default_rng(0).integers(0, 255, (200, 200), dtype=np.uint8)
    shares = [caveats.combing(image, box) for image in (early, late, noise)]
    assert codes(caveats.of_combing(shares)) == []
    assert codes(caveats.of_combing([*shares, caveats.combing(woven, box)])) == ["interlaced"]
    assert codes(caveats.of_combing([])) == []


def face(left=(170.0, 200.0), right=(310.0, 200.0), nose=(240.0, 270.0), box=BOX) -> Face:
    return Face(box, Landmarks(left, right, nose, (190.0, 330.0), (290.0, 330.0)), 0.99)


def test_face():
    crop = texture()
    assert codes(caveats.of_face([face()], BOX, crop)) == []
    assert codes(caveats.of_face([], BOX, crop)) == []
    assert codes(caveats.of_face([face(), face()], BOX, crop)) == ["several_faces"]
    assert codes(caveats.of_face([], (0.0, 0.0, 100.0, 100.0), crop)) == ["small_face"]
    tilted = face(right=(300.0, 260.0))
    assert codes(caveats.of_face([tilted], BOX, crop)) == ["pose"]
    turned = face(nose=(290.0, 270.0))
    assert codes(caveats.of_face([turned], BOX, crop)) == ["pose"]
    # The same pose on a tilted head is not turned: the nose is off along the eyes, not across.
    assert "tilted" in next(caveats.of_face([tilted], BOX, crop)).text


def test_a_face_upside_down(monkeypatch):
    """MTCNN finds it too, but is surer of the turned picture."""
    crop = texture()

    def find(image):
        upright = np.array_equal(image, crop)
        return [dataclasses.replace(face(), confidence=0.97 if upright else 0.99)]

    monkeypatch.setattr(detector, "find_faces", find)
    (found,) = caveats.of_face([face()], BOX, crop)
    assert found.code == "pose" and "is upside down" in found.text
    monkeypatch.setattr(detector, "find_faces", lambda _: [])
    assert codes(caveats.of_face([face()], BOX, crop)) == []


@pytest.mark.parametrize(
    ("image", "word"),
    [
        (texture() // 8, "dark"),
        (215 + texture() // 8, "bright"),
        (120 + texture() // 32, "low in contrast"),
    ],
)
def test_light(image, word):
    (found,) = caveats.of_face([], BOX, image.astype(np.uint8))
    assert found.code == "light" and word in found.text


def crops_of(images: list[np.ndarray], onset: int, apex: int, offset: int) -> Crops:
    return Crops(
        onset, apex, offset, tuple(range(onset, onset + len(images))), np.stack(images), BOX
    )


def smile(strength: float) -> np.ndarray:
    """A patch of a still picture moves up."""
    y, x = np.mgrid[:224, :224].astype(np.float32)
    weight = np.exp(-((x - 80) ** 2 + (y - 160) ** 2) / (2 * 15**2))
    return cv2.remap(texture(), x, y + strength * weight, cv2.INTER_CUBIC)


def test_motion_of_an_expression():
    steps = [smile(k / 10) for k in range(31)]
    assert codes(caveats.of_motion(crops_of(steps, 0, 30, 30), 200.0)) == []


def test_length():
    steps = [smile(k / 10) for k in range(31)]
    assert codes(caveats.of_motion(crops_of(steps, 0, 30, 30), 50.0)) == ["long"]
    assert codes(caveats.of_motion(crops_of(steps[::3], 0, 10, 10), 100.0)) == ["short"]


def test_still_faces_and_moving_heads():
    still = [smile(0.0)] * 31
    assert codes(caveats.of_motion(crops_of(still, 0, 30, 30), 200.0)) == ["weak_motion"]
    noisy = [
        np.clip(smile(0.0) + np.random.default_rng(k).normal(0, 1.5, (224, 224)), 0, 255)
        for k in range(31)
    ]
    noisy = [image.astype(np.uint8) for image in noisy]
    assert codes(caveats.of_motion(crops_of(noisy, 0, 30, 30), 200.0)) == ["weak_motion"]
    head = [moved(smile(k / 10), 0.15 * k, 0) for k in range(31)]
    (found,) = caveats.of_motion(crops_of(head, 0, 30, 30), 200.0)
    assert found.code == "head_moves" and "4." in found.text


def test_networks_that_differ_or_name_no_class():
    sure, unsure = np.array([[0.1, 0.7, 0.2], [0.3, 0.3, 0.4]], np.float32)
    assert codes(caveats.of_scores(sure, 0.5, 0.1, 5)) == []
    assert codes(caveats.of_scores(sure, 0.5, 0.3, 5)) == ["networks_differ"]
    assert codes(caveats.of_scores(sure, 0.5, 0.0, 1)) == []
    (low,) = caveats.of_scores(unsure, 0.5, 0.0, 1)
    assert low.code == "low_score" and "0.40 for surprise, is below 0.5" in low.text


def test_expressions_that_share_frames():
    spans = [(0, 5, 10), (10, 14, 20), (21, 25, 30)]
    found = [list(caveats.of_overlap(s, [o for o in spans if o != s])) for s in spans]
    assert [codes(each) for each in found] == [["overlaps"], ["overlaps"], []]
    assert "apex is frame 14" in found[0][0].text
