"""What a workdir holds: one run, recorded in config.json, and no other."""

import json
import platform
import shlex
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

import atnet_jax
from atnet_jax import files
from atnet_jax.config import OPERATIONAL_FIELDS, Config
from atnet_jax.errors import UserError

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


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
        record = json.loads(path.read_text())
        before = {**record["config"], "data": record["data"], "init_from": record["init_from"]}
        now = {**settings, "data": data, "init_from": init_from}
        changed = [
            f"{name}: {before.get(name)!r} → {now.get(name)!r}"
            for name in sorted(before.keys() | now.keys())
            if before.get(name) != now.get(name) and name not in OPERATIONAL_FIELDS
        ]
        if changed:
            raise UserError(
                f"{workdir} holds another run. It differs in {'; '.join(changed)}. Choose another"
                f" --workdir, or the same settings and data to go on with that run."
            )
        return record
    if workdir.exists() and (not workdir.is_dir() or any(workdir.iterdir())):
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
        },
        "command": f"python -m atnet_jax.main {shlex.join(sys.argv[1:])}",
        **(about or {}),
    }
    files.write_json_atomically(path, record)
    return record
