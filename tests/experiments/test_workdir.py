import dataclasses
import errno
import fcntl
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from atnet_jax.config import default_config
from atnet_jax.errors import UserError
from atnet_jax.evaluation.record import Data, Folds, Record, read
from atnet_jax.experiments.workdir import claim, command, environment, lock

REPOSITORY = Path(__file__).resolve().parents[2]
HOLDER = """
import sys, time
from pathlib import Path
from atnet_jax.experiments.workdir import lock
with lock(Path(sys.argv[1])):
    print("in", flush=True)
    time.sleep(60)
"""


def take(workdir: Path) -> Record:
    config = json.loads(default_config("ststnet").to_json())
    folds = Folds(("casme2/s1", "samm/s1"), (0, 1))
    new = Record(config, Data(3, "0" * 64), None, environment(), command(), folds)
    return claim(workdir, new)


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_second_run_is_rejected_until_the_first_has_ended(tmp_path):
    workdir = tmp_path / "run"
    with lock(workdir):
        take(workdir)
        with (
            pytest.raises(
                UserError,
                match=rf"{workdir} is in use by process {os.getpid()} on host"
                rf" {socket.gethostname()} since \d{{4}}-\d\d-\d\d \d\d:\d\d"
                rf" \({re.escape(shlex.join(sys.argv))}\)\. Wait until that process"
                r" ends, stop it, or choose another --workdir\.",
            ),
            lock(workdir),
        ):
            pytest.fail("two runs in one workdir")
        # The refused one did not take the first one's lock away.
        with pytest.raises(UserError, match="in use"), lock(workdir):
            pytest.fail("two runs in one workdir")
        with lock(tmp_path / "other"):
            pass
    assert listed(workdir) == ["config.json"]
    with lock(workdir):
        take(workdir)


def test_the_lock_of_a_killed_run_is_free(tmp_path):
    workdir = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(workdir)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"
    with pytest.raises(UserError, match=f"in use by process {process.pid} "), lock(workdir):
        pytest.fail("two runs in one workdir")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert listed(workdir) == ["atnet_jax.lock"]
    with lock(workdir):
        told = (workdir / "atnet_jax.lock").read_text()
        assert f"process {os.getpid()} " in told and f"process {process.pid} " not in told
        take(workdir)  # The files of the killed run do not count as "other files".
    assert listed(workdir) == ["config.json"]


def test_a_run_that_does_not_come_to_be_leaves_nothing_behind(tmp_path):
    workdir = tmp_path / "runs" / "cde" / "fusion"
    with pytest.raises(UserError, match="not prepared"), lock(workdir):
        assert workdir.is_dir()
        raise UserError("not prepared")
    assert listed(tmp_path) == []
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "lock").write_text("precious")
    with pytest.raises(UserError, match="contains other files"), lock(tmp_path / "mine"):
        take(tmp_path / "mine")
    assert listed(tmp_path / "mine") == ["lock"]
    assert (tmp_path / "mine" / "lock").read_text() == "precious"
    (tmp_path / "empty").mkdir()
    with lock(tmp_path / "empty" / "new"):
        pass
    assert listed(tmp_path / "empty") == []


def test_a_lock_that_goes_as_it_is_opened_is_taken_anew(tmp_path, monkeypatch):
    """Between opening and locking, the last run ends and removes the file."""
    flock = fcntl.flock
    opened = []

    def remove_and_lock(file, operation):
        opened.append(file)
        if len(opened) == 1:
            (tmp_path / "atnet_jax.lock").unlink()
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", remove_and_lock)
    with lock(tmp_path):
        assert len(opened) == 2
        with pytest.raises(UserError, match="in use"), lock(tmp_path):
            pytest.fail("two runs in one workdir")


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_without_file_locks_a_run_continues_with_a_warning(tmp_path, monkeypatch, capsys, code):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", fail)
    with lock(tmp_path):
        pass
    told = capsys.readouterr().err
    assert told.count("does not support locks") == 1
    assert listed(tmp_path) == []


def test_a_workdir_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("precious")
    for workdir in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match="cannot be written to"), lock(workdir):
            pytest.fail("locked")
    assert (tmp_path / "file").read_text() == "precious"


def test_a_kill_as_the_workdir_is_claimed_leaves_it_free(tmp_path):
    (tmp_path / ".config.json.0123456789abcdef.tmp").write_text("{")
    with lock(tmp_path):
        take(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / ".config.json").write_text("precious")
    with pytest.raises(UserError, match="contains other files"):
        take(tmp_path / "other")


def test_a_workdir_keeps_the_record_of_its_first_start(tmp_path):
    first = take(tmp_path)
    there = dataclasses.replace(first, command="another start", notes=("another day",))
    assert claim(tmp_path, there) == first
    (tmp_path / "checkpoints").touch()
    data = dataclasses.replace(first, data=Data(3, "1" * 64))
    with pytest.raises(UserError, match=r"holds another run\. .* data\.sha256: 0{64} → 1{64}\."):
        claim(tmp_path, data)
    assert read(tmp_path) == first


def changed(first: Record, **settings) -> Record:
    return dataclasses.replace(first, config={**first.config, **settings})


def test_a_workdir_in_which_nothing_was_trained_takes_another_run(tmp_path):
    """As after a run that was rejected, or diverged in its first epoch."""
    first = take(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    other = changed(first, score_every=7)
    assert claim(tmp_path, other) == other == read(tmp_path)
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard" / "events").touch()
    with pytest.raises(UserError, match="It differs in score_every: 7 → 1"):
        claim(tmp_path, first)
    assert read(tmp_path) == other


def test_folds_can_be_added_and_neither_removed_nor_trained_longer(tmp_path):
    both = dataclasses.replace(take(tmp_path), notes=("a note",))
    (tmp_path / "config.json").unlink()
    one = dataclasses.replace(changed(both, folds="1"), folds=Folds(both.folds.names, (1,)))
    claim(tmp_path, one)
    (tmp_path / "predictions.csv").touch()
    now = dataclasses.replace(both, command="another", notes=(), environment=one.environment)
    extended = claim(tmp_path, now)
    assert (extended.folds, extended.notes) == (both.folds, ("a note",))
    assert extended.config["folds"] == "" and read(tmp_path) == extended
    with pytest.raises(UserError, match=r"It differs in folds:  → 1\."):
        claim(tmp_path, one)
    recipe = {**both.config["recipe"], "num_epochs": 9}
    with pytest.raises(
        UserError, match=r"num_epochs: \d+ → 9.* A finished fold cannot train longer"
    ):
        claim(tmp_path, changed(both, recipe=recipe))


def test_a_workdir_whose_name_utf_8_lacks_is_refused(tmp_path):
    with pytest.raises(UserError, match="is not UTF-8"), lock(tmp_path / "w\udce4rm"):
        pytest.fail("locked")
    assert listed(tmp_path) == []
