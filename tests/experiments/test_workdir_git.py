"""The recorded commit of a run's code."""

import shutil
import subprocess
from pathlib import Path

import pytest

from atnet_jax.experiments import workdir

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=A Test", "-c", "user.email=test@example.org"]
    done = subprocess.run(
        ["git", *who, "-C", str(folder), *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def package(tmp_path) -> Path:
    """A package in a checkout, with one commit."""
    folder = tmp_path / "checkout" / "package"
    folder.mkdir(parents=True)
    for path in (folder / "__init__.py", folder / "train.py", folder.parent / "README.md"):
        path.write_text("as committed\n")
    git(folder.parent, "init", "--quiet")
    git(folder.parent, "add", "--all")
    git(folder.parent, "commit", "--quiet", "--message=first")
    return folder


def test_the_commit_is_recorded_and_whether_code_differs_from_it(package):
    clean = {"commit": git(package, "rev-parse", "HEAD"), "modified": False}
    assert len(clean["commit"]) == 40
    assert workdir.git_state(package) == clean
    # Files written by a run, and texts, are no code.
    (package.parent / "runs").mkdir()
    (package.parent / "runs" / "config.json").write_text("{}")
    (package.parent / "README.md").write_text("changed")
    assert workdir.git_state(package) == clean
    (package / "train.py").write_text("changed")
    assert workdir.git_state(package) == {**clean, "modified": True}
    git(package, "checkout", "--", "train.py")
    assert workdir.git_state(package) == clean
    (package / "new").mkdir()
    (package / "new" / "method.py").write_text("new")
    assert workdir.git_state(package) == {**clean, "modified": True}


def test_a_repository_that_the_package_merely_lies_in_does_not_count(package):
    installed = package.parent / ".venv" / "package"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert workdir.git_state(installed) is None


def test_a_folder_without_repository_or_commit_has_no_state(tmp_path):
    (tmp_path / "__init__.py").write_text("")
    assert workdir.git_state(tmp_path) is None
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    assert workdir.git_state(tmp_path) is None


def test_without_git_there_is_no_state(package, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert workdir.git_state(package) is None


def test_a_git_that_does_not_answer_stops_nothing(package, monkeypatch):
    def hang(command, **options):
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(workdir.subprocess, "run", hang)
    assert workdir.git_state(package) is None


def test_the_repository_of_a_git_hook_does_not_count(package, monkeypatch, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "--quiet")
    state = workdir.git_state(package)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert workdir.git_state(package) == state
    assert state is not None
