import cv2
import numpy as np
import pytest

from atnet_jax.inference.predict import caveats
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


def test_doubled_frames_and_cuts():
    flat = np.stack([np.full((224, 224), 100 + k, np.uint8) for k in range(20)])
    assert codes(caveats.of_crops(flat)) == []
    doubled = np.repeat(flat, 2, axis=0)
    assert codes(caveats.of_crops(doubled)) == ["doubled_frames"]
    # A codec that changes a few pixels of a copy does not hide it.
    doubled[1::2, ::16, ::16] += 1
    assert codes(caveats.of_crops(doubled)) == ["doubled_frames"]
    # A face that a codec leaves as it is, because little happens, is no copy.
    assert codes(caveats.of_crops(np.repeat(flat[:1], 40, axis=0))) == []
    cut = flat.copy()
    cut[12:] += 60
    (found,) = caveats.of_crops(cut)
    assert found.code == "sudden_change" and "frame 12 " in found.text
    assert codes(caveats.of_crops(flat[:1])) == []


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


def test_networks_that_differ():
    assert codes(caveats.of_scores(0.1, 5)) == []
    assert codes(caveats.of_scores(0.3, 5)) == ["networks_differ"]
    assert codes(caveats.of_scores(0.0, 1)) == []
