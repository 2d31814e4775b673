"""What a workdir holds: one run, recorded in config.json, and no other."""

import contextlib
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

import atnet_jax
from atnet_jax.errors import UserError
from atnet_jax.evaluation.record import FILE, Environment, Record, read
from atnet_jax.system import locks
from atnet_jax.training import processes

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
_LOCK = "atnet_jax.lock"


@contextlib.contextmanager
def lock(workdir: Path) -> Iterator[None]:
    """Keeps every other run out of a workdir while this one is in it.

    A workdir in which nothing else comes to be is not left behind. Of several processes of one run,
    the first holds the lock for all.

    Raises:
      UserError: another run is in the workdir, or nothing can be written there.
    """
    if not processes.is_first():
        yield
        return
    missing = [folder for folder in (workdir, *workdir.parents) if not folder.exists()]
    try:
        with locks.hold(workdir, _LOCK, "--workdir"):
            yield
    finally:
        with contextlib.suppress(OSError):  # They are not empty: there is a run.
            for folder in missing:
                folder.rmdir()


def claim(workdir: Path, record: Record) -> Record:
    """Records in config.json what this run is, or checks that the workdir holds this very run.

    The engine's settings, and where data and weights lie, may change from one start to the next.

    Args:
      workdir: the folder; made if it is not there.
      record: the run.

    Returns:
      The record that the workdir holds: this one, or that of the run's first start.

    Raises:
      UserError: the workdir holds another run, or other files.
    """
    if (workdir / FILE).exists():
        first = read(workdir)
        before, now = first.identity(), record.identity()
        changed = [
            f"{name}: {before.get(name, 'nothing')} → {now.get(name, 'nothing')}"
            for name in sorted(before.keys() | now.keys())
            if before.get(name) != now.get(name)
        ]
        if changed:
            raise UserError(
                f"{workdir} holds another run. It differs in {'; '.join(changed)}. Choose another"
                f" --workdir, or the same settings and data to go on with that run."
            )
        return first
    if workdir.exists() and (not workdir.is_dir() or any(map(_is_foreign, workdir.iterdir()))):
        raise UserError(f"{workdir} holds other files, and no run. Choose an empty --workdir.")
    workdir.mkdir(parents=True, exist_ok=True)
    record.write(workdir)
    return record


def environment() -> Environment:
    """What this process computes with."""
    return Environment(
        device=f"{jax.device_count()} × {jax.devices()[0].device_kind}",
        versions={
            "atnet_jax": atnet_jax.__version__,
            "python": platform.python_version(),
            **{package: metadata.version(package) for package in _PACKAGES},
        },
        git=git_state(),
    )


def command() -> str:
    """The command line of this process."""
    return shlex.join(sys.argv)


def _is_foreign(path: Path) -> bool:
    """Whether it is neither the lock nor left of a run that was killed as it made config.json."""
    return path.name != _LOCK and not path.match(".config.json.*.tmp")


def git_state(package: Path = Path(__file__).parent) -> dict[str, Any] | None:
    """The commit that the package is imported from, and whether its code was changed since.

    Args:
      package: a folder of Python files.

    Returns:
      "commit", its full hash, and "modified": whether a Python file of the checkout differs from it
      or is new. None where the package is no part of a checkout (merely lying within somebody
      else's is not), or Git is not there or does not answer.
    """
    # Within a Git hook these name another repository.
    environment = {name: value for name, value in os.environ.items() if name[:4] != "GIT_"}

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "--no-optional-locks", "-C", str(package), *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=True,
            timeout=20,
        ).stdout

    try:
        git("ls-files", "--error-unmatch", "--", "__init__.py")
        commit = git("rev-parse", "--verify", "HEAD").strip()
        changes = git("status", "--porcelain", "--untracked-files=all", "--", ":(top)*.py")
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "modified": bool(changes)}
