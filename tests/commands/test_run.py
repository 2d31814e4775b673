"""The wrapper of all commands: its output and status for every outcome."""

import errno
import os
import signal
import subprocess
import sys

import pytest

import atnet_jax
from atnet_jax import commands
from atnet_jax.commands import report
from atnet_jax.errors import UserError
from tests.conftest import REPOSITORY

ARGUMENTS = ["report", "run", "--out=report.html"]
HEAVY = ("jax", "flax", "tensorflow", "tensorflow_datasets", "cv2", "sklearn", "openpyxl", "orbax")


def start(*arguments: str, **kwargs) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs,
    )  # fmt: skip


def test_the_verbs_are_listed_by_step(capsys):
    assert commands.run([]) == 0
    listed = capsys.readouterr().out
    assert commands.run(["--help"]) == 0
    assert capsys.readouterr().out == listed
    lines = listed.splitlines()
    for step, verbs in commands.STEPS.items():
        place = lines.index(f"{step}:")
        for line, verb in zip(lines[place + 1 :], verbs, strict=False):
            found, summary = line.split(maxsplit=1)
            assert found == verb and summary.endswith(".")
    assert len(listed) == len("".join(lines)) + len(lines)


def test_the_version(capsys):
    assert commands.run(["--version"]) == 0
    assert capsys.readouterr().out == f"atnet_jax {atnet_jax.__version__}\n"


def test_help_imports_nothing_that_takes_time():
    """Print the help of every verb in a new process, and return the modules that it imported."""
    code = f"""
import sys
from atnet_jax import commands
for verb in commands.VERBS:
    try:
        commands.run([verb, "--help"])
    except SystemExit as ended:
        assert ended.code == 0
print("imported:", [name for name in {HEAVY} if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "imported: []"
    for verb in commands.VERBS:
        assert f"usage: atnet {verb} " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "Unknown command 'trian'. Did you mean train? `atnet` lists the commands."),
        (["--data"], "Unknown command '--data'. `atnet` lists the commands."),
        (
            ["prepare", "--dataset=smic", "--manaul_dir=x"],
            "Unknown option --manaul_dir. Did you mean --manual_dir?"
            " `atnet prepare --help` lists the options.",
        ),
        (["merge", "a"], "Missing: --out. `atnet merge --help` lists the options."),
        (["report", "--out=x"], "Missing: RUN. `atnet report --help` lists the options."),
        (["prepare"], "Missing: --dataset, --manual_dir, --data_dir. `atnet prepare --help`"),
        (["doctor", "x"], "Unexpected argument 'x'. Options start with --. `atnet doctor --help`"),
        (["doctor", "--num_workers=two"], "--num_workers: invalid int value: 'two'."),
        (["doctor", "--num_workers"], "--num_workers: expected one argument."),
        (["doctor", "--face=mine"], "--face: invalid choice: 'mine' (choose from"),
        (["doctor", "--fac=none"], "Unknown option --fac. Did you mean --face?"),
        (["serve", "run", "--port=70000"], "--port: 70000 is not between 0 and 65535."),
        (
            ["train", "--config=cde", "--workdir=x", "y"],
            "Unexpected argument 'y'. Pass settings as --config.NAME=VALUE.",
        ),
        (["train", "--config=cde", "--work=x"], "Unknown option --work. Did you mean"),
        (
            ["predict", "run", "https://a.b/c.mp4"],
            "CLIP: https://a.b/c.mp4 is an address. Download it and pass its path.",
        ),
        (["prepare", "--dataset=smic", "--manual_dir=", "--data_dir=d"], "--manual_dir: the path"),
        (["report", "~nobody-of-this-name/x", "--out=x"], "RUN: ~nobody-of-this-name/x: no user"),
    ],
)
def test_arguments_that_cannot_be(arguments, message, capsys):
    assert commands.run(arguments) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"Error: {message}")
    assert said.err.count("\n") == 1


def fails(error: BaseException):
    def run(given):
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (UserError("The data are odd."), 1, "Error: The data are odd."),
        (KeyboardInterrupt(), 130, "Interrupted."),
        (
            OSError(errno.EACCES, "Permission denied", "/f"),
            1,
            "Error: /f: Permission denied. Change its permissions, or choose another folder.",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            1,
            "Error: No space left on device. Free disk space and rerun the command.",
        ),
        (
            RuntimeError("write() failed: No space left on device; writing /f\nmore"),
            1,
            "Error: write() failed: No space left on device; writing /f. Free disk space and rerun"
            " the command.",
        ),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, "Error: Broken pipe."),
    ],
)  # fmt: skip
def test_errors_of_users_are_one_line(error, status, said, monkeypatch, capsys):
    monkeypatch.setattr(report, "run", fails(error))
    assert commands.run(ARGUMENTS) == status
    assert capsys.readouterr().err == f"{said}\n"


@pytest.mark.parametrize("error", [RuntimeError("a bug"), OSError("a bug")])
def test_a_bug_is_not_hidden(error, monkeypatch):
    monkeypatch.setattr(report, "run", fails(error))
    with pytest.raises(type(error), match="a bug"):
        commands.run(ARGUMENTS)


@pytest.mark.parametrize("error", [RuntimeError("Unknown backend x."), AssertionError()])
def test_a_device_that_jax_lacks_is_named(error, monkeypatch, capsys):
    import jax

    monkeypatch.setattr(report, "run", fails(error))
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setattr(jax, "devices", lambda: fails(error)(None))
    assert commands.run(ARGUMENTS) == 1
    said = capsys.readouterr().err
    assert said.startswith("Error: JAX finds no device with JAX_PLATFORMS=cuda")
    assert said.count("\n") == 1


def test_a_status_is_returned(monkeypatch):
    monkeypatch.setattr(report, "run", lambda given: 7)
    assert commands.run(ARGUMENTS) == 7


@pytest.mark.usefixtures("heeds_interrupts")
def test_an_interrupt_of_a_training_names_the_way_to_resume(tmp_path):
    """Before it has begun: a long module is replaced by a pause."""
    code = """
import sys, time
from atnet_jax import commands
from atnet_jax.commands import train
train.parse_config = lambda *_: print("begun", flush=True) or time.sleep(60)
sys.exit(commands.run(["train", "--config=cde", "--workdir=run"]))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPOSITORY, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "Interrupted. Rerun the same command to resume.\n")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_pipe_that_nobody_reads_is_no_error(unbuffered):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "atnet_jax"], cwd=REPOSITORY, stdout=writer, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_text_that_the_terminal_lacks_is_no_error():
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", "atnet_jax", "predict", "--help"], cwd=REPOSITORY, env=environment,
        capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout.isascii()
    done = subprocess.run(
        [sys.executable, "-m", "atnet_jax", "doctor", "--data_dir=gesichtsausdrücke"],
        cwd=REPOSITORY, env=environment, capture_output=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        1,
        b"Error: The folder gesichtsausdr\\xfccke does not exist. Pass an existing folder.\n",
    )


def test_main_is_the_verb_train():
    for module in (["atnet_jax.main"], ["atnet_jax", "train"]):
        process = start(*module, "--config=configs/cde.py")
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        assert errors == "Error: Missing: --workdir. `atnet train --help` lists the options.\n"
