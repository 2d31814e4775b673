import dataclasses
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from atnet_jax.errors import UserError
from atnet_jax.names import FLOWS
from atnet_jax.preprocessing import crops as crops_module
from atnet_jax.preprocessing import face as face_module
from atnet_jax.preprocessing.annotation import VideoFrames
from atnet_jax.preprocessing.clip import _signs
from atnet_jax.preprocessing.face import FaceNotFoundError
from atnet_jax.preprocessing.flow_map import flow_map
from atnet_jax.preprocessing.optical_flow import flow_method
from tests.extract import extract


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize(
    ("right", "down", "direction"), [(0.25, 0, 0.0), (0, 0.25, np.pi / 2)], ids=["right", "down"]
)
def test_pure_translation(make_clip, shifted, flow: str, right: float, down: float, direction):
    """Every block of every row has the shift's direction and size; the map has its sum."""
    images = [shifted(n * right, n * down) for n in range(9)]
    features = extract(make_clip(images, 10, 10, 14, 18), face="none", box=None, flow=flow)

    assert np.flatnonzero(features.adm.any(axis=1)).tolist() == list(range(28, 36))
    blocks = features.adm[28:36].reshape(8, 8, 8, 2)[:, 1:-1, 1:-1]
    assert np.abs(blocks[..., 0] - direction).mean() < 0.1
    # OpenCV's FAST sees small motions a sixth too large.
    tolerance = 0.25 if flow == "dis_fast" else 0.15
    np.testing.assert_allclose(blocks[..., 1].mean(), 0.25, rtol=tolerance)

    np.testing.assert_array_equal(features.apex, images[4])
    assert features.crop_box == (0.0, 0.0, 224.0, 224.0)
    inner, total = features.flow_map[4:-4, 4:-4], [4 * right, 4 * down, 0]
    np.testing.assert_allclose(np.median(inner, (0, 1)), total, atol=0.4 * tolerance)


def test_same_crop_for_every_frame(make_clip, shifted, monkeypatch: pytest.MonkeyPatch):
    """The detector is asked once, for the apex, and frames that do not move show no motion."""
    asked = []

    def detector(image, name, _box, notes=None):
        asked.append((image.copy(), name))
        return (20.3, 10.7, 180.3, 170.7), None

    monkeypatch.setattr(crops_module, "locate_face", detector)
    images = [shifted(0, 0)] * 5
    images[2] = shifted(0, 0, noise=2.0)
    features = extract(make_clip(images, 1, 1, 3, 5), face="mtcnn", box=None, flow="farneback")
    assert len(asked) == 1
    np.testing.assert_array_equal(asked[0][0], images[2])
    assert asked[0][1] == "mtcnn"
    assert features.crop_box == (20.3, 10.7, 180.3, 170.7)
    # Rows of the pairs 1→2 and 4→5; those with the noisy apex lie between them.
    assert features.adm[[30, 33], 1::2].max() < 1e-3
    assert features.adm[[31, 32], 1::2].min() > 1e-2


def test_box_by_hand_wins(make_clip, shifted, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(face_module, "find_faces", lambda *_: pytest.fail("asked the detector"))
    images = [shifted(0.3 * n, 0) for n in range(3)]
    box = (50.0, 60.0, 162.0, 172.0)
    features = extract(make_clip(images, 1, 1, 2, 3), face="mtcnn", box=box, flow="farneback")
    assert features.crop_box == box
    # The crop enlarges the frame twice, and motion is in pixels of the crop.
    np.testing.assert_allclose(np.median(features.flow_map[4:-4, 4:-4, 0]), 0.6, rtol=0.1)


def test_frames_outside_the_clip_are_never_read(make_clip, shifted):
    images = [shifted(0.2 * n, 0) for n in range(7)]
    clip = make_clip(images, 0, 2, 3, 4)
    whole = extract(clip, face="none", box=None, flow="dis")
    for number in (0, 1, 5, 6):
        clip.frames[number].write_text("not a picture")
    again = extract(clip, face="none", box=None, flow="dis")
    np.testing.assert_array_equal(again.adm, whole.adm)
    np.testing.assert_array_equal(again.flow_map, whole.flow_map)
    clip.frames[4].write_text("not a picture")
    with pytest.raises(UserError, match=r"img4\.png"):
        extract(clip, face="none", box=None, flow="dis")


def test_each_frame_is_read_once(make_clip, shifted, monkeypatch: pytest.MonkeyPatch):
    """The onset too, where it lies before the window."""
    images = [shifted(0.05 * n, 0) for n in range(36)]
    clip = make_clip(images, 100, 100, 134, 135)
    read = {False: [], True: []}
    reader = crops_module.read_frames

    def recorder(clip, numbers, colour=False):
        read[colour].extend(numbers)
        return reader(clip, numbers, colour)

    monkeypatch.setattr(crops_module, "read_frames", recorder)
    features = extract(clip, face="none", box=None, flow="farneback")
    assert sorted(read[False]) == [100, *range(102, 136)]
    assert read[True] == [100, 101, 132, 133, 134, 135]
    assert np.flatnonzero(features.adm.any(axis=1)).tolist() == list(range(33))
    expected = flow_map(flow_method("farneback").between(images[0], images[34]))
    np.testing.assert_array_equal(features.flow_map, expected)


def test_circular_reaches_the_adm(make_clip, shifted):
    clip = make_clip([shifted(-0.3 * n, 0) for n in range(3)], 1, 1, 2, 3)
    plain = extract(clip, face="none", box=None, flow="dis").adm
    circular = extract(clip, face="none", box=None, flow="dis", circular=True).adm
    np.testing.assert_array_equal(plain[:, 1::2], circular[:, 1::2])
    inner = circular[31:33, 0::2].reshape(2, 8, 8)[:, 1:-1, 1:-1]
    assert np.abs(np.abs(inner) - np.pi).mean() < 0.1
    assert np.abs(plain[31:33, 0::2]).mean() < 2.5


def test_a_video_gives_the_same_result_as_its_frames(make_clip, shifted, tmp_path: Path):
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, (224, 224))
    for n in range(8):
        writer.write(cv2.cvtColor(shifted(0.5 * n, 0), cv2.COLOR_GRAY2BGR))
    writer.release()
    clip = make_clip([], 0, 2, 4, 6)
    clip = dataclasses.replace(clip, frames=VideoFrames(path))
    features = extract(clip, face="none", box=None, flow="farneback")
    assert np.flatnonzero(features.adm.any(axis=1)).tolist() == [30, 31, 32, 33]
    assert np.abs(features.apex.astype(int) - shifted(2, 0)).mean() < 3
    np.testing.assert_allclose(np.median(features.flow_map[4:-4, 4:-4, 0]), 1.0, rtol=0.1)


def test_apex_at_the_onset_shows_no_motion(make_clip, shifted):
    clip = make_clip([shifted(0, 0)] * 2, 5, 5, 5, 6)
    with pytest.raises(UserError, match="casme2/sub01/EP01: apex and onset are both frame 5"):
        extract(clip, face="none", box=None, flow="dis")


def test_apex_outside_the_clip(make_clip):
    with pytest.raises(UserError, match="casme2/sub01/EP01: expected onset <= apex <= offset"):
        extract(make_clip([], 5, 5, 9, 6), face="none", box=None, flow="dis")


def test_errors_name_the_clip(make_clip):
    clip = make_clip([np.full((224, 224), 128, np.uint8)] * 3, 1, 1, 2, 3)
    with pytest.raises(FaceNotFoundError, match="casme2/sub01/EP01, apex frame 2: no face"):
        extract(clip, face="mtcnn", box=None, flow="dis")
    for box in [
        (300.0, 0.0, 400.0, 100.0),
        (10.0, 10.0, 5000.0, 5000.0),
        (-60.0, 0.0, 140.0, 200.0),
    ]:
        with pytest.raises(UserError, match=r"casme2/sub01/EP01: .* leaves the frame of 224x224"):
            extract(clip, face="mtcnn", box=box, flow="dis")
    with pytest.raises(UserError, match="Unknown flow method 'x'"):
        extract(clip, face="none", box=None, flow="x")


def test_jax_is_not_imported():
    """Workers start fast, and a process that forks is safe."""
    code = "import sys, atnet_jax.preprocessing.clip; sys.exit('jax' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_odd_frames_that_lie_apart_are_put_back(make_clip, shifted):
    """Onset and apex too, where one is even and the other odd."""
    right = np.arange(21) * 0.1
    steady = [shifted(x, 0) for x in right]
    apart = [shifted(x + 0.4 * (n % 2), -0.2 * (n % 2)) for n, x in enumerate(right)]
    found = {}
    for name, images, cancel in (
        ("truth", steady, False),
        ("faulty", apart, False),
        ("cancelled", apart, True),
        ("nothing to cancel", steady, True),
    ):
        clip = make_clip(images, 30, 30, 41, 50)
        found[name] = extract(
            clip, face="none", box=None, flow="farneback", cancel_alternation=cancel
        )
    for name in ("adm", "flow_map"):
        truth = getattr(found["truth"], name)
        np.testing.assert_array_equal(getattr(found["nothing to cancel"], name), truth)
        error = {k: np.abs(getattr(found[k], name) - truth).mean() for k in found}
        assert error["cancelled"] < 0.15 * error["faulty"], name


@pytest.mark.parametrize(
    ("onset", "apex", "of_onset_to_apex"), [(30, 41, 1), (31, 42, 1), (30, 40, 0), (30, 63, -1)]
)
def test_displacements_count_from_the_first_frame_of_the_window(onset, apex, of_onset_to_apex):
    """The number of frames is odd or even; in the last case the onset precedes the window."""
    none = np.zeros((0, 224, 224), np.uint8)
    crops = crops_module.Crops(onset, apex, apex + 9, (), none, (0.0, 0.0, 1.0, 1.0))
    signs = _signs(crops, crops.window)
    assert signs.tolist() == [(-1) ** n for n in range(len(crops.window) - 1)] + [of_onset_to_apex]


def test_the_heads_own_motion_is_taken_out(make_clip, shifted):
    images = [shifted(0.3 * n, -0.2 * n) for n in range(9)]
    clip = make_clip(images, 10, 10, 14, 18)
    kept = extract(clip, face="none", box=None, flow="farneback")
    removed = extract(clip, face="none", box=None, flow="farneback", remove_head_motion=True)
    for before, after in (
        (kept.adm[:, 1::2], removed.adm[:, 1::2]),
        (kept.flow_map[..., :2], removed.flow_map[..., :2]),
    ):
        assert np.abs(after).mean() < 0.1 * np.abs(before).mean()


def test_smoothing_in_time_takes_neighbours_from_within_the_clip(make_clip, shifted):
    """Neighbours of the window and of the onset are read, nothing outside onset…offset."""
    images = [shifted(0.02 * n, 0, noise=0.7, seed=n) for n in range(112)]
    clip = make_clip(images, 100, 101, 160, 209)
    method = flow_method("spatiotemporal")
    crops = crops_module.cut(clip, face="none", box=None, reach=method.reach)
    reach = method.reach
    assert crops.numbers == (*range(101, 102 + reach), *range(128 - reach, 193 + reach))
    (clip.frames[100]).write_text("not a picture")
    features = extract(clip, face="none", box=None, flow="spatiotemporal")
    assert features.frames.shape == (65, 224, 224)
    np.testing.assert_array_equal(features.apex, images[60])
    # Steady motion of 0.02 pixels, noise and all, in every row and from onset to apex.
    blocks = features.adm.reshape(64, 8, 8, 2)[:, 1:-1, 1:-1, 1]
    np.testing.assert_allclose(blocks.mean((1, 2)), 0.02, atol=0.012)
    assert np.median(features.flow_map[4:-4, 4:-4, 0]) == pytest.approx(59 * 0.02, rel=0.05)
    adjacent = extract(clip, face="none", box=None, flow="horn_schunck")
    assert adjacent.adm[:, 1::2].mean() > 2 * features.adm[:, 1::2].mean()
