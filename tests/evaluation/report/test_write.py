import subprocess
import sys
from pathlib import Path

import pytest

from atnet_jax.errors import UserError
from atnet_jax.evaluation import report
from tests.evaluation.report.workdirs import write_run

REPOSITORY = Path(__file__).resolve().parents[3]
NAMES = ["report.html", "report.md", "report.tex"]


@pytest.fixture
def workdir(tmp_path):
    return write_run(tmp_path / "run")


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_report_is_three_files_and_nothing_else(workdir, tmp_path):
    before = listing(workdir)
    out = tmp_path / "out" / "report.html"
    out.parent.mkdir()
    report.write([workdir], out, "A title")
    assert listing(out.parent) == NAMES
    assert listing(workdir) == before
    assert out.read_text().startswith("<!DOCTYPE html>")
    for name, title in zip(
        NAMES, ("<h1>A title</h1>", "# A title", "section*{A title}"), strict=True
    ):
        assert title in (out.parent / name).read_text()


def test_a_report_may_lie_in_the_workdir_and_be_written_again(workdir):
    for _ in range(2):
        report.write([workdir], workdir / "report.html")
    first = [(workdir / name).read_bytes() for name in NAMES]
    report.write([workdir], workdir / "report.html")
    assert [(workdir / name).read_bytes() for name in NAMES] == first


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_other_files_are_not_overwritten_by_a_report(workdir, tmp_path, name, kind):
    out = tmp_path / "out"
    out.mkdir()
    if kind == "file":
        (out / name).write_text("<!DOCTYPE html> my thesis")
    elif kind == "folder":
        (out / name).mkdir()
    else:
        (out / name).symlink_to("nowhere")
    with pytest.raises(UserError, match=rf"{name} exists and is not a report"):
        report.write([workdir], out / "report.html")
    assert listing(out) == [name]
    if kind == "file":
        assert (out / name).read_text() == "<!DOCTYPE html> my thesis"


@pytest.mark.parametrize(
    "name", ["report", "report.md", "report.tex", "report.HTML", "config.json"]
)
def test_the_name_must_be_that_of_a_page(workdir, name):
    before = listing(workdir)
    with pytest.raises(UserError, match=rf"{name}, but it must end in \.html"):
        report.write([workdir], workdir / name)
    assert listing(workdir) == before


def test_no_folder_and_no_runs(workdir, tmp_path):
    with pytest.raises(UserError, match=r"nothing does not exist\. Create it"):
        report.write([workdir], tmp_path / "nothing" / "report.html")
    with pytest.raises(UserError, match="Pass the workdir of at least one run"):
        report.write([], tmp_path / "report.html")


def test_nothing_is_written_if_a_run_cannot_be_read(workdir, tmp_path):
    unfinished = write_run(tmp_path / "other", "temporal")
    (unfinished / "predictions.csv").unlink()
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(UserError, match="other holds no finished run"):
        report.write([workdir, unfinished], out / "report.html")
    with pytest.raises(UserError, match="hold the same run"):
        report.write([workdir, workdir], out / "report.html")
    assert listing(out) == []


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "atnet_jax", "report", *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


def test_command_line(workdir, tmp_path):
    for seed in (0, 1):
        write_run(tmp_path / f"hde/seed_{seed}", "ststnet", protocol="hde", seed=seed)
    done = command(workdir, tmp_path / "hde", "--out", tmp_path / "report.html", "--title=Both")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"Report: {tmp_path / 'report.html'}\n"
    page = (tmp_path / "report.html").read_text()
    assert "<h1>Both</h1>" in page
    assert 'id="results-cde"' in page and 'id="results-hde"' in page
    assert "2 seeds" in page


def test_command_line_prints_errors_without_a_traceback(tmp_path):
    done = command(tmp_path / "none", "--out", tmp_path / "report.html")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "none holds no run" in done.stderr
    assert "Traceback" not in done.stderr
    assert command("--out", tmp_path / "report.html").returncode != 0
