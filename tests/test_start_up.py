"""Commands import only the large packages they use, and leave nothing in the temporary folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

LARGE = {"cv2", "flax", "grain", "jax", "orbax", "scipy", "sklearn", "tensorflow_datasets"}

_RUN = f"""
import sys
from atnet_jax import commands
try:
    commands.run(sys.argv[1:])
finally:
    print(*sorted({LARGE} & set(sys.modules)), file=sys.stderr)
"""


def command(*arguments: str | Path, temporary: Path) -> tuple[set[str], list[str]]:
    """Run a command, and return the large packages that it has imported, and its errors."""
    run = subprocess.run(
        [sys.executable, "-c", _RUN, *map(str, arguments)],
        env={**os.environ, "TMPDIR": str(temporary)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    *lines, imported = run.stderr.splitlines()
    return set(imported.split()), [line for line in lines if line.startswith("Error")]


@pytest.mark.parametrize("verb", ["train", "prepare", "doctor", "predict", "report", "methods"])
def test_help_imports_no_large_package(verb: str, tmp_path: Path):
    assert command(verb, "--help", temporary=tmp_path) == (set(), [])


def test_the_list_of_commands_imports_no_large_package(tmp_path: Path):
    assert command("--help", temporary=tmp_path) == (set(), [])


def test_from_raw_clips_to_a_report(tmp_path: Path):
    """Each command imports what it uses, and the temporary folder is empty after it."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()

    def imported(*arguments: str | Path, error: str = "") -> set[str]:
        found, errors = command(*arguments, temporary=temporary)
        assert not list(temporary.iterdir())
        assert len(errors) == bool(error)
        assert error in "".join(errors)
        return found

    raw, data, runs = tmp_path / "raw", tmp_path / "data", tmp_path / "runs"
    synthetic = ("synthetic", f"--out={raw}", "--datasets=smic", "--subjects=2", "--clips=3")
    assert imported(*synthetic) == {"cv2"}
    copy = ("--dataset=smic", f"--manual_dir={raw / 'smic'}")
    assert imported("doctor", *copy) <= {"cv2", "tensorflow_datasets"}
    prepare = ("prepare", "--dataset=smic", f"--data_dir={data}", "--flow=dis_ultrafast")
    imported(*prepare, f"--manual_dir={temporary}", error="SMIC_all_raw")
    prepared = imported(*prepare, f"--manual_dir={raw / 'smic'}")
    assert prepared <= {"cv2", "flax", "jax", "tensorflow_datasets"}
    settings = (f"--config.data.dir={data}", "--config.data.datasets=smic",
                "--config.data.flow=dis_ultrafast", "--config.recipe.num_epochs=1")  # fmt: skip
    network = ("train", "--config=cde:ststnet", f"--workdir={runs / 'network'}", *settings)
    imported(*network, "--config.recipe.learning_rate=1e30", error="Fold 0")
    trained = imported(*network[:2], f"--workdir={runs / 'trained'}", *settings)
    assert {"jax", "orbax"} <= trained
    assert not trained & {"scipy", "sklearn"}
    svm = imported("train", "--config=cde:hoof", f"--workdir={runs / 'svm'}", *settings[:3])
    assert "sklearn" in svm
    reported = imported("report", runs / "trained", runs / "svm", f"--out={tmp_path / 'r.html'}")
    assert not reported & {"grain", "orbax", "scipy", "sklearn", "tensorflow_datasets"}
