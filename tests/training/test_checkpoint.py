import contextlib
import errno
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from atnet_jax.errors import UserError
from atnet_jax.system import files
from atnet_jax.training import checkpoint
from atnet_jax.training.checkpoint import FoldCheckpoints
from atnet_jax.training.engine import TrainState

REPOSITORY = Path(__file__).resolve().parents[2]


def make_tree(seed: int, width: int = 6) -> dict:
    """Return the tree of a fold: a state with every kind of container, and its history."""
    rng = np.random.default_rng(seed)
    params = {
        "conv": {"kernel": rng.normal(size=(3, width)).astype(np.float32)},
        "classifier": {"bias": rng.normal(size=3).astype(np.float32)},
    }
    state = TrainState(
        step=np.int32(seed),
        params=params,
        batch_stats={"norm": {"mean": np.zeros((0, 2), np.float32)}},
        opt_state=(optax.EmptyState(), optax.TraceState(params)),
        key=np.array([seed, 7], np.uint32),
    )
    return {"state": state, "history": {"loss": np.full(4, np.nan, np.float32)}}


def shapes(tree):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def assert_same(tree, expected):
    assert jax.tree.structure(tree) == jax.tree.structure(expected)
    for leaf, other in zip(jax.tree.leaves(tree), jax.tree.leaves(expected), strict=True):
        assert isinstance(leaf, np.ndarray)
        assert (leaf.shape, leaf.dtype) == (other.shape, other.dtype)
        assert leaf.tobytes() == other.tobytes()


@pytest.fixture
def checkpoints(tmp_path):
    made = FoldCheckpoints(tmp_path / "checkpoints")
    yield made
    with contextlib.suppress(UserError):
        made.close()


@pytest.fixture
def held_writer(monkeypatch):
    """Nothing reaches the disk before this is set."""
    goes_on = threading.Event()
    write = files.write_bytes_atomically

    def wait_and_write(path, data):
        assert goes_on.wait(60)
        write(path, data)

    monkeypatch.setattr(files, "write_bytes_atomically", wait_and_write)
    yield goes_on
    goes_on.set()


@contextlib.contextmanager
def file_size_limit(size: int):
    """Writes beyond it fail with "File too large", as on a disk that has no room."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def saved(checkpoints: FoldCheckpoints, fold: int, epochs_done: int, seed: int) -> dict:
    tree = make_tree(seed)
    checkpoints.save(fold, epochs_done, tree)
    checkpoints.wait()
    return tree


def names(checkpoints: FoldCheckpoints, fold: int) -> list[str]:
    return sorted(path.name for path in checkpoints._folder(fold).iterdir())


def test_a_saved_checkpoint_is_restored(checkpoints):
    tree = saved(checkpoints, 3, 20, seed=1)
    assert checkpoints.epochs_done(3) == 20
    restored = checkpoints.restore(3, shapes(tree))
    assert_same(restored, tree)
    restored["history"]["loss"][2] = 0.5  # Training continues to write these arrays.
    assert_same(checkpoints.restore(3, tree), tree)


def test_a_fold_without_checkpoint_starts_from_nothing(checkpoints):
    saved(checkpoints, 3, 20, seed=1)
    assert checkpoints.epochs_done(4) == 0
    assert checkpoints.restore(4, shapes(make_tree(0))) is None


def test_one_checkpoint_is_kept_and_the_rest_of_killed_runs_goes(checkpoints):
    saved(checkpoints, 0, 10, seed=1)
    folder = checkpoints._folder(0)
    (folder / f"15{ocp.utils.TMP_DIR_SUFFIX}").mkdir()  # A kill while it was written.
    (folder / f"20{ocp.utils.TMP_DIR_SUFFIX}").mkdir()
    shutil.copytree(folder / "10", folder / "5")  # A kill before it was removed.
    tree = saved(checkpoints, 0, 20, seed=2)
    assert names(checkpoints, 0) == ["20"]
    assert_same(checkpoints.restore(0, tree), tree)


def test_saving_does_not_wait_for_the_disk_and_takes_a_copy(checkpoints, held_writer):
    trees = {fold: make_tree(fold) for fold in range(4)}
    for fold, tree in trees.items():
        checkpoints.save(fold, 10, tree)
    assert not any(map(checkpoints.epochs_done, trees))
    for fold, tree in trees.items():
        tree["history"]["loss"][:] = fold
        tree["state"].params["conv"]["kernel"][:] = fold
    held_writer.set()
    checkpoints.wait()
    for fold in trees:
        assert_same(checkpoints.restore(fold, trees[fold]), make_tree(fold))


def test_at_most_one_write_of_a_fold_waits(checkpoints, held_writer):
    checkpoints.save(0, 10, make_tree(1))
    second = threading.Thread(target=checkpoints.save, args=(0, 20, make_tree(2)))
    second.start()
    second.join(0.3)
    assert second.is_alive()
    held_writer.set()
    second.join(60)
    assert not second.is_alive()
    checkpoints.wait()
    assert names(checkpoints, 0) == ["20"]


def test_closing_writes_queued_checkpoints(tmp_path, held_writer):
    checkpoints = FoldCheckpoints(tmp_path)
    checkpoints.save(0, 10, make_tree(1))
    threading.Timer(0.2, held_writer.set).start()
    checkpoints.close()
    assert_same(FoldCheckpoints(tmp_path).restore(0, make_tree(1)), make_tree(1))


def test_in_a_with_statement_the_first_error_is_raised(tmp_path, held_writer):
    """Queued checkpoints are written nevertheless."""
    with pytest.raises(UserError, match="diverged"), FoldCheckpoints(tmp_path) as checkpoints:
        checkpoints.save(0, 10, make_tree(1))
        with file_size_limit(50_000):
            checkpoints.save(1, 10, make_tree(1, width=10_000))
            held_writer.set()
            checkpoints._writes[1].exception()
        raise UserError("diverged")
    with FoldCheckpoints(tmp_path) as checkpoints:
        assert_same(checkpoints.restore(0, make_tree(1)), make_tree(1))
        assert not checkpoints.epochs_done(1)
    with (
        pytest.raises(UserError, match="fold 1"),
        file_size_limit(50_000),
        FoldCheckpoints(tmp_path) as checkpoints,
    ):
        checkpoints.save(1, 10, make_tree(1, width=10_000))


def test_threads_do_not_pile_up(tmp_path):
    before = set(threading.enumerate())

    def started() -> int:
        return len(set(threading.enumerate()) - before)

    checkpoints = FoldCheckpoints(tmp_path)
    for epochs_done in (10, 20):
        for fold in range(20):
            checkpoints.save(fold, epochs_done, make_tree(fold))
    checkpoints.wait()
    # Its own for 40 files, and some that Orbax has for a moment.
    assert started() < 10
    checkpoints.close()
    end = time.monotonic() + 30
    while started():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_arrays_that_would_not_come_back_are_refused(checkpoints):
    with pytest.raises(TypeError, match=r"\['a'\]"):
        checkpoints.save(0, 10, {"a": jax.numpy.zeros(2, "bfloat16"), "b": np.zeros(2)})


def flip(position: float):
    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[int(position * (len(content) - 1))] ^= 0x10
        path.write_bytes(content)

    return damage


DAMAGES = {
    **{f"flipped at {position}": flip(position) for position in (0, 0.1, 0.3, 0.5, 0.7, 0.9, 1)},
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "halved": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(
        np.random.default_rng(0).bytes(path.stat().st_size),
    ),
    "deleted": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
@pytest.mark.parametrize("file", ["tree.npz", "about.json"])
def test_a_damaged_checkpoint_is_set_aside(checkpoints, capfd, file, damage):
    tree = saved(checkpoints, 3, 20, seed=1)
    path = checkpoints._folder(3) / "20"
    damage(path / file)
    assert checkpoints.restore(3, tree) is None
    assert names(checkpoints, 3) == ["damaged-20"]
    assert checkpoints.epochs_done(3) == 0
    told = capfd.readouterr().err
    assert f"Fold 3: the checkpoint {path} is " in told
    assert "It was renamed to damaged-20." in told
    assert "Traceback" not in told and len(told.splitlines()) == 1
    # The fold can be saved and restored again.
    tree = saved(checkpoints, 3, 10, seed=2)
    assert_same(checkpoints.restore(3, tree), tree)
    assert names(checkpoints, 3) == ["10", "damaged-20"]


def test_damage_to_files_of_orbax_alone_changes_no_array(checkpoints, capfd):
    tree = saved(checkpoints, 3, 20, seed=1)
    path = checkpoints._folder(3) / "20"
    others = [file for file in path.iterdir() if file.name not in ("tree.npz", "about.json")]
    assert others
    for damage in DAMAGES.values():
        shutil.copytree(path, path.with_name("whole"))
        for file in others:
            damage(file)
        assert_same(checkpoints.restore(3, tree), tree)
        shutil.rmtree(path)
        path.with_name("whole").rename(path)
    assert capfd.readouterr().err == ""


def test_a_file_or_an_empty_folder_is_no_checkpoint(checkpoints, capfd):
    tree = saved(checkpoints, 3, 20, seed=1)
    path = checkpoints._folder(3) / "20"
    shutil.rmtree(path)
    path.mkdir()
    assert checkpoints.restore(3, tree) is None
    path.write_text("")
    assert checkpoints.restore(3, tree) is None
    # Nothing is deleted, not even by a second one of the same name.
    assert names(checkpoints, 3) == ["damaged-20", "damaged-20-2"]
    assert "is incomplete" in capfd.readouterr().err


def test_a_checkpoint_of_another_fold_or_epoch_counts_as_damaged(checkpoints, capfd):
    tree = saved(checkpoints, 3, 20, seed=1)
    shutil.copytree(checkpoints._folder(3), checkpoints._folder(4))
    assert checkpoints.restore(4, tree) is None
    (checkpoints._folder(3) / "20").rename(checkpoints._folder(3) / "30")
    assert checkpoints.restore(3, tree) is None
    assert capfd.readouterr().err.count("is damaged") == 2


def test_the_one_before_is_taken_if_a_kill_left_it(checkpoints, capfd):
    tree = saved(checkpoints, 3, 10, seed=1)
    first = checkpoints._folder(3) / "10"
    shutil.copytree(first, first.with_name("kept"))
    saved(checkpoints, 3, 20, seed=2)
    first.with_name("kept").rename(first)
    flip(0.5)(first.with_name("20") / "tree.npz")
    assert checkpoints.restore(3, tree) is None
    assert checkpoints.epochs_done(3) == 10
    assert_same(checkpoints.restore(3, tree), tree)


@pytest.mark.parametrize("change", ["shape", "dtype", "missing", "more", "other"])
def test_arrays_of_another_network_are_not_taken(checkpoints, capfd, change):
    saved(checkpoints, 3, 20, seed=1)
    like = make_tree(1, width=7) if change == "shape" else make_tree(1)
    if change == "dtype":
        like["history"]["loss"] = like["history"]["loss"].astype(np.float16)
    if change in ("missing", "other"):
        del like["history"]["loss"]
    if change in ("more", "other"):
        like["history"]["accuracy"] = np.zeros(4, np.float32)
    assert checkpoints.restore(3, like) is None
    said = capfd.readouterr().err
    assert "does not have the arrays that this training expects (" in said
    named = {"more": ["accuracy"], "other": ["accuracy", "loss"], "shape": ["state"]}
    for name in named.get(change, ["loss"]):
        assert f"'{name}'" in said or f".{name}" in said
    assert names(checkpoints, 3) == ["damaged-20"]


def test_a_checkpoint_of_an_earlier_version_lacks_recent_arrays(checkpoints, capfd):
    tree = saved(checkpoints, 3, 20, seed=1)
    like = make_tree(1)
    like["history"]["start"] = np.arange(3, dtype=np.uint8)
    found = checkpoints.restore(3, like, recent=("start",))
    assert found["history"].pop("start").tolist() == [0, 1, 2]
    assert_same(found, tree)
    del like["history"]["start"]
    like["history"]["accuracy"] = np.zeros(4, np.float32)
    assert checkpoints.restore(3, like, recent=("start",)) is None
    assert "accuracy" in capfd.readouterr().err


def test_orbax_ignores_damaged_checkpoints(checkpoints, capfd):
    tree = saved(checkpoints, 3, 20, seed=1)
    folder = checkpoints._folder(3)
    assert ocp.utils.checkpoint_steps(folder) == [20]
    for _ in range(2):
        flip(0.5)(folder / "20" / "tree.npz")
        checkpoints.restore(3, tree)
        saved(checkpoints, 3, 20, seed=1)
    assert names(checkpoints, 3) == ["20", "damaged-20", "damaged-20-2"]
    assert ocp.utils.checkpoint_steps(folder) == [20]


def test_a_disk_that_does_not_answer_is_no_damage(checkpoints, monkeypatch, tmp_path):
    tree = saved(checkpoints, 3, 20, seed=1)

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", fail)
        with pytest.raises(UserError, match=r"fold_003/20 cannot be read: Input/output error"):
            checkpoints.restore(3, tree)
    with monkeypatch.context() as patch:
        (checkpoints._folder(3) / "20" / "about.json").rename(tmp_path / "about.json")
        patch.setattr(os, "rename", fail)
        with pytest.raises(UserError, match=r"fold_003/20 cannot be read: Input/output error"):
            checkpoints.restore(3, tree)
    (tmp_path / "about.json").rename(checkpoints._folder(3) / "20" / "about.json")
    assert_same(checkpoints.restore(3, tree), tree)


@pytest.mark.parametrize("surfaces_in", ["wait", "save of the fold", "save of another", "close"])
def test_a_failed_write_is_reported_and_the_last_checkpoint_survives(checkpoints, surfaces_in):
    tree = saved(checkpoints, 3, 20, seed=1)
    with file_size_limit(50_000):
        large = make_tree(2, width=10_000)
        checkpoints.save(3, 30, large)
        checkpoints._writes[3].exception()  # Wait for the end of the write.
        with pytest.raises(
            UserError,
            match=r"^Could not write the checkpoint of fold 3 to \S*/fold_003/30: File too large\."
            r" Fix this and rerun the same command: it resumes after epoch 20\.$",
        ):
            if surfaces_in == "wait":
                checkpoints.wait()
            elif surfaces_in == "close":
                checkpoints.close()
            else:
                checkpoints.save(3 if "the fold" in surfaces_in else 4, 30, tree)
    assert names(checkpoints, 3) == ["20"]
    assert_same(checkpoints.restore(3, tree), tree)
    if surfaces_in != "close":
        checkpoints.wait()  # A reported error is not raised again.
        checkpoints.save(3, 30, large)
        checkpoints.wait()
        assert_same(checkpoints.restore(3, large), large)
        assert names(checkpoints, 3) == ["30"]


def test_one_failed_write_does_not_affect_other_folds(checkpoints, held_writer):
    with file_size_limit(50_000):
        checkpoints.save(0, 10, make_tree(0, width=10_000))
        checkpoints.save(1, 10, make_tree(1))
        held_writer.set()
        with pytest.raises(UserError, match="fold 0"):
            checkpoints.wait()
    assert_same(checkpoints.restore(1, make_tree(1)), make_tree(1))


def test_a_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if not mount or subprocess.run([mount, *options], capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        checkpoints = FoldCheckpoints(disk)
        tree = make_tree(1, width=100_000)  # 2.4 MB with its momentum
        small = saved(checkpoints, 3, 20, seed=1)
        checkpoints.save(3, 30, tree)
        with pytest.raises(
            UserError,
            match=r"fold 3 to \S*/30: No space left on device\. Free disk space and rerun the"
            r" same command: it resumes after epoch 20\.",
        ):
            checkpoints.wait()
        assert names(checkpoints, 3) == ["20"]
        assert_same(checkpoints.restore(3, small), small)
        # Not even room for a folder.
        with contextlib.suppress(OSError), (disk / "fill").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        checkpoints.save(3, 30, small)
        with pytest.raises(UserError, match="No space left on device"):
            checkpoints.close()
        assert_same(FoldCheckpoints(disk).restore(3, small), small)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_processes_save_their_own_folds_without_waiting_for_each_other(tmp_path):
    """Process 0 finishes and waits at the end before process 1 starts to save."""
    script = tmp_path / "process.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys, time
            import jax
            from pathlib import Path
            number, port, folder = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
            jax.distributed.initialize(f"localhost:{port}", num_processes=2, process_id=number)
            assert jax.process_count() == 2 and jax.process_index() == number
            from atnet_jax.training.checkpoint import FoldCheckpoints
            from tests.training.test_checkpoint import assert_same, make_tree

            checkpoints = FoldCheckpoints(folder / "checkpoints")
            folds = [0, 2, 4, 6, 8] if number == 0 else [1, 3]
            if number == 1:
                while not (folder / "0").exists():
                    time.sleep(0.02)
            for epochs_done in (10, 20) if number == 0 else (10, 20, 30):
                for fold in folds:
                    checkpoints.save(fold, epochs_done, make_tree(100 * fold + epochs_done))
                checkpoints.wait()
            for fold in folds:
                tree = make_tree(100 * fold + epochs_done)
                assert checkpoints.epochs_done(fold) == epochs_done
                assert_same(checkpoints.restore(fold, tree), tree)
            checkpoints.close()
            (folder / str(number)).touch()
            while not (folder / "1").exists():  # Process 0 leads; the others end with it.
                time.sleep(0.02)
            print("process", number, "has finished")
            """
        )
    )
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    path = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    processes = [
        subprocess.Popen(
            [sys.executable, script, str(number), str(port), str(tmp_path)],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path), "JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    try:
        for number, process in enumerate(processes):
            out, err = process.communicate(timeout=60)
            assert f"process {number} has finished" in out, err
    finally:
        for process in processes:
            process.kill()
            process.wait()
    # A run with a single process reads all of them.
    checkpoints = FoldCheckpoints(tmp_path / "checkpoints")
    for fold in (0, 1, 2, 3, 4, 6, 8):
        epochs = 30 if fold in (1, 3) else 20
        tree = make_tree(100 * fold + epochs)
        assert checkpoints.epochs_done(fold) == epochs
        assert_same(checkpoints.restore(fold, tree), tree)
        assert names(checkpoints, fold) == [str(epochs)]


def test_a_checkpoint_is_read_by_numpy_alone(checkpoints):
    tree = saved(checkpoints, 3, 20, seed=1)
    path = checkpoints._folder(3) / "20"
    with np.load(path / checkpoint._TREE) as arrays:
        kernel = arrays["['state'].params['conv']['kernel']"]
    assert np.array_equal(kernel, tree["state"].params["conv"]["kernel"])
    about = json.loads((path / "about.json").read_text())
    assert (about["fold"], about["epochs_done"]) == (3, 20)


def test_a_checkpoint_is_restored_without_orbax(checkpoints, monkeypatch):
    """A later Orbax need not load what the present one wrote; its version 1 does not."""
    tree = saved(checkpoints, 3, 20, seed=1)
    for file in checkpoints._folder(3).glob("20/*"):
        if file.name not in ("tree.npz", "about.json"):
            file.unlink()
    monkeypatch.setattr(checkpoints, "_orbax", None)
    assert_same(checkpoints.restore(3, tree), tree)
