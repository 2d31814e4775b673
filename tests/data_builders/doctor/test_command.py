"""The command line."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.data_builders.doctor.conftest import (
    TREES,
    alternating_adm,
    record,
    write_list,
    write_set,
)

REPOSITORY = Path(__file__).resolve().parents[3]


def command(*options):
    return [sys.executable, "-m", "atnet_jax", "doctor", *map(str, options)]


def run_command(*options):
    return subprocess.run(
        command(*options), capture_output=True, text=True, cwd=REPOSITORY, check=False
    )


def test_command_line(tmp_path):
    tree = TREES.casme2(tmp_path / "raw")
    rows = ["casme2,sub01,EP02_01f,1,img10.jpg", "casme2,sub01,lost,2,img1.jpg"]
    listed = write_list(tmp_path / "list.csv", rows)
    options = ("--dataset=casme2", f"--composite={listed}", "--num_workers=2")
    run = run_command(f"--manual_dir={tree}", *options, f"--out={tmp_path / 'out'}")
    assert (run.returncode, run.stderr) == (1, "")
    assert (
        "ERROR: clips of the composite that this copy lacks: 1\n  - casme2/sub01/lost" in run.stdout
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "digests.csv",
        "doctor.json",
    ]
    # The user's own clips, which are no part of the paper's composite.
    write_set(tmp_path, "manifest", [record("a", dataset="mine", adm=alternating_adm())])
    run = run_command(f"--data_dir={tmp_path}", "--dataset=manifest", "--flow=farneback")
    assert (run.returncode, run.stderr) == (0, "")
    assert "Errors: 0. Warnings: 1." in run.stdout
    run = run_command(f"--data_dir={tmp_path}", f"--manual_dir={tmp_path}")
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == (
        "Error: Pass either --data_dir (prepared data) or --manual_dir (a raw copy).\n"
    )


def _children(process):
    return [int(p) for p in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def _ignores_interrupts(process):
    status = Path(f"/proc/{process}/status").read_text().split()
    return bool(int(status[status.index("SigIgn:") + 1], 16) & 1 << signal.SIGINT - 1)


@pytest.mark.skipif(
    not Path(f"/proc/self/task/{os.getpid()}/children").exists(),
    reason="processes are watched through Linux's /proc",
)
def test_an_interrupt_ends_it_cleanly(heeds_interrupts, tmp_path):
    top = tmp_path / "raw/SMIC_all_raw/HS/s01/micro/negative"
    TREES.write_frames(top / "s01_ne_01", [f"image{number:03d}.bmp" for number in range(60)])
    for number in range(2, 60):
        shutil.copytree(top / "s01_ne_01", top / f"s01_ne_{number:02d}", copy_function=os.link)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    run = subprocess.Popen(
        command(
            f"--manual_dir={tmp_path / 'raw'}",
            "--dataset=smic",
            "--num_workers=2",
            f"--out={tmp_path / 'out'}",
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(temporary)},
        start_new_session=True,
    )
    end = time.monotonic() + 30
    # Two workers at work, and the process in which Python keeps account of shared resources.
    while sum(map(_ignores_interrupts, _children(run.pid))) < 3:
        assert time.monotonic() < end and run.poll() is None
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGINT)  # Ctrl-C in a terminal reaches all of them.
    output, errors = run.communicate(timeout=30)
    assert (run.returncode, output) == (130, "")
    assert errors == "Interrupted.\n"
    assert not (tmp_path / "out").exists()
    assert not list(temporary.iterdir())
