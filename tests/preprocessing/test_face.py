import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from atnet_jax.errors import UserError
from atnet_jax.preprocessing import face
from atnet_jax.preprocessing.face import FaceNotFoundError, crop_face, locate_face, read_boxes


def draw_face(frame: np.ndarray, x: float, y: float, scale: float) -> None:
    """Draw a face about 200·scale pixels high around (x, y), good enough for MTCNN."""

    def at(dx: float, dy: float) -> tuple[int, int]:
        return round(x + scale * dx), round(y + scale * dy)

    def ellipse(dx, dy, a, b, level, start=0):
        size = (round(scale * a), round(scale * b))
        cv2.ellipse(frame, at(dx, dy), size, 0, start, 360, level, -1)

    ellipse(0, -25, 102, 135, 35)  # hair
    ellipse(0, 0, 88, 120, 185)
    for side in (-1, 1):
        ellipse(38 * side, -38, 24, 7, 60, start=180)  # brow
        ellipse(38 * side, -18, 18, 9, 225)
        ellipse(38 * side, -18, 8, 8, 40)
        ellipse(9 * side, 32, 7, 4, 110)
    ellipse(0, 12, 10, 26, 200)
    ellipse(0, 66, 34, 11, 110)
    cv2.line(frame, at(-32, 66), at(32, 66), 70, max(1, round(3 * scale)))


def frame_with_faces(*faces: tuple[float, float, float]) -> np.ndarray:
    frame = np.full((480, 640), 70, np.uint8)
    for x, y, scale in faces:
        draw_face(frame, x, y, scale)
    return cv2.GaussianBlur(frame, (0, 0), 3)


def test_mtcnn_box_is_a_square_around_the_face():
    (x0, y0, x1, y1), _ = locate_face(frame_with_faces((300, 230, 1.0)), "mtcnn")
    assert x1 - x0 == y1 - y0
    assert 180 < x1 - x0 < 280
    assert abs((x0 + x1) / 2 - 300) < 15
    assert abs((y0 + y1) / 2 - 230) < 25


def test_mtcnn_landmarks_are_on_the_features_of_the_face():
    """OpenCV 5.0.0 evaluates two of MTCNN's three networks wrongly; they are then 6 pixels off."""
    _, found = locate_face(frame_with_faces((300, 230, 1.0)), "mtcnn")
    for eye, drawn in ((found.left_eye, (262, 212)), (found.right_eye, (338, 212))):
        assert np.hypot(eye[0] - drawn[0], eye[1] - drawn[1]) < 4


def test_largest_of_several_faces():
    (x0, _, x1, _), _ = locate_face(frame_with_faces((140, 240, 0.6), (430, 240, 1.1)), "mtcnn")
    assert abs((x0 + x1) / 2 - 430) < 20


def test_the_square_may_leave_the_frame():
    frame = frame_with_faces((300, 230, 1.0))[110:360]
    (x0, y0, x1, y1), _ = locate_face(np.ascontiguousarray(frame[:, 205:400]), "mtcnn")
    assert x1 - x0 == y1 - y0
    assert x0 < 0 or x1 > 195


class FakeDetector:
    min_face_size = 20

    def __init__(self, *faces: tuple[list[int], float]):
        self.faces = faces

    def detect_faces(self, image: np.ndarray) -> list[dict]:
        assert image.shape == (480, 640, 3)
        names = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
        return [
            {"box": box, "confidence": confidence, "keypoints": {n: box[:2] for n in names}}
            for box, confidence in self.faces
        ]


def test_doubtful_faces_do_not_count(monkeypatch: pytest.MonkeyPatch):
    frame = np.zeros((480, 640), np.uint8)
    detector = FakeDetector(([0, 0, 400, 400], 0.8), ([100, 50, 60, 80], 0.95), ([9, 9, 9, 9], 1.0))
    monkeypatch.setattr(face, "_mtcnn", lambda: detector)
    assert locate_face(frame, "mtcnn")[0] == (90.0, 50.0, 170.0, 130.0)
    detector.faces = detector.faces[:1]
    with pytest.raises(FaceNotFoundError):
        locate_face(frame, "mtcnn")


@pytest.mark.parametrize("shape", [(480, 640), (10, 640), (5, 5)])
def test_no_face(shape: tuple[int, int]):
    with pytest.raises(FaceNotFoundError, match="dataset,subject,clip,x0,y0,x1,y1"):
        locate_face(np.full(shape, 128, np.uint8), "mtcnn")


def test_none_is_the_whole_frame():
    frame = np.zeros((340, 280), np.uint8)
    assert locate_face(frame, "none") == ((0.0, 0.0, 280.0, 340.0), None)


def test_unknown_detector():
    with pytest.raises(UserError, match=r"'asm'\. Choose one of mtcnn, none"):
        locate_face(np.zeros((8, 8), np.uint8), "asm")


HEADER = "dataset,subject,clip,x0,y0,x1,y1\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "boxes.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_read_boxes(tmp_path: Path):
    text = "\ufeff" + HEADER + "casme2,sub01,EP02_01f,1,2.5,300,301\nsmic,s01, c1 ,-5,0,90,90\n"
    assert read_boxes(write(tmp_path, text)) == {
        ("casme2", "sub01", "EP02_01f"): (1.0, 2.5, 300.0, 301.0),
        ("smic", "s01", "c1"): (-5.0, 0.0, 90.0, 90.0),
    }
    text = HEADER.replace(",", ";") + "samm;6;006_1_2;0,5;1;9;9\n"
    assert read_boxes(write(tmp_path, text)) == {("samm", "6", "006_1_2"): (0.5, 1.0, 9.0, 9.0)}


GOOD = "casme2,sub01,EP01,1,2,3,4\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("subject,clip\n", "lacks the column dataset, x0, y0, x1, y1"),
        ("dataset,subject,clip,x0,y0,x1\n", "lacks the column y1"),
        (HEADER + GOOD + "casme2,sub01,EP02,1,2,3\n", "row 3: y1 is empty"),
        (HEADER + GOOD + "casme2,,EP02,1,2,3,4\n", "row 3: subject is empty"),
        (
            HEADER + GOOD + "casme2,sub01,EP02,1,2,three,4\n",
            "row 3: x1 is 'three', expected a number",
        ),
        (HEADER + "casme2,sub01,EP02,1,nan,3,4\n", "row 2: y0 is 'nan', expected a number"),
        (HEADER + "casme2,sub01,EP02,5,2,5,4\n", "row 2: expected x0 < x1"),
        (HEADER + "casme2,sub01,EP02,1,4,5,2\n", "row 2: expected x0 < x1 and y0 < y1"),
        (HEADER + GOOD + "\n" + GOOD, "row 4: second box for clip casme2/sub01/EP01"),
        (HEADER + 'casme2,"sub01', "is not a CSV file"),
    ],
)
def test_bad_boxes(tmp_path: Path, text: str, message: str):
    with pytest.raises(UserError, match=rf"boxes\.csv.*{message}"):
        read_boxes(write(tmp_path, text))


@pytest.mark.parametrize(
    "box", [(-25.0, 0.0, 75.0, 100.0), (0.0, -25.0, 100.0, 75.0), (30.0, 0.0, 122.0, 90.0)]
)
def test_a_box_may_leave_the_frame_as_far_as_those_of_the_detector(box):
    assert locate_face(np.zeros((80, 100), np.uint8), "mtcnn", box) == (box, None)


@pytest.mark.parametrize(
    "box", [(-26.0, 0.0, 74.0, 100.0), (0.0, -26.0, 100.0, 74.0), (30.0, 0.0, 125.0, 90.0)]
)
def test_a_box_that_leaves_the_frame_farther_is_rejected(box):
    with pytest.raises(UserError, match="leaves the frame of 100x80 pixels"):
        locate_face(np.zeros((80, 100), np.uint8), "mtcnn", box)


def test_unreadable_boxes(tmp_path: Path):
    with pytest.raises(UserError, match=r"boxes\.csv cannot be read"):
        read_boxes(tmp_path / "boxes.csv")
    (tmp_path / "boxes.csv").write_bytes(HEADER.encode("utf-16-le"))
    with pytest.raises(UserError, match=r"boxes\.csv"):
        read_boxes(tmp_path / "boxes.csv")


def test_crop_of_the_right_size_is_a_plain_cut():
    frame = np.random.default_rng(0).integers(0, 256, (480, 640), dtype=np.uint8)
    np.testing.assert_array_equal(
        crop_face(frame, (100.0, 50.0, 324.0, 274.0)), frame[50:274, 100:324]
    )


def test_border_is_replicated():
    frame = np.random.default_rng(0).integers(0, 256, (300, 300), dtype=np.uint8)
    crop = crop_face(frame, (-50.0, 200.0, 174.0, 424.0))
    inside = np.pad(frame, ((0, 200), (50, 0)), mode="edge")[200:424, :224]
    np.testing.assert_array_equal(crop, inside)


def ramp(height: int, width: int) -> np.ndarray:
    """Grey level = 20 + 0.2 x + 0.1 y at the position (x, y) of a pixel's centre."""
    y, x = np.mgrid[:height, :width] + 0.5
    return np.rint(20 + 0.2 * x + 0.1 * y).astype(np.uint8)


@pytest.mark.parametrize(
    "box",
    [
        (20.0, 30.0, 420.0, 430.0),
        (20.3, 30.7, 150.9, 170.1),
        (100.25, 10.5, 324.25, 234.5),
        (20.0, 30.0, 600.0, 330.0),
    ],
    ids=["shrunk", "enlarged", "moved by fractions", "not square"],
)
def test_geometry(box: tuple[float, float, float, float]):
    """Each output pixel shows its own part of the box: a ramp stays that ramp."""
    crop = crop_face(ramp(480, 640), box).astype(float)
    steps = (np.arange(224) + 0.5) / 224
    x = box[0] + steps * (box[2] - box[0])
    y = box[1] + steps[:, None] * (box[3] - box[1])
    # Away from the border, where the filter is symmetric; half a level of rounding twice.
    error = (crop - (20 + 0.2 * x + 0.1 * y))[2:-2, 2:-2]
    assert np.abs(error).max() < 1.01
    assert abs(error.mean()) < 0.02


def test_shrinking_does_not_alias():
    """Stripes finer than the crop's pixels become even grey, not false texture."""
    frame = np.zeros((900, 900), np.uint8)
    frame[:, ::2] = 200
    assert crop_face(frame, (3.0, 3.0, 893.3, 893.3)).std() < 2


def test_a_shift_of_the_frame_is_the_shift_of_the_box():
    frame = np.random.default_rng(0).integers(0, 256, (400, 400), dtype=np.uint8)
    moved = np.roll(frame, (3, 5), (0, 1))
    np.testing.assert_array_equal(
        crop_face(frame, (60.0, 50.0, 320.0, 310.0)), crop_face(moved, (65.0, 53.0, 325.0, 313.0))
    )


@pytest.mark.parametrize(
    "box",
    [(10.0, 0.0, 10.0, 50.0), (100.0, 0.0, 200.0, 50.0), (-9.0, -9.0, 0.0, 50.0)],
    ids=["no area", "right of the frame", "left of the frame"],
)
def test_box_outside_the_frame(box: tuple[float, float, float, float]):
    with pytest.raises(UserError, match="outside the frame of 100x50"):
        crop_face(np.zeros((50, 100), np.uint8), box)


def test_a_crop_in_colour_is_that_of_each_channel():
    frame = np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)
    box = (-4.5, 10.2, 66.1, 80.8)
    crop = crop_face(frame, box)
    assert crop.shape == (224, 224, 3)
    for channel in range(3):
        np.testing.assert_array_equal(crop[..., channel], crop_face(frame[..., channel], box))


def test_the_detector_is_loaded_without_warnings(tmp_path):
    """Python warns of a module's syntax when it compiles the module for the first time."""
    code = "from atnet_jax.preprocessing import face; face._mtcnn()"
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
