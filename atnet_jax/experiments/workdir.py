"""What a workdir holds: one run, recorded in config.json, and no other."""

import contextlib
import json
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
from atnet_jax.config import Config, of_result, refuse_old
from atnet_jax.errors import UserError
from atnet_jax.system import files, locks
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


def claim(
    workdir: Path,
    config: Config,
    *,
    data: dict[str, Any],
    init_from: str | None,
    about: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Records in config.json what this run is, or checks that the workdir holds this very run.

    Args:
      workdir: the folder; made if it is not there.
      config: the settings.
      data: what the run reads, for comparison: JSON-able, with a digest.
      init_from: digest of the weights that it starts from, or None.
      about: what else readers of the results should know.

    Returns:
      The record: "config", "data", "init_from", "environment", "command" and what is in `about`.

    Raises:
      UserError: the workdir holds another run, or other files.
    """
    settings = json.loads(config.to_json())
    path = workdir / "config.json"
    if path.exists():
        try:
            record = json.loads(path.read_text())
            refuse_old(record["config"])
            before = {**of_result(record["config"]), "data": record["data"]}
            before["init_from"] = record["init_from"]
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"{path} is damaged, so that it is not known which run {workdir} holds. Choose an"
                f" empty --workdir."
            ) from error
        now = {**of_result(settings), "data": data, "init_from": init_from}
        changed = [
            f"{name}: {before.get(name)!r} → {now.get(name)!r}"
            for name in sorted(before.keys() | now.keys())
            if before.get(name) != now.get(name)
        ]
        if changed:
            raise UserError(
                f"{workdir} holds another run. It differs in {'; '.join(changed)}. Choose another"
                f" --workdir, or the same settings and data to go on with that run."
            )
        return record
    if workdir.exists() and (not workdir.is_dir() or any(map(_is_foreign, workdir.iterdir()))):
        raise UserError(f"{workdir} holds other files, and no run. Choose an empty --workdir.")
    workdir.mkdir(parents=True, exist_ok=True)
    record = {
        "config": settings,
        "data": data,
        "init_from": init_from,
        "environment": {
            "device": f"{jax.device_count()} × {jax.devices()[0].device_kind}",
            "versions": {
                "atnet_jax": atnet_jax.__version__,
                "python": platform.python_version(),
                **{package: metadata.version(package) for package in _PACKAGES},
            },
            "git": git_state(),
        },
        "command": shlex.join(sys.argv),
        **(about or {}),
    }
    files.write_json_atomically(path, record)
    return record


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
