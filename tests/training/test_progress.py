"""The progress line, and event files read back as TensorBoard does."""

import errno
import io
import os
import struct
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from atnet_jax.training import progress as watch
from atnet_jax.training.progress import UnitEpoch, Watch, profile


def unit(seed=0, fold=0, epoch=1, name="casme2/sub01", loss=0.5, **more) -> UnitEpoch:
    about = {"accuracy": 0.75, "learning_rate": 0.01, "steps": 2, "clips": 32, **more}
    return UnitEpoch(seed=seed, fold=fold, name=name, epoch=epoch, loss=loss, **about)


def masked_crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(path: Path) -> list[Event]:
    """The whole records of a TFRecord file, with their checksums checked."""
    data, found = path.read_bytes(), []
    while len(data) >= 12:
        length, check = struct.unpack("<QI", data[:12])
        assert check == masked_crc32c(data[:8])
        if len(data) < 16 + length:
            break  # A kill or a full disk came in the middle of it.
        event = data[12 : 12 + length]
        assert struct.unpack("<I", data[12 + length : 16 + length])[0] == masked_crc32c(event)
        found.append(Event.FromString(event))
        data = data[16 + length :]
    return found


def shown(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Tag → (step, value) as TensorBoard shows them.

    It reads a folder's files in the order of their names, and drops at a restart's record what it
    has read of that step and later ones.
    """
    curves: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(folder.iterdir()):
        assert "tfevents" in path.name
        events = records(path)
        assert events[0].file_version == "brain.Event:2"
        for event in events:
            assert abs(event.wall_time - time.time()) < 600
            if event.session_log.status == SessionLog.START:
                for tag, points in curves.items():
                    curves[tag] = [point for point in points if point[0] < event.step]
            for value in event.summary.value:
                curves.setdefault(value.tag, []).append((event.step, value.simple_value))
    return curves


def open_event_files() -> list[str]:
    links = [Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd")]
    return [str(link.readlink()) for link in links if link.is_symlink()
            and "tfevents" in str(link.readlink())]  # fmt: skip


# TensorBoard


def test_every_unit_has_its_curves_in_its_run(tmp_path):
    folders = {3: tmp_path / "seed_3", 4: tmp_path / "seed_4"}
    done = {(seed, fold): 0 for seed in folders for fold in (0, 11)}
    with Watch("cde ststnet", 2, done, folders) as seen:
        for epoch in (1, 2):
            seen.epoch(
                [
                    unit(
                        seed,
                        fold,
                        epoch,
                        loss=np.float32(seed + fold / 16 + epoch / 64),
                        accuracy=np.float32(epoch / 4),
                        learning_rate=0.5**epoch,
                    )
                    for seed, fold in done
                ]
            )
    for seed, fold in done:
        assert shown(folders[seed] / "tensorboard" / f"fold_{fold:03d}") == {
            "training/loss": [(epoch, seed + fold / 16 + epoch / 64) for epoch in (1, 2)],
            "training/accuracy": [(1, 0.25), (2, 0.5)],
            "training/learning_rate": [(1, 0.5), (2, 0.25)],
        }


def train(folder: Path, start: int, stop: int, offset: float) -> None:
    with Watch("cde ststnet", 8, {(0, 0): start}, {0: folder}) as seen:
        for epoch in range(start + 1, stop + 1):
            seen.epoch([unit(epoch=epoch, loss=epoch + offset)])


def test_an_epoch_trained_again_after_a_kill_is_shown_once(tmp_path):
    curves = tmp_path / "tensorboard" / "fold_000"
    train(tmp_path, 0, 3, 0.5)  # Killed before the first checkpoint,
    train(tmp_path, 0, 7, 0.0)  # after a checkpoint of epoch 4,
    [*_, torn] = sorted(curves.iterdir())
    torn.write_bytes(torn.read_bytes()[:-9])
    train(tmp_path, 4, 6, 0.25)  # and before another.
    train(tmp_path, 4, 8, 0.125)
    expected = [(epoch, epoch + (0.125 if epoch > 4 else 0)) for epoch in range(1, 9)]
    assert shown(curves)["training/loss"] == expected
    assert [step for step, _ in shown(curves)["training/accuracy"]] == list(range(1, 9))


def test_a_kill_loses_no_epoch(tmp_path):
    seen = Watch("cde ststnet", 8, {(0, 0): 0}, {0: tmp_path})
    with seen:
        for epoch in (1, 2, 3):
            seen.epoch([unit(epoch=epoch)])
            points = shown(tmp_path / "tensorboard" / "fold_000")["training/loss"]
            assert len(points) == epoch


def test_only_the_files_of_a_group_are_open(tmp_path):
    done = {(seed, fold): 0 for seed in (0, 1) for fold in range(6)}
    units = list(done)
    with Watch("hde ststnet", 3, done, {0: tmp_path / "0", 1: tmp_path / "1"}) as seen:
        for start in range(0, len(units), 4):
            for epoch in (1, 2, 3):
                seen.epoch([unit(seed, fold, epoch) for seed, fold in units[start : start + 4]])
                assert len(open_event_files()) == 4
    assert not open_event_files()
    assert len(list(tmp_path.rglob("*tfevents*"))) == len(units)


def test_a_full_disk_is_said_once_and_stops_nothing(tmp_path):
    # A limit on the size of files acts as a full disk does: a part is taken, then nothing more.
    script = f"""
        import resource
        from pathlib import Path
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        from atnet_jax.training.progress import UnitEpoch, Watch
        with Watch("cde ststnet", 3000, {{(0, 0): 0}}, {{0: Path({str(tmp_path)!r})}}) as seen:
            for epoch in range(1, 3001):
                seen.epoch([UnitEpoch(0, 0, "a/b", epoch, 1.0, 0.5, 0.01, 2, 32)])
        print("through")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "through\n"), done.stderr
    assert done.stderr.count("Cannot write scalars for TensorBoard: [Errno 28]") == 1
    assert "Training continues without them." in done.stderr
    assert "100%" in done.stderr and "1/1 fold," in done.stderr
    [path] = tmp_path.rglob("*tfevents*")
    assert path.stat().st_size == 5000
    assert len(records(path)) > 20


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path, capsys):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "tensorboard").write_text("no folder")
    done = {(seed, 0): 0 for seed in (0, 1)}
    with Watch("cde ststnet", 3, done, {seed: tmp_path / str(seed) for seed in (0, 1)}) as seen:
        for epoch in (1, 2, 3):
            seen.epoch([unit(seed, 0, epoch) for seed in (0, 1)])
            assert not open_event_files()
    printed = capsys.readouterr().err
    assert printed.count("Cannot write scalars for TensorBoard:") == 1
    assert "2/2 folds" in printed


# The line


class Clock:
    """A monotonic clock that the test moves."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(watch, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch) -> Clock:
    return Clock(monkeypatch)


def last_line(capsys) -> str:
    return capsys.readouterr().err.replace("\r", "\n").strip().splitlines()[-1].split("| ")[1]


def test_the_line_shows_folds_speed_time_left_and_loss(tmp_path, clock, capsys):
    done = {(0, fold): 0 for fold in range(6)}
    with Watch("cde ststnet", 4, done, {0: tmp_path}) as seen:
        clock.now += 300  # Compilation.
        for epoch in range(1, 5):
            seen.epoch(
                [
                    unit(0, 0, epoch, name="casme2/sub01", loss=0.25, steps=50, clips=800),
                    unit(0, 1, epoch, name="casme2/sub02", loss=0.5, steps=30, clips=600),
                ]
            )
            clock.now += 2
    # 2 units in 2 s: 16 unit-epochs are left.
    assert last_line(capsys).partition(", ")[2] == (
        "2/6 folds, 40 steps/s, 700 clips/s, 00:16 left, casme2/sub01 +1: loss 0.375"
    )


def test_speeds_are_those_of_the_last_minute(tmp_path, clock, capsys):
    with Watch("cde ststnet", 400, {(0, 0): 0}, {0: tmp_path}) as seen:
        for epoch in range(1, 201):
            clock.now += 0.1 if epoch <= 100 else 2.0
            seen.epoch([unit(epoch=epoch, steps=1, clips=16)])
    line = last_line(capsys)
    assert "0.50 steps/s, 8.00 clips/s, 06:40 left" in line


def test_speed_excludes_epochs_before_a_resume(tmp_path, clock, capsys):
    done = {(0, 0): 100, (0, 1): 100, (0, 2): 60, (0, 3): 0}
    with Watch("cde ststnet", 100, done, {0: tmp_path}) as seen:
        for epoch in (61, 62, 63):
            clock.now += 10
            seen.epoch([unit(0, 2, epoch)])
    error = capsys.readouterr().err
    assert "cde ststnet  65%" in error
    assert "cde ststnet  66%" in error
    # 137 unit-epochs of 10 s.
    assert "2/4 folds, 0.20 steps/s, 3.20 clips/s, 22:50 left" in error


def test_a_speed_not_known_yet_is_not_shown(tmp_path, clock, capsys):
    with Watch("cde ststnet", 10, {(0, 0): 0}, {0: tmp_path}) as seen:
        clock.now += 5
        seen.epoch([unit(name="manifest/a-subject-of-a-very-long-name", loss=1.0)])
    assert last_line(capsys).partition(", ")[2] == "0/1 fold, manifest/a-subject-of-a…: loss 1.000"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_line_shows_the_validation_uf1(tmp_path, clock, capsys):
    with Watch("cde ststnet", 1, {(0, k): 0 for k in range(3)}, {0: tmp_path}) as seen:
        seen.epoch([unit(fold=k, validation_uf1=uf1) for k, uf1 in enumerate((0.25, None, 0.75))])
    assert last_line(capsys).endswith("casme2/sub01 +2: loss 0.500, validation UF1 0.500")


def test_a_log_file_gets_few_lines_and_a_terminal_many(tmp_path, monkeypatch):
    looks = {}
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr(sys, "stderr", stream)
        folder = tmp_path / type(stream).__name__
        with Watch("cde ststnet", 5, {(0, 0): 0}, {0: folder}) as seen:
            for epoch in range(1, 6):
                time.sleep(0.11)
                seen.epoch([unit(epoch=epoch)])
        looks[type(stream)] = stream.getvalue().count("\r")
    assert looks[io.StringIO] == 2  # The first and the last.
    assert looks[Terminal] >= 6


class FullLog(io.StringIO):
    def write(self, _: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_log_on_a_full_disk_stops_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", FullLog())
    with Watch("cde ststnet", 3, {(0, 0): 0}, {0: tmp_path}) as seen:
        for epoch in (1, 2, 3):
            seen.epoch([unit(epoch=epoch)])
    assert len(shown(tmp_path / "tensorboard" / "fold_000")["training/loss"]) == 3


# The profile


def test_a_profile_contains_the_work_of_its_context(tmp_path):
    with profile(None):
        jax.jit(lambda x: x * 2)(np.ones(3)).block_until_ready()
    assert not list(tmp_path.iterdir())
    with profile(tmp_path):
        jax.jit(lambda x: x @ x)(np.ones((64, 64))).block_until_ready()
    [trace] = tmp_path.glob("plugins/profile/*/*.xplane.pb")
    assert b"jit" in trace.read_bytes()


def test_the_line_says_that_it_compiles_and_from_where_it_resumes(tmp_path, capsys):
    with Watch("cde ststnet", 4, {(0, 0): 4, (0, 1): 2, (0, 2): 0}, {0: tmp_path}):
        pass
    said = capsys.readouterr()
    assert said.out == "Resuming: 1 of 3 folds are finished and 1 begun, 6 of 12 epochs in all.\n"
    assert "1/3 folds, compiling" in said.err
    with Watch("cde ststnet", 4, {(0, 0): 4}, {0: tmp_path}):
        pass
    assert "compiling" not in capsys.readouterr().err
    with Watch("cde ststnet", 4, {(0, 0): 0}, {0: tmp_path}):
        pass
    assert capsys.readouterr().out == ""
