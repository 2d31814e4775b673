"""Workdirs: each holds one run, described by config.json."""

import contextlib
import dataclasses
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import jax

import atnet_jax
from atnet_jax.errors import UserError
from atnet_jax.evaluation.record import FILE, Environment, Record, read
from atnet_jax.system import cpus, locks
from atnet_jax.training import processes

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scikit-learn")
_LOCK = "atnet_jax.lock"
_NO_MORE_EPOCHS = (
    " A finished fold cannot train longer, because it keeps its network but not the state of its"
    " optimiser."
)


@contextlib.contextmanager
def lock(workdir: Path) -> Iterator[None]:
    """Lock a workdir against other runs; an empty workdir is removed at the end.

    Of several processes of one run, the first holds the lock for all.

    Args:
        workdir: Folder of the run; created if it does not exist.

    Raises:
        UserError: Another run uses the workdir, it is not writable, or UTF-8 lacks its name.
    """
    try:
        str(workdir.absolute()).encode()
    except UnicodeEncodeError:  # Checkpoints contain the path of their folder.
        raise UserError(
            f"The path {workdir} is not UTF-8, or the locale is not: set PYTHONUTF8=1, or choose"
            f" another --workdir."
        ) from None
    if not processes.is_first():
        yield
        return
    missing = [folder for folder in (workdir, *workdir.parents) if not folder.exists()]
    try:
        with locks.hold(workdir, _LOCK, "--workdir"):
            yield
    finally:
        with contextlib.suppress(OSError):  # Folders with a run are not empty and remain.
            for folder in missing:
                folder.rmdir()


def claim(workdir: Path, record: Record) -> Record:
    """Write config.json, or check that the workdir already holds the same run.

    The engine's settings and the paths of data and weights may change when a run is resumed, and
    folds may be added. A run that has written nothing but its config.json is replaced: it was
    rejected or stopped before its first checkpoint.

    Args:
        workdir: Folder of the run; created if it does not exist.
        record: The record of the run.

    Returns:
        The record in the workdir: `record`, or the one written when the run first started.

    Raises:
        UserError: The workdir holds another run or other files.
    """
    if (workdir / FILE).exists():
        first = read(workdir)
        before, now = first.identity(), record.identity()
        changed = {
            name: f"{name}: {before.get(name, 'nothing')} → {now.get(name, 'nothing')}"
            for name in sorted(before.keys() | now.keys())
            if before.get(name) != now.get(name)
        }
        if not changed:
            return first
        if [*changed] == ["folds"] and set(first.folds.run) <= set(record.folds.run):
            more = dataclasses.replace(
                first, config=record.config, command=record.command, folds=record.folds
            )
            more.write(workdir)
            return more
        if any(path.is_file() and _is_foreign(path) for path in workdir.rglob("*")):
            raise UserError(
                f"{workdir} holds another run. It differs in {'; '.join(changed.values())}. Choose"
                f" another --workdir, or use the same settings and data to resume that run."
                + (_NO_MORE_EPOCHS if "recipe.num_epochs" in changed else "")
            )
    elif workdir.exists() and (not workdir.is_dir() or any(map(_is_foreign, workdir.iterdir()))):
        raise UserError(
            f"{workdir} contains other files but no run. Choose a new or empty --workdir."
        )
    workdir.mkdir(parents=True, exist_ok=True)
    record.write(workdir)
    return record


def environment() -> Environment:
    """Return the device and software of this process."""
    return Environment(
        device=f"{jax.device_count()} × {jax.devices()[0].device_kind}",
        versions={
            "atnet_jax": atnet_jax.__version__,
            "python": platform.python_version(),
            **{package: metadata.version(package) for package in _PACKAGES},
            "opencv": cv2.__version__,  # The name of its package depends on the variant.
        },
        git=git_state(),
        processor=cpus.model(),
        platform=" ".join((platform.system(), platform.machine(), *platform.libc_ver())).strip(),
        threads=cpus.count(),
        xla_flags=os.environ.get("XLA_FLAGS", ""),
    )


def command() -> str:
    """Return the command line of this process."""
    return shlex.join(sys.argv)


def _is_foreign(path: Path) -> bool:
    """Return whether a file is neither config.json nor the lock or a part of a killed run."""
    return path.name not in (FILE, _LOCK) and not path.match(".config.json.*.tmp")


def git_state(package: Path = Path(__file__).parent) -> dict[str, Any] | None:
    """Return the Git commit of the package and whether its code was modified since.

    Args:
        package: A folder of Python files.

    Returns:
        "commit", the full hash, and "modified", whether a Python file of the checkout differs from
        the commit or is new. None if Git does not track the package (even inside the checkout of
        another project), or Git is missing or fails.
    """
    # In a Git hook, these variables refer to another repository.
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
