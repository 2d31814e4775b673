"""Runs that take seconds: STSTNet on a manifest of 36 flow maps."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from atnet_jax.config import Config, default_config
from data_builders.prepare import prepare
from tests.settings import change

REPOSITORY = Path(__file__).resolve().parents[1]


def prepare_data(root: Path) -> Path:
    """Three databases of two subjects and six clips each, whose maps tell the class."""
    rng = np.random.default_rng(0)
    with (root / "manifest.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["dataset", "subject", "clip", "label", "flow_map"])
        for dataset in ("casme2", "samm", "smic"):
            for subject in ("s1", "s2"):
                for clip in range(6):
                    flow_map = rng.normal(size=(28, 28, 3)).astype(np.float32)
                    flow_map[9 * (clip % 3) :][:9] += 3
                    name = f"{dataset}_{subject}_{clip}.npy"
                    np.save(root / name, flow_map)
                    table.writerow([dataset, subject, f"c{clip}", clip % 3, name])
    prepare("manifest", root, root / "data", num_workers=1)
    return root / "data"


def settings(data_dir: Path, **changes) -> Config:
    config = default_config("ststnet")
    change(config, datasets=("manifest",), dir=str(data_dir), num_epochs=6, batch_size=16)
    change(config, learning_rate=0.01, checkpoint_every=2)
    change(config, **changes)
    return config


def command(data_dir: Path, workdir: Path, *more: str) -> list[str]:
    """The command line of the same run as `settings`."""
    return [
        sys.executable, "-m", "atnet_jax.main", "--config=configs/cde.py:ststnet",
        f"--workdir={workdir}", f"--config.data.dir={data_dir}",
        "--config.data.datasets=manifest", "--config.recipe.num_epochs=6",
        "--config.recipe.batch_size=16", "--config.recipe.learning_rate=0.01",
        "--config.engine.checkpoint_every=2", *more,
    ]  # fmt: skip


def start_main(*args, environment: dict[str, str] | None = None, **kwargs) -> subprocess.Popen[str]:
    """Starts the command with its output in pipes, unbuffered."""
    return subprocess.Popen(
        command(*args),
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **kwargs,
    )


def content(path: Path) -> Any:
    """Return the content of a file of a run, to compare it with another run.

    Its bytes; of curves all but the seconds that the epochs took, which no two runs share.
    """
    if path.name != "curves.json":
        return path.read_bytes()
    curves = json.loads(path.read_text())
    for curve in curves.values():
        assert len(curve.pop("seconds")) == len(curve["epoch"])
    return curves


def run_main(*args, **kwargs) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end."""
    process = start_main(*args, **kwargs)
    out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
