import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from atnet_jax.errors import UserError
from atnet_jax.prepare import prepare

REPOSITORY = Path(__file__).resolve().parents[1]


def write_clips(folder: Path, clips: int = 2, frames: int = 4) -> Path:
    """A copy of SMIC: grey pictures that move by a fraction of a pixel a frame."""
    texture = np.random.default_rng(0).integers(0, 256, (15, 20), np.uint8)
    texture = cv2.resize(texture, (96, 72), interpolation=cv2.INTER_CUBIC)
    for clip in range(clips):
        path = folder / f"SMIC_all_raw/HS/s01/micro/negative/s01_ne_{clip + 1:02d}"
        path.mkdir(parents=True)
        for frame in range(frames):
            shift = np.array([[1, 0, 0.3 * frame + clip], [0, 1, 0.1 * frame]])
            picture = cv2.warpAffine(texture, shift, (96, 72), borderMode=cv2.BORDER_REFLECT)
            cv2.imwrite(str(path / f"image{frame + 10}.bmp"), picture)
    return folder


def write_pictures(folder: Path, count: int) -> Path:
    """A set of one's own that holds the same picture many times."""
    subject = folder / "happiness/anna"
    subject.mkdir(parents=True)
    picture = np.random.default_rng(0).integers(0, 256, (72, 96), np.uint8)
    cv2.imwrite(str(subject / "0.png"), picture)
    for number in range(1, count):
        os.link(subject / "0.png", subject / f"{number}.png")
    return folder


def read(path: Path) -> list[dict]:
    return list(tfds.builder_from_directory(path).as_data_source("train"))


def published(data_dir: Path) -> list[Path]:
    return list(data_dir.rglob("*.array_record*"))


def command(manual_dir: Path, data_dir: Path, *options: str) -> list[str]:
    return [
        *(sys.executable, "-m", "atnet_jax.prepare", "--dataset=smic", "--face=none"),
        *(f"--manual_dir={manual_dir}", f"--data_dir={data_dir}", *options),
    ]


@pytest.fixture
def tree(tmp_path):
    return write_clips(tmp_path / "raw")


def test_a_second_run_keeps_what_is_there(tree, tmp_path, capsys):
    path = prepare("smic", tree, tmp_path / "data", face="none", num_workers=1)
    assert path == tmp_path / "data/smic/farneback/1.1.0"
    assert "prepared already" not in capsys.readouterr().out
    (file,) = published(path)
    before = file.stat().st_mtime_ns
    assert prepare("smic", tree, tmp_path / "data", face="none", num_workers=1) == path
    output = capsys.readouterr().out
    assert f"{path} is prepared already, with the same options." in output
    assert "smic: 2 clips (negative 2, positive 0, surprise 0) of 1 subjects" in output
    assert file.stat().st_mtime_ns == before


def test_other_options_are_refused(tree, tmp_path):
    def run(**options):
        options = {"face": "none", "num_workers": 1} | options
        return prepare("smic", tree, tmp_path / "data", **options)

    path = run()
    with pytest.raises(UserError, match="--face was none, now mtcnn") as error:
        run(face="mtcnn")
    assert str(error.value).startswith(f"{path} holds data prepared in another way")
    assert "Choose another --data_dir, or delete that folder" in str(error.value)
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("dataset,subject,clip,x0,y0,x1,y1\nsmic,s01,s01_ne_01,1,2,61,62\n")
    with pytest.raises(UserError, match="--boxes is another file"):
        run(boxes=boxes)
    # Another flow method lies beside it, and so do circular means.
    assert run(flow="dis") == tmp_path / "data/smic/dis/1.1.0"
    assert run(circular=True) == tmp_path / "data/smic/farneback_circular/1.1.0"
    assert run(flow="farneback") == path
    (tree / "SMIC_all_raw/HS/s01/micro/negative/s01_ne_02/image13.bmp").unlink()
    with pytest.raises(UserError, match="clips in --manual_dir are not those they were prepared"):
        run()


def test_other_frames_of_the_same_names_are_refused(tree, tmp_path):
    prepare("smic", tree, tmp_path / "data", face="none", num_workers=1)
    frame = tree / "SMIC_all_raw/HS/s01/micro/negative/s01_ne_02/image13.bmp"
    cv2.imwrite(str(frame), np.zeros((71, 96), np.uint8))
    with pytest.raises(UserError, match="clips in --manual_dir are not those they were prepared"):
        prepare("smic", tree, tmp_path / "data", face="none", num_workers=1)


def test_boxes_replace_the_detector(tree, tmp_path):
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("dataset,subject,clip,x0,y0,x1,y1\nsmic,s01,s01_ne_02,1,2,61.5,62\n")
    path = prepare("smic", tree, tmp_path / "data", face="none", boxes=boxes, num_workers=1)
    first, second = read(path)
    np.testing.assert_array_equal(first["crop_box"], [0, 0, 96, 72])
    np.testing.assert_array_equal(second["crop_box"], [1, 2, 61.5, 62])


def test_a_box_of_no_clip(tree, tmp_path):
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("dataset,subject,clip,x0,y0,x1,y1\nsmic,s1,s1_ne_02,1,2,61,62\n")
    with pytest.raises(UserError, match="no such clip: smic/s1/s1_ne_02"):
        prepare("smic", tree, tmp_path / "data", face="none", boxes=boxes, num_workers=1)
    assert not published(tmp_path)


def test_boxes_of_other_databases_are_let_be(tree, tmp_path):
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("dataset,subject,clip,x0,y0,x1,y1\nsamm,6,006_1_2,1,2,61,62\n")
    prepare("smic", tree, tmp_path / "data", face="none", boxes=boxes, num_workers=1)


def test_errors_of_all_clips_are_told_and_nothing_is_published(tmp_path):
    tree = write_clips(tmp_path / "raw", clips=3)
    top = tree / "SMIC_all_raw/HS/s01/micro/negative"
    kept = (top / "s01_ne_01/image10.bmp").read_bytes()
    for clip in (1, 3):
        (top / f"s01_ne_{clip:02d}/image10.bmp").write_bytes(b"no picture")
    with pytest.raises(UserError, match="smic: 2 errors, so nothing was prepared") as error:
        prepare("smic", tree, tmp_path / "data", face="none", num_workers=1)
    assert "smic/s01/s01_ne_01: " in str(error.value)
    assert "smic/s01/s01_ne_03: " in str(error.value)
    # Neither records nor remains; TFDS keeps a note of its default configuration.
    parent = tmp_path / "data/smic/farneback"
    assert [path.name for path in parent.iterdir()] == [".lock"]
    for clip in (1, 3):
        (top / f"s01_ne_{clip:02d}/image10.bmp").write_bytes(kept)
    path = prepare("smic", tree, tmp_path / "data", face="none", num_workers=1)
    assert len(read(path)) == 3


def test_processes_make_no_difference(tmp_path):
    tree = write_clips(tmp_path / "raw", clips=5)
    alone = read(prepare("smic", tree, tmp_path / "one", face="none", flow="dis", num_workers=1))
    two = read(prepare("smic", tree, tmp_path / "two", face="none", flow="dis", num_workers=2))
    assert len(alone) == len(two) == 5
    for first, second in zip(alone, two, strict=True):
        assert first["clip"] == second["clip"]
        for key in ("apex", "adm", "flow_map"):
            np.testing.assert_array_equal(first[key], second[key])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"dataset": "casme"},
            "dataset is 'casme', expected one of casme2, samm, smic, manifest, ck_plus, "
            "oulu_casia, jaffe, mug, image_folder",
        ),
        ({"face": "haar"}, "face is 'haar', expected one of mtcnn, none"),
        ({"flow": "tvl1"}, "flow is 'tvl1', expected one of dis, farneback"),
        ({"num_workers": 0}, "num_workers is 0, expected at least 1"),
        ({"manual_dir": "nowhere"}, "nowhere: no such folder; --manual_dir is your copy"),
        ({"boxes": "nowhere.csv"}, "nowhere.csv: no such file of face boxes"),
    ],
)
def test_wrong_arguments(options, message, tree, tmp_path):
    options = {"dataset": "smic", "manual_dir": tree, "data_dir": tmp_path / "data"} | options
    with pytest.raises(UserError, match=message):
        prepare(**options)
    assert not (tmp_path / "data").exists()


def test_a_data_dir_that_cannot_be_written_to(tree, tmp_path):
    (tmp_path / "data").touch()
    with pytest.raises(UserError, match="data/smic/farneback: cannot be written to"):
        prepare("smic", tree, tmp_path / "data", face="none")


def test_two_at_once(tree, tmp_path):
    folder = tmp_path / "data/smic/farneback"
    folder.mkdir(parents=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process is preparing these data now"):
            prepare("smic", tree, tmp_path / "data", face="none", num_workers=1)
    prepare("smic", tree, tmp_path / "data", face="none", num_workers=1)


def test_command_line(tree, tmp_path):
    run = subprocess.run(
        command(tree, tmp_path / "data", "--num_workers=2"),
        capture_output=True, text=True, cwd=REPOSITORY, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (0, "")
    path = tmp_path / "data/smic/farneback/1.1.0"
    assert run.stdout == (
        "smic: 2 clips (negative 2, positive 0, surprise 0) of 1 subjects\n"
        "  2 of 164 clips of the paper's composite "
        "(negative 2 of 70, positive 0 of 51, surprise 0 of 43)\n"
        "frames: SMIC_all_raw/HS (raw), as no cropped frames are there; "
        "the face option is 'none'\n"
        f"prepared data: {path}\n"
    )
    assert len(read(path)) == 2
    run = subprocess.run(
        command(tree, tmp_path / "data", "--face=mtcnn"),
        capture_output=True, text=True, cwd=REPOSITORY, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith(f"{path} holds data prepared in another way: --face was none")
    assert "Traceback" not in run.stderr


def test_command_line_of_pictures(tmp_path):
    tree = write_pictures(tmp_path / "raw", 2)
    options = ("--dataset=image_folder", "--num_workers=1")
    run = subprocess.run(
        command(tree, tmp_path / "data", *options, "--flow=dis"),
        capture_output=True, text=True, cwd=REPOSITORY, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == (
        "image_folder is a set of pictures, of which no motion is computed: leave --flow out\n"
    )
    run = subprocess.run(
        command(tree, tmp_path / "data", *options),
        capture_output=True, text=True, cwd=REPOSITORY, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == (
        "image_folder: 2 pictures (negative 0, positive 2, surprise 0) of 1 subjects\n"
        f"prepared data: {tmp_path / 'data/image_folder/1.0.0'}\n"
    )


def test_neither_tensorflow_nor_jax_is_imported(tree, tmp_path):
    trees = {"smic": str(tree), "image_folder": str(write_pictures(tmp_path / "pictures", 2))}
    script = (
        "import sys\n"
        "from atnet_jax.prepare import prepare\n"
        f"for dataset, tree in {trees}.items():\n"
        f"    path = prepare(dataset, tree, {str(tmp_path)!r}, face='none', num_workers=1)\n"
        "    import tensorflow_datasets as tfds\n"
        "    assert len(list(tfds.builder_from_directory(path).as_data_source('train'))) == 2\n"
        "print(sorted({'tensorflow', 'jax'} & set(sys.modules)))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=REPOSITORY, check=True
    )
    assert run.stdout.splitlines()[-1] == "[]"


def _children(process: int) -> list[int]:
    return [
        int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()
    ]


def _is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def _ignores_interrupts(process: int) -> bool:
    status = Path(f"/proc/{process}/status").read_text().split()
    return bool(int(status[status.index("SigIgn:") + 1], 16) & 1 << signal.SIGINT - 1)


def _wait(condition, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.skipif(
    not Path(f"/proc/self/task/{os.getpid()}/children").exists(),
    reason="processes are watched through Linux's /proc",
)
@pytest.mark.parametrize(
    ("dataset", "ending"),
    [("smic", signal.SIGKILL), ("smic", signal.SIGINT), ("image_folder", signal.SIGKILL)],
)
def test_an_ended_run_publishes_nothing_and_can_be_repeated(dataset, ending, tmp_path):
    data_dir = tmp_path / "data"
    if dataset == "smic":
        tree = write_clips(tmp_path / "raw", clips=10, frames=40)
        parent, clips = data_dir / "smic/farneback", tree / "SMIC_all_raw/HS/s01/micro/negative"
    else:
        tree = write_pictures(tmp_path / "raw", 3000)
        parent, clips = data_dir / "image_folder", tree / "happiness/anna"
    run = subprocess.Popen(
        command(tree, data_dir, f"--dataset={dataset}", "--num_workers=2"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY,
        start_new_session=True,
    )  # fmt: skip
    # Two workers at work, and the process in which Python keeps account of shared resources.
    _wait(lambda: sum(map(_ignores_interrupts, _children(run.pid))) == 3)
    workers = _children(run.pid)
    if ending == signal.SIGINT:
        # Ctrl-C in a terminal reaches all of them.
        os.killpg(run.pid, ending)
    else:
        run.send_signal(ending)
    _, errors = run.communicate(timeout=30)
    _wait(lambda: not any(_is_running(worker) for worker in workers))
    version = "1.1.0" if dataset == "smic" else "1.0.0"
    assert not (parent / version).exists()
    if ending == signal.SIGINT:
        assert run.returncode == 130
        assert errors == "interrupted; nothing was published\n"
        assert not list(parent.glob("incomplete.*"))
    else:
        assert list(parent.glob("incomplete.*"))
    (tmp_path / "rest").mkdir()
    for path in sorted(clips.iterdir())[2:]:
        path.rename(tmp_path / "rest" / path.name)
    path = prepare(dataset, tree, data_dir, face="none", num_workers=1)
    assert len(read(path)) == 2
    assert sorted(item.name for item in parent.iterdir()) == [".lock", version]
