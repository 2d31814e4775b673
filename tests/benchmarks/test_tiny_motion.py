"""The tiny-motion benchmark: the motion of its clips and its scores."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from scipy import ndimage

from atnet_jax.errors import UserError
from atnet_jax.names import DEFAULT_FLOW
from atnet_jax.preprocessing.face import crop_face
from benchmarks import tiny_motion
from benchmarks.clip_flow import flow_of_clip
from benchmarks.moving_clips import (
    ALTERNATION,
    APEX,
    FRAMES,
    Degradation,
    MovingClip,
    read_degradation,
    skins,
)
from benchmarks.tiny_motion import Truth, scores

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def face_and_picture():
    return skins(2)


def lengths(flows: np.ndarray) -> np.ndarray:
    return np.hypot(flows[..., 0], flows[..., 1])


@pytest.mark.parametrize("index", [0, 1])
def test_resting_frame_is_the_crop(face_and_picture, index):
    skin = face_and_picture[index]
    frame = MovingClip(skin, 0.1)._frame(0)
    crop = crop_face(np.rint(skin.picture).clip(0, 255).astype(np.uint8), skin.box)
    # Both round, and the crop blurs around its own samples; its border is continued otherwise.
    assert np.abs(frame - crop)[4:-4, 4:-4].mean() < 0.7


@pytest.mark.parametrize(
    ("index", "motion", "name"),
    [(0, 0.1, "exact"), (1, 2.0, "exact"), (0, 0.05, "head+alternation"), (1, 0.5, "head")],
)
def test_next_frame_shows_the_same_at_the_end_of_the_flow(face_and_picture, index, motion, name):
    clip = read_degradation(name).clip(face_and_picture[index], motion)
    number = APEX - clip.rise // 2
    first, second, flow = clip._frame(number), clip._frame(number + 1), clip._flow(number)
    position = np.mgrid[:224, :224][::-1] + np.moveaxis(flow, -1, 0)
    moved = ndimage.map_coordinates(second, position[::-1], order=3, mode="mirror")

    def size(difference: np.ndarray) -> float:
        # A photograph has detail finer than two pixels, which no spline reads right between them:
        # it is 0.14 of the difference between the frames in the last case, and up to 0.4 elsewhere.
        return float(np.abs(ndimage.gaussian_filter(difference, 1))[8:-8, 8:-8].mean())

    before = size(second - first)
    assert before > 0.05
    assert size(moved - first) < 0.03 * before


@pytest.mark.parametrize(("index", "motion"), [(0, 0.01), (0, 0.1), (1, 0.03), (1, 2.0)])
def test_mean_motion_of_the_rise_is_the_wanted_one(face_and_picture, index, motion):
    clip = MovingClip(face_and_picture[index], motion)
    flows = clip.flows()
    assert flows.shape == (FRAMES - 1, 224, 224, 2)
    means = lengths(flows).mean((1, 2))
    assert means[APEX - clip.rise : APEX].mean() == pytest.approx(motion, rel=0.06)
    assert not means[: APEX - clip.rise].any() and not means[APEX + clip.rise :].any()


def test_small_part_of_a_face_cannot_be_fast(face_and_picture):
    face, picture = face_and_picture
    assert MovingClip(face, 0.03).possible
    assert not MovingClip(face, 1.0).possible
    assert MovingClip(picture, 2.0).possible


def test_head_drifts_and_odd_frames_lie_apart(face_and_picture):
    skin, still = face_and_picture[1], 1e-6
    clip = Degradation(head=True).clip(skin, still)
    drift = lengths(clip.flows()).mean((1, 2))
    assert clip.head is not None
    # As fast as drawn, but for the turn and the growth; turned back in the second half.
    assert drift.max() == pytest.approx(np.hypot(*clip.head.speed[:2]), rel=0.05)
    assert 0.12 < drift.max() < 0.18
    assert 0.55 < drift.mean() / drift.max() < 0.7
    flows = Degradation(alternation=True).clip(skin, still).flows()
    np.testing.assert_allclose(lengths(flows), ALTERNATION, atol=1e-4)
    np.testing.assert_allclose(flows[0], -flows[1], atol=1e-4)


def test_degradations_are_of_the_size_they_say():
    frames = np.full((9, 64, 64), 100.25, np.float32)
    assert Degradation(exact=True).apply(frames, "a") is frames
    rounded = Degradation().apply(frames, "a")
    assert rounded.dtype == np.uint8 and (rounded == 100).all()
    noisy = Degradation(noise=1.5).apply(frames, "a")
    assert np.std(noisy) == pytest.approx(np.hypot(1.5, 12**-0.5), rel=0.02)
    assert (noisy == Degradation(noise=1.5).apply(frames, "a")).all()
    assert (noisy != Degradation(noise=1.5).apply(frames, "b")).any()
    gain = Degradation(light=True).apply(frames, "a").mean((1, 2)) / 100.25
    assert 0.01 < np.abs(gain - 1).max() < 0.025
    compressed = Degradation(noise=1.5, jpeg=True).apply(frames, "a")
    assert 0 < np.abs(compressed.astype(float) - noisy).mean() < 2


def test_degradations_are_read():
    expected = Degradation(noise=0.7, jpeg=True, light=True)
    assert read_degradation("noise0.7+jpeg+light") == expected
    assert read_degradation("8bit") == Degradation()
    assert read_degradation("exact") == Degradation(exact=True)
    for text in ("fog", "noise", "noise0.7+exact", "noise-1", ""):
        with pytest.raises(UserError, match="Unknown degradation"):
            read_degradation(text)


def test_scores_by_hand():
    random = np.random.default_rng(0)
    blocks = random.normal(0, 0.5, (5, 8, 8, 2)).astype(np.float32)
    flows = blocks.repeat(28, 1).repeat(28, 2)
    truth = {"": Truth(flows)}

    same = scores(flows, truth)[""]
    assert same == pytest.approx((1, 1, 1, 0, 0), abs=1e-6)

    double = scores(2 * flows, truth)[""]
    assert double[:3] == pytest.approx((1, 2, 1), abs=1e-6)
    assert double.endpoint_error == pytest.approx(lengths(flows).mean(), rel=1e-5)

    back = scores(-flows, truth)[""]
    assert back[:3] == pytest.approx((1, 1, -1), abs=1e-6)

    nothing = scores(0 * flows, truth)[""]
    assert nothing[:3] == (0, 0, 0)
    angles = np.degrees(np.arctan(lengths(flows)))  # between (u, v, 1) and (0, 0, 1)
    assert nothing.angular_error == pytest.approx(angles.mean(), rel=1e-5)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.tiny_motion", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


def test_command_line(tmp_path):
    done = run(
        "--methods=farneback,dis",
        "--motions=0.03,0.05",
        "--degradations=8bit,head",
        "--clips=1",
        f"--json={tmp_path / 'scores.json'}",
        f"--table={tmp_path / 'table.md'}",
        f"--pictures={tmp_path / 'pictures'}",
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "scores.json").read_text())
    assert report["machine"]["cpus"]
    # Two motions and two methods; with a moving head, the visible and the skin's motion differ.
    assert len(report["scores"]) == 2 * 2 * 3
    best = report["scores"][0]
    assert best["method"] == "farneback" and best["magnitude_correlation"] > 0.9
    table = (tmp_path / "table.md").read_text()
    assert table.count("| 0.03 | head (skin) | 1 |") == 2
    assert table in done.stdout
    names = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert names == {"blocks.png", "correlation_8bit.png", "correlation_head.png"}
    for path in (tmp_path / "pictures").iterdir():
        assert path.stat().st_size < 150_000
        assert cv2.imread(str(path)) is not None


def test_a_wrong_argument_ends_the_command():
    done = run("--methods=crystal_ball")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ") and "crystal_ball" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("motions", "fast", "found 'fast'"), ("degradations", "fog", "Unknown degradation 'fog'")],
)
def test_wrong_arguments_are_reported(name, value, message):
    # Not parsed: other commands, whose flags are required, may be loaded in this process.
    flags.FLAGS.mark_as_parsed()
    with (
        flagsaver.flagsaver(**{name: [value]}),
        pytest.raises(SystemExit, match=f"^Error: .*{message}"),
    ):
        tiny_motion.main(["tiny_motion"])


def test_the_default_sees_a_face_move_by_three_hundredths_of_a_pixel(face_and_picture):
    """Through a camera's noise and JPEG, where the flow of neighbouring frames is mostly noise."""
    face = face_and_picture[0]
    for noise, least, bias in ((0.7, 0.93, 1.5), (1.5, 0.9, 1.5)):
        degradation = Degradation(noise=noise, jpeg=True)
        clip = degradation.clip(face, 0.03)
        frames, truth = degradation.apply(clip.frames(), face.name), {"seen": Truth(clip.flows())}
        found = {
            name: scores(flow_of_clip(name)(frames), truth)["seen"]
            for name in (DEFAULT_FLOW, "farneback", "horn_schunck")
        }
        best = found.pop(DEFAULT_FLOW)
        assert best.magnitude_correlation > least, noise
        assert 1 / bias < best.magnitude_ratio < bias, noise
        for name, adjacent in found.items():
            assert adjacent.magnitude_correlation < best.magnitude_correlation - 0.1, name
            assert adjacent.magnitude_ratio > best.magnitude_ratio, name


def test_options_remove_alternation_and_head_motion(face_and_picture):
    face = face_and_picture[0]
    skin = {"skin": Truth(MovingClip(face, 0.1).flows())}
    for name, option in (("alternation", "steady"), ("head", "stabilised")):
        degradation = read_degradation(name)
        frames = degradation.apply(degradation.clip(face, 0.1).frames(), face.name)
        kept, removed = (
            scores(flow_of_clip(flow)(frames), skin)["skin"]
            for flow in ("farneback", f"farneback_{option}")
        )
        assert removed.direction_correlation > kept.direction_correlation + 0.1, name
        assert removed.endpoint_error < 0.6 * kept.endpoint_error, name
