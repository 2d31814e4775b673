"""Runs that are killed, damaged, out of disk space or started twice: same bytes or an error."""

import dataclasses
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.tiny_runs import (
    REPOSITORY,
    command,
    content,
    prepare_data,
    run_main,
    start_main,
)

# Many saves, long enough to be killed, and folds in groups that a kill may leave unequally far.
SETTINGS = (
    "--config.engine.checkpoint_every=1",
    "--config.engine.folds_per_batch=2",
    "--config.recipe.batch_size=2",
    "--config.recipe.num_epochs=20",
)
# Kills the run when fold 1 is to be saved after epoch 3: fold 0, of the same group, has been.
KILLED_BETWEEN_SAVES = """
import os, runpy, signal, sys
sys.path.insert(0, os.getcwd())
from atnet_jax.training.checkpoint import FoldCheckpoints
save = FoldCheckpoints.save
def save_or_die(self, fold, epochs_done, tree):
    if (fold, epochs_done) == (1, 3):
        self.wait()
        os.kill(os.getpid(), signal.SIGKILL)
    save(self, fold, epochs_done, tree)
FoldCheckpoints.save = save_or_die
runpy.run_module("atnet_jax.main", run_name="__main__")
"""


@dataclasses.dataclass(frozen=True)
class Undisturbed:
    """A run that nothing happened to, and how to start it again elsewhere.

    Attributes:
      workdir: Workdir of the run.
      data_dir: Folder of the data.
      environment: has a start find the programs that an earlier one compiled.
    """

    workdir: Path
    data_dir: Path
    environment: dict[str, str]

    def start(self, workdir: Path, **kwargs) -> subprocess.Popen[str]:
        return start_main(self.data_dir, workdir, *SETTINGS, environment=self.environment, **kwargs)

    def run(self, workdir: Path, **kwargs) -> subprocess.CompletedProcess[str]:
        return run_main(self.data_dir, workdir, *SETTINGS, environment=self.environment, **kwargs)

    def assert_same_as(self, workdir: Path) -> None:
        for name in ("predictions.csv", "metrics.json", "curves.json", "digests.json", "table.md"):
            assert content(workdir / name) == content(self.workdir / name), name
        with (
            np.load(workdir / "epoch_scores.npz", allow_pickle=False) as ours,
            np.load(self.workdir / "epoch_scores.npz", allow_pickle=False) as theirs,
        ):
            assert ours.files == theirs.files
            for name in ours.files:
                assert ours[name].tobytes() == theirs[name].tobytes(), name


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Iterator[Undisturbed]:
    """However the runs of these tests end, they leave nothing in the temporary folder."""
    root = tmp_path_factory.mktemp("undisturbed")
    temporary = root / "temporary"
    temporary.mkdir()
    environment = {
        "TMPDIR": str(temporary),
        "JAX_COMPILATION_CACHE_DIR": str(root / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
    }
    whole = Undisturbed(root / "run", prepare_data(root), environment)
    done = whole.run(whole.workdir)
    assert done.returncode == 0, done.stderr
    assert "this run" in done.stdout
    assert str(whole.workdir / "report.html") in done.stdout
    yield whole
    assert not list(temporary.iterdir())


def copy_of_a_half_finished_run(undisturbed: Undisturbed, workdir: Path) -> list[Path]:
    """As if a kill had come after all checkpoints: returns these, by fold."""
    shutil.copytree(undisturbed.workdir / "checkpoints", workdir / "checkpoints")
    shutil.copy(undisturbed.workdir / "config.json", workdir)
    folds = sorted((workdir / "checkpoints").iterdir())
    assert len(folds) == 6
    return [fold / "20" for fold in folds]


def checkpoints(workdir: Path) -> set[str]:
    return {str(path) for path in workdir.glob("checkpoints/fold_*/*") if path.name.isdigit()}


def test_killed_again_and_again_it_ends_in_the_same_bytes(undisturbed, tmp_path):
    """Each start reaches a checkpoint and is killed at a random moment after it."""
    workdir = tmp_path / "run"
    seed = time.time_ns() % 2**32
    print(f"moments of the kills: seed {seed}")
    moments = [random.Random(seed + kill).uniform(0, 0.5) for kill in range(2)]
    kills = 0
    while True:
        before = checkpoints(workdir)
        process = undisturbed.start(workdir)
        try:
            while process.poll() is None and checkpoints(workdir) <= before:
                time.sleep(0.005)
            process.communicate(timeout=moments[kills] if kills < len(moments) else None)
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            print(f"killed after {moments[kills]:.3f} s; {len(before)} folds had checkpoints")
            kills += 1
        finally:
            process.kill()
    assert process.returncode == 0
    assert kills, "The run was through before it could be killed."
    undisturbed.assert_same_as(workdir)
    assert checkpoints(workdir) == {
        str(workdir / f"checkpoints/fold_{fold:03d}/20") for fold in range(6)
    }


def test_killed_between_two_saves_of_a_group_it_ends_in_the_same_bytes(undisturbed, tmp_path):
    workdir = tmp_path / "run"
    python, _, _, *arguments = command(undisturbed.data_dir, workdir, *SETTINGS)
    killed = subprocess.run(
        [python, "-c", KILLED_BETWEEN_SAVES, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **undisturbed.environment},
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert checkpoints(workdir) == {
        str(workdir / "checkpoints/fold_000/3"), str(workdir / "checkpoints/fold_001/2")
    }  # fmt: skip
    done = undisturbed.run(workdir)
    assert done.returncode == 0, done.stderr
    undisturbed.assert_same_as(workdir)


def test_damaged_checkpoints_end_in_the_same_bytes(undisturbed, tmp_path):
    workdir = tmp_path / "run"
    saved = copy_of_a_half_finished_run(undisturbed, workdir)
    tree = saved[0] / "tree.npz"
    tree.write_bytes(tree.read_bytes()[:1000])
    for path in saved[1].iterdir():
        path.write_bytes(b"")
    tree = bytearray((saved[4] / "tree.npz").read_bytes())
    tree[len(tree) // 2] ^= 1
    (saved[4] / "tree.npz").write_bytes(tree)
    done = undisturbed.run(workdir)
    assert done.returncode == 0, done.stderr
    undisturbed.assert_same_as(workdir)
    for fold in (0, 1, 4):
        assert f"Fold {fold}: the checkpoint {saved[fold]} is damaged" in done.stderr
        assert sorted(path.name for path in saved[fold].parent.iterdir()) == ["20", "damaged-20"]
    assert done.stderr.count("is damaged") == 3
    assert "Traceback" not in done.stderr


def test_a_full_disk_is_reported_and_the_run_resumes_later(undisturbed, tmp_path):
    workdir = tmp_path / "run"
    saved = copy_of_a_half_finished_run(undisturbed, workdir)
    size = (saved[0] / "tree.npz").stat().st_size
    for fold in (3, 5):
        shutil.rmtree(saved[fold].parent)
    kept = [(saved[fold] / "tree.npz").read_bytes() for fold in (0, 1, 2, 4)]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2))

    done = undisturbed.run(workdir, preexec_fn=limit)
    assert done.returncode == 1
    assert f"Error: Could not write the checkpoint of fold 3 to {saved[3].parent}/" in done.stderr
    assert "File too large. Fix this and rerun the same command" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (workdir / "predictions.csv").exists()
    assert [(saved[fold] / "tree.npz").read_bytes() for fold in (0, 1, 2, 4)] == kept
    done = undisturbed.run(workdir)
    assert done.returncode == 0, done.stderr
    undisturbed.assert_same_as(workdir)


def test_a_second_run_at_the_same_time_is_refused(undisturbed, tmp_path):
    workdir = tmp_path / "run"
    first = undisturbed.start(workdir)
    try:
        assert first.stdout is not None and first.stdout.readline()
        first.send_signal(signal.SIGSTOP)
        second = undisturbed.run(workdir)
        assert second.returncode == 1
        assert f"Error: {workdir} is in use by process {first.pid} on host" in second.stderr
        assert "--config=configs/cde.py:ststnet" in second.stderr
        assert "Traceback" not in second.stderr
        first.send_signal(signal.SIGCONT)
        _, err = first.communicate()
        assert first.returncode == 0, err
    finally:
        first.kill()
        first.wait()
    undisturbed.assert_same_as(workdir)
    assert not (workdir / "atnet_jax.lock").exists()
