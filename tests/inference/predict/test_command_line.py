"""The command, and its errors for files that are no clips."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from atnet_jax import commands
from atnet_jax.experiments import run as experiment
from tests.tiny_runs import REPOSITORY, prepare_data, settings

PICTURE = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory) -> Path:
    """STSTNet, trained on all of 36 flow maps."""
    root = tmp_path_factory.mktemp("flow_maps")
    changes = {"task": "final", "num_epochs": 2, "checkpoint_every": 2}
    experiment.train_and_evaluate(settings(prepare_data(root), **changes), root / "run")
    return root / "run"


def predict(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "atnet_jax", "predict", *map(str, arguments)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONWARNINGS": "ignore::DeprecationWarning", **environment},
        capture_output=True,
        text=True,
    )


def test_a_clip_and_things_that_are_none(clip, workdir, video, folder, tmp_path):
    """One process, one sentence each, and the good clip is answered all the same."""
    png = cv2.imencode(".png", PICTURE)[1].tobytes()
    bad = {
        "zero.mp4": b"",
        "text.mp4": b"not a video",
        "picture.mp4": png,
        "cut.mp4": clip.read_bytes()[:9000],
        "list.mp4": b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n",
        "face.jpg": png,
    }
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
    gap = folder("gap", [PICTURE] * 4)
    (gap / "img2.png").unlink()
    paths = [
        *(tmp_path / name for name in bad),
        tmp_path / "missing.mp4",
        tmp_path / ("long" * 90),
        video("noise.mp4", [PICTURE] * 4),
        video("one.mp4", [PICTURE]),
        gap,
        tmp_path,
    ]
    out, temporary = tmp_path / "out", tmp_path / "temporary"
    temporary.mkdir()
    done = predict(workdir, clip, *paths, f"--out={out}", TMPDIR=str(temporary))
    assert done.returncode == 1
    assert not list(temporary.iterdir())
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == len(paths)
    for path, line in zip(paths, errors, strict=True):
        assert path.name[:50] in line
    assert f"{len(paths)} of {len(paths) + 1} clips have no prediction" in done.stderr
    (told,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert told["clip"] == str(clip)
    assert json.loads((out / "smile.json").read_text()) == told
    assert (out / "smile.png").read_bytes().startswith(b"\x89PNG")
    assert "smile.mp4" in (out / "smile.html").read_text()
    assert sorted(path.name for path in out.iterdir()) == ["smile.html", "smile.json", "smile.png"]
    # OpenCV and FFmpeg say nothing of their own.
    rest = [line for line in done.stderr.splitlines() if not line.startswith(("Error:", "Page:"))]
    assert rest == [f"{len(paths)} of {len(paths) + 1} clips have no prediction."]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", __file__], "nowhere: no such folder"),
        (["tests", __file__], "tests holds no run"),
        (["tests", "a.mp4", "b"], "a.mp4: no such video file or folder of frames"),
        (["x", "a.mp4", "--apex=5", "b.mp4"], "--apex applies to a single clip"),
        (["x", "a.mp4", "--box=1,2,3"], "--box: '1,2,3' is not four numbers"),
        (["x", "a.mp4", "--onset=-1"], "onset is -1"),
        (["x", "a.mp4", "--abstain_below=7"], "abstain_below is 7.0"),
    ],
)
def test_arguments_that_do_not_fit(arguments, message, capsys):
    """In this process: starting one takes longer than all else."""
    assert commands.run(["predict", *arguments]) == 1
    said = capsys.readouterr().err
    assert said.startswith("Error: ") and message in said


def test_an_out_folder_that_is_taken(workdir, clip, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    done = predict(workdir, clip, f"--out={tmp_path}")
    assert done.returncode == 1
    assert "already exists. Choose a new --out" in done.stderr and "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
