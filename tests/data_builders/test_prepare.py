import fcntl
import importlib
import os
import re
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from atnet_jax.errors import UserError
from atnet_jax.names import FLOWS
from data_builders.prepare import prepare

REPOSITORY = Path(__file__).resolve().parents[2]


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
    """A set of the user that contains the same picture many times."""
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
        *(sys.executable, "-m", "atnet_jax", "prepare", "--dataset=smic", "--face=none"),
        *(f"--manual_dir={manual_dir}", f"--data_dir={data_dir}", *options),
    ]


@pytest.fixture
def tree(tmp_path):
    return write_clips(tmp_path / "raw")


def test_a_second_run_keeps_the_prepared_data(tree, tmp_path, capsys):
    path = prepare("smic", tree, tmp_path / "data", face="none", num_workers=1)
    assert path == tmp_path / "data/smic/spatiotemporal/1.2.0"
    assert "already prepared" not in capsys.readouterr().out
    (file,) = published(path)
    before = file.stat().st_mtime_ns
    assert prepare("smic", tree, tmp_path / "data", face="none", num_workers=1) == path
    output = capsys.readouterr().out
    assert f"{path} is already prepared with the same options." in output
    assert "smic: 2 clips (negative 2, positive 0, surprise 0) of 1 subject" in output
    assert file.stat().st_mtime_ns == before


def test_other_options_are_refused(tree, tmp_path):
    def run(**options):
        options = {"face": "none", "num_workers": 1} | options
        return prepare("smic", tree, tmp_path / "data", **options)

    path = run()
    with pytest.raises(UserError, match="--face was none and is now mtcnn") as error:
        run(face="mtcnn")
    assert str(error.value).startswith(f"{path} holds data prepared with different options")
    assert "Pass another --data_dir, or delete this folder" in str(error.value)
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("dataset,subject,clip,x0,y0,x1,y1\nsmic,s01,s01_ne_01,1,2,61,62\n")
    with pytest.raises(UserError, match="--boxes is a different file"):
        run(boxes=boxes)
    # Another flow method lies beside it, and so do circular means.
    assert run(flow="dis") == tmp_path / "data/smic/dis/1.2.0"
    assert run(circular=True) == tmp_path / "data/smic/spatiotemporal_circular/1.2.0"
    assert run(flow="spatiotemporal") == path
    (tree / "SMIC_all_raw/HS/s01/micro/negative/s01_ne_02/image13.bmp").unlink()
    with pytest.raises(UserError, match="clips in --manual_dir have changed since the preparation"):
        run()


def test_other_frames_of_the_same_names_are_refused(tree, tmp_path):
    prepare("smic", tree, tmp_path / "data", face="none", num_workers=1)
    frame = tree / "SMIC_all_raw/HS/s01/micro/negative/s01_ne_02/image13.bmp"
    cv2.imwrite(str(frame), np.zeros((71, 96), np.uint8))
    with pytest.raises(UserError, match="clips in --manual_dir have changed since the preparation"):
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
    boxes.write_text("dataset,subject,clip,x0,y0,x1,y1\nsmic,s1,s1_ne_09,1,2,61,62\n")
    with pytest.raises(UserError, match="has boxes for unknown clips: smic/s1/s1_ne_09"):
        prepare("smic", tree, tmp_path / "data", face="none", boxes=boxes, num_workers=1)
    assert not published(tmp_path)


def test_boxes_of_other_databases_are_let_be(tree, tmp_path):
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("dataset,subject,clip,x0,y0,x1,y1\nsamm,6,006_1_2,1,2,61,62\n")
    prepare("smic", tree, tmp_path / "data", face="none", boxes=boxes, num_workers=1)


def test_errors_of_all_clips_are_reported_and_nothing_is_published(tmp_path, capsys):
    tree = write_clips(tmp_path / "raw", clips=3)
    top = tree / "SMIC_all_raw/HS/s01/micro/negative"
    kept = (top / "s01_ne_01/image10.bmp").read_bytes()
    for clip in (1, 3):
        (top / f"s01_ne_{clip:02d}/image10.bmp").write_bytes(b"no picture")
    with pytest.raises(UserError, match="smic: 2 errors, so nothing was prepared") as error:
        prepare("smic", tree, tmp_path / "data", face="none", num_workers=1)
    assert "smic/s01/s01_ne_01: " in str(error.value)
    assert "smic/s01/s01_ne_03: " in str(error.value)
    # No remains but the clip without errors; TFDS keeps a note of its default configuration.
    parent = tmp_path / "data/smic/spatiotemporal"
    assert sorted(path.name for path in parent.iterdir()) == ["partial"]
    assert len(list((parent / "partial").iterdir())) == 1
    for clip in (1, 3):
        (top / f"s01_ne_{clip:02d}/image10.bmp").write_bytes(kept)
    capsys.readouterr()
    path = prepare("smic", tree, tmp_path / "data", face="none", num_workers=1)
    assert len(read(path)) == 3
    assert capsys.readouterr().out.startswith(
        "Resuming: 1 of 3 clips are finished.\nPreparation took "
    )
    assert sorted(path.name for path in parent.iterdir()) == ["1.2.0"]


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
        ({"flow": "tvl1"}, f"flow is 'tvl1', expected one of {', '.join(FLOWS)}"),
        ({"num_workers": 0}, "num_workers is 0, expected at least 1"),
        ({"manual_dir": "nowhere"}, "nowhere does not exist. Pass the folder of your copy"),
        (
            {"boxes": "nowhere.csv"},
            "nowhere.csv does not exist. Pass an existing CSV file of face boxes",
        ),
    ],
)
def test_wrong_arguments(options, message, tree, tmp_path):
    options = {"dataset": "smic", "manual_dir": tree, "data_dir": tmp_path / "data"} | options
    with pytest.raises(UserError, match=message):
        prepare(**options)
    assert not (tmp_path / "data").exists()


def test_a_data_dir_that_cannot_be_written_to(tree, tmp_path):
    (tmp_path / "data").touch()
    with pytest.raises(
        UserError, match=r"data/smic/spatiotemporal cannot be written to .*another --data_dir"
    ):
        prepare("smic", tree, tmp_path / "data", face="none")


def test_two_at_once(tree, tmp_path):
    folder = tmp_path / "data/smic/spatiotemporal"
    folder.mkdir(parents=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(
            UserError,
            match=f"{folder} is in use by another process. Wait until that process ends, stop it",
        ):
            prepare("smic", tree, tmp_path / "data", face="none", num_workers=1)
    prepare("smic", tree, tmp_path / "data", face="none", num_workers=1)


def test_command_line(tree, tmp_path):
    run = subprocess.run(
        command(tree, tmp_path / "data", "--num_workers=2"),
        capture_output=True, text=True, cwd=REPOSITORY, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (0, "")
    path = tmp_path / "data/smic/spatiotemporal/1.2.0"
    took, rest = run.stdout.split("\n", 1)
    assert re.fullmatch(
        r"Preparation took \d+ s\. Main process: flow \d+%, ADM \d+%, writing \d+%, "
        r"waiting for crops \d+%\. 2 worker processes: reading and cropping \d+%, encoding \d+%\.",
        took,
    )
    assert rest == (
        "smic: 2 clips (negative 2, positive 0, surprise 0) of 1 subject\n"
        "  differs from the paper's composite: 2 of 164 clips "
        "(negative 2 of 70, positive 0 of 51, surprise 0 of 43)\n"
        "frames: SMIC_all_raw/HS (raw), because the copy has no cropped frames; "
        "the face option is 'none'\n"
        f"prepared data: {path}\n"
    )
    assert len(read(path)) == 2


def test_command_line_of_pictures(tmp_path):
    tree = write_pictures(tmp_path / "raw", 2)
    options = ("--dataset=image_folder", "--num_workers=1")
    run = subprocess.run(
        command(tree, tmp_path / "data", *options, "--flow=dis"),
        capture_output=True, text=True, cwd=REPOSITORY, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == (
        "Error: image_folder is a set of pictures, for which motion is not computed."
        " Remove --flow.\n"
    )
    run = subprocess.run(
        command(tree, tmp_path / "data", *options),
        capture_output=True, text=True, cwd=REPOSITORY, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (0, "")
    took, rest = run.stdout.split("\n", 1)
    shares = re.fullmatch(
        r"Preparation took \d+ s: reading and cropping (\d+)%, encoding (\d+)%, flow 0%, ADM 0%, "
        r"writing (\d+)%\.",
        took,
    )
    assert shares is not None
    # Each of the five is rounded by half a per cent at most.
    assert 98 <= sum(map(int, shares.groups())) <= 102
    assert rest == (
        "image_folder: 2 pictures (negative 0, positive 2, surprise 0) of 1 subject\n"
        f"prepared data: {tmp_path / 'data/image_folder/1.0.0'}\n"
    )


def test_tensorflow_is_not_imported(tree, tmp_path):
    trees = {"smic": str(tree), "image_folder": str(write_pictures(tmp_path / "pictures", 2))}
    script = (
        "import sys\n"
        "from data_builders.prepare import prepare\n"
        f"for dataset, tree in {trees}.items():\n"
        f"    path = prepare(dataset, tree, {str(tmp_path)!r}, face='none', num_workers=1)\n"
        "    import tensorflow_datasets as tfds\n"
        "    assert len(list(tfds.builder_from_directory(path).as_data_source('train'))) == 2\n"
        "print('tensorflow' in sys.modules)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=REPOSITORY, check=True
    )
    assert run.stdout.splitlines()[-1] == "False"


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
    [
        ("smic", signal.SIGKILL),
        ("smic", signal.SIGTERM),
        ("smic", signal.SIGINT),
        ("image_folder", signal.SIGKILL),
    ],
)
def test_an_ended_run_publishes_nothing_and_can_be_repeated(
    heeds_interrupts, dataset, ending, tmp_path
):
    data_dir = tmp_path / "data"
    if dataset == "smic":
        tree = write_clips(tmp_path / "raw", clips=10, frames=40)
        parent, clips = (
            data_dir / "smic/spatiotemporal",
            tree / "SMIC_all_raw/HS/s01/micro/negative",
        )
    else:
        tree = write_pictures(tmp_path / "raw", 3000)
        parent, clips = data_dir / "image_folder", tree / "happiness/anna"
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    run = subprocess.Popen(
        command(tree, data_dir, f"--dataset={dataset}", "--num_workers=2"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(temporary)}, start_new_session=True,
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
    assert not list(temporary.iterdir())
    version = "1.2.0" if dataset == "smic" else "1.0.0"
    assert not (parent / version).exists()
    if ending == signal.SIGINT:
        assert run.returncode == 130
        assert errors == "Interrupted. Rerun the same command to resume.\n"
        assert not list(parent.glob("incomplete.*"))
    else:
        assert list(parent.glob("incomplete.*"))
    (tmp_path / "rest").mkdir()
    for path in sorted(clips.iterdir())[2:]:
        path.rename(tmp_path / "rest" / path.name)
    path = prepare(dataset, tree, data_dir, face="none", num_workers=1)
    assert len(read(path)) == 2
    assert sorted(item.name for item in parent.iterdir()) == [version]


def assert_same_records(first: Path, second: Path) -> None:
    records = read(first)
    others = read(second)
    assert len(records) == len(others)
    for record, other in zip(records, others, strict=True):
        assert record.keys() == other.keys()
        for key in record:
            np.testing.assert_array_equal(record[key], other[key], err_msg=key)


def kept(data_dir: Path) -> list[Path]:
    return [
        path for path in data_dir.glob("smic/spatiotemporal/partial/*") if path.suffix != ".tmp"
    ]


def test_a_killed_run_is_gone_on_with(tmp_path):
    """Killed after its third clip, the same command makes the others only, and the same data."""
    tree = write_clips(tmp_path / "raw", clips=8, frames=20)
    data_dir = tmp_path / "data"
    run = subprocess.Popen(
        command(tree, data_dir, "--num_workers=2"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=REPOSITORY,
    )  # fmt: skip
    _wait(lambda: len(kept(data_dir)) >= 3)
    run.kill()
    run.communicate(timeout=30)
    found = len(kept(data_dir))
    assert 3 <= found < 8
    # As if killed within a write.
    (data_dir / "smic/spatiotemporal/partial/.x.0.tmp").write_bytes(b"half")
    first = min(kept(data_dir))
    made = first.stat().st_mtime_ns
    second = subprocess.Popen(
        command(tree, data_dir, "--num_workers=2"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY,
    )  # fmt: skip
    _wait(lambda: len(kept(data_dir)) > found or second.poll() is not None)
    assert not first.exists() or first.stat().st_mtime_ns == made
    output, errors = second.communicate(timeout=60)
    assert (second.returncode, errors) == (0, "")
    assert output.startswith(f"Resuming: {found} of 8 clips are finished.\n")
    path = data_dir / "smic/spatiotemporal/1.2.0"
    assert sorted(item.name for item in path.parent.iterdir()) == ["1.2.0"]
    whole = prepare("smic", tree, tmp_path / "whole", face="none", num_workers=1)
    assert_same_records(path, whole)


@pytest.fixture
def two_of_three(tmp_path):
    """A copy of three clips, and a folder in which the first and the third are finished."""
    tree = write_clips(tmp_path / "raw", clips=3)
    frame = tree / "SMIC_all_raw/HS/s01/micro/negative/s01_ne_02/image10.bmp"
    content = frame.read_bytes()
    frame.write_bytes(b"no picture")
    with pytest.raises(UserError, match="1 error"):
        prepare("smic", tree, tmp_path / "data", face="none", num_workers=1)
    frame.write_bytes(content)
    assert len(kept(tmp_path / "data")) == 2
    return tree, tmp_path / "data"


def finished(output: str) -> int:
    found = re.match(r"Resuming: (\d) of 3 clips are finished\.\n", output)
    return 0 if found is None else int(found[1])


def test_a_damaged_record_is_made_anew(two_of_three, tmp_path, capsys):
    tree, data_dir = two_of_three
    path = kept(data_dir)[0]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    path = prepare("smic", tree, data_dir, face="none", num_workers=1)
    assert finished(capsys.readouterr().out) == 1
    assert_same_records(path, prepare("smic", tree, tmp_path / "whole", face="none", num_workers=1))


def test_a_clip_that_changed_is_made_anew(two_of_three, tmp_path, capsys):
    tree, data_dir = two_of_three
    frame = tree / "SMIC_all_raw/HS/s01/micro/negative/s01_ne_03/image12.bmp"
    cv2.imwrite(str(frame), cv2.flip(cv2.imread(str(frame), cv2.IMREAD_GRAYSCALE), 1))
    path = prepare("smic", tree, data_dir, face="none", num_workers=1)
    assert finished(capsys.readouterr().out) == 1
    assert_same_records(path, prepare("smic", tree, tmp_path / "whole", face="none", num_workers=1))


def test_a_box_makes_one_clip_anew(two_of_three, tmp_path, capsys):
    tree, data_dir = two_of_three
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("dataset,subject,clip,x0,y0,x1,y1\nsmic,s01,s01_ne_03,1,2,61,62\n")
    path = prepare("smic", tree, data_dir, face="none", boxes=boxes, num_workers=1)
    assert finished(capsys.readouterr().out) == 1
    np.testing.assert_array_equal(read(path)[2]["crop_box"], [1, 2, 61, 62])


def test_clips_finished_with_other_options_are_removed(two_of_three, capsys):
    tree, data_dir = two_of_three
    before = kept(data_dir)
    frame = tree / "SMIC_all_raw/HS/s01/micro/negative/s01_ne_02/image10.bmp"
    frame.write_bytes(b"no picture")
    with pytest.raises(UserError, match="no face was found"):
        prepare("smic", tree, data_dir, face="mtcnn", num_workers=1)
    assert finished(capsys.readouterr().out) == 0
    assert not any(path.exists() for path in before)


def test_remains_beside_published_data_are_removed(tree, tmp_path):
    """A run may be killed between its last two steps."""
    path = prepare("smic", tree, tmp_path / "data", face="none", num_workers=1)
    (path.parent / "partial").mkdir()
    (path.parent / "partial/0").touch()
    prepare("smic", tree, tmp_path / "data", face="none", num_workers=1)
    assert not (path.parent / "partial").exists()


def test_worker_processes_import_neither_jax_nor_tfds():
    """Every process would take seconds for it; unpickling a clip's job imports these."""
    jobs = "__import__('data_builders.pictures') and __import__('data_builders.records')"
    imported = "sorted({'jax', 'tensorflow_datasets'} & set(__import__('sys').modules))"
    script = (
        "from atnet_jax.system.workers import map_in_order\n"
        f'print(*map_in_order(eval, ["{jobs} and {imported}"] * 2, 2))\n'
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=REPOSITORY, check=True
    )
    assert run.stdout == "[] []\n"


def test_beam_is_an_extra(tree, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"not installed\. Run pip install 'atnet_jax\[beam\]'"):
        prepare("smic", tree, tmp_path / "data", face="none", beam_runner="DirectRunner")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam_runner": "DirectRunner", "num_workers": 2}, "--beam_options=direct_num_workers=N"),
        ({"beam_options": ["direct_num_workers=2"]}, "--beam_options requires --beam_runner"),
    ],
)
def test_options_of_beam(options, message, tree, tmp_path):
    with pytest.raises(UserError, match=message):
        prepare("smic", tree, tmp_path / "data", face="none", **options)


@pytest.mark.parametrize(
    ("place", "message"), [("read_source", "no room"), ("beam", "no such runner")]
)
def test_errors_of_an_earlier_run_do_not_hide_a_new_error(
    place, message, tree, tmp_path, monkeypatch
):
    """Beam leaves the errors of clips in a file; here something else goes wrong."""

    def fail(*_):
        raise RuntimeError(message)

    module = importlib.import_module("data_builders.smic.smic_dataset_builder")
    builder = module.Builder(
        data_dir=str(tmp_path), config="spatiotemporal", manual_dir=tree, face="none", beam=True
    )
    if place == "beam":
        # In its place, as it is an extra.
        monkeypatch.setitem(
            sys.modules, "data_builders.beam", types.SimpleNamespace(AllRecords=fail)
        )
    else:
        monkeypatch.setattr(builder, place, fail)
    builder.kept.folder.mkdir(parents=True)
    (builder.kept.folder / "errors.json").write_text('["smic/s01/s01_ne_01: no face found"]')
    with pytest.raises(RuntimeError, match=message):
        builder.download_and_prepare(download_dir=tmp_path / "downloads")


@pytest.fixture
def beam():
    return pytest.importorskip("apache_beam", reason="Apache Beam is an extra: atnet_jax[beam]")


@pytest.mark.parametrize("dataset", ["smic", "image_folder"])
def test_beam_makes_the_same_records(dataset, beam, tmp_path):
    if dataset == "smic":
        tree = write_clips(tmp_path / "raw", clips=4)
    else:
        tree = write_pictures(tmp_path / "raw", 12)
    run = subprocess.run(
        command(tree, tmp_path / "beam", f"--dataset={dataset}", "--beam_runner=DirectRunner"),
        capture_output=True, text=True, cwd=REPOSITORY, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert re.match(r"Preparation took \d+ s\.\n", run.stdout)
    serial = prepare(dataset, tree, tmp_path / "serial", face="none", num_workers=1)
    path = tmp_path / "beam" / serial.relative_to(tmp_path / "serial")
    assert sorted(item.name for item in path.parent.iterdir()) == [path.name]
    assert_same_records(path, serial)


def test_beam_reports_the_errors_of_all_clips_and_resumes(beam, tmp_path, capsys):
    tree = write_clips(tmp_path / "raw", clips=3)
    top = tree / "SMIC_all_raw/HS/s01/micro/negative"
    content = (top / "s01_ne_01/image10.bmp").read_bytes()
    for clip in (1, 3):
        (top / f"s01_ne_{clip:02d}/image10.bmp").write_bytes(b"no picture")
    data_dir = tmp_path / "data"
    with pytest.raises(UserError, match="smic: 2 errors, so nothing was prepared") as error:
        prepare("smic", tree, data_dir, face="none", beam_runner="DirectRunner")
    assert str(error.value).index("s01_ne_01: ") < str(error.value).index("s01_ne_03: ")
    assert not published(data_dir)
    for clip in (1, 3):
        (top / f"s01_ne_{clip:02d}/image10.bmp").write_bytes(content)
    path = prepare("smic", tree, data_dir, face="none", beam_runner="DirectRunner")
    assert finished(capsys.readouterr().out) == 1
    assert_same_records(path, prepare("smic", tree, tmp_path / "whole", face="none", num_workers=1))
