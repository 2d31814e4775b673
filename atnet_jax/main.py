"""Trains and evaluates a method, or several, or pre-trains one.

Usage: python -m atnet_jax.main --config=configs/cde.py:fusion --workdir=runs/cde
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from atnet_jax.config import Config, check
from atnet_jax.errors import UserError
from atnet_jax.experiments import pretrain, suite
from atnet_jax.experiments import run as experiment
from atnet_jax.system.memory import keep_freed_memory
from atnet_jax.training import processes

_RUNS: dict[str, Callable[[Config, Path], Path | None]] = {
    "evaluate": experiment.train_and_evaluate,
    "final": experiment.train_and_evaluate,
    "pretrain": pretrain.pretrain,
    "table": suite.run,
    "leaderboard": suite.run_leaderboard,
}

_FLAGS = flags.FLAGS
_CONFIG = config_flags.DEFINE_config_file("config", help_string="Such as configs/cde.py:temporal.")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder for checkpoints and results; resumable.", required=True
)
_ADDRESS = flags.DEFINE_string(
    "coordinator_address", None, "HOST:PORT of the first of several processes that share the folds."
)
_COUNT = flags.DEFINE_integer("num_processes", None, "How many they are.")
_INDEX = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.")


def main(argv: list[str]) -> None:
    """Runs the experiment that the flags describe and prints what came out."""
    if not _FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # Orbax tells a page for every checkpoint.
    if len(argv) > 1:
        raise app.UsageError(f"What is {argv[1]!r}? Settings are given as --config.NAME=VALUE.")
    keep_freed_memory()
    if _CONFIG.value.get("deterministic"):
        flag = "--xla_gpu_deterministic_ops=true"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
    try:
        processes.connect(_ADDRESS.value, _COUNT.value, _INDEX.value)
        config, workdir = check(_CONFIG.value), Path(_WORKDIR.value).expanduser()
        report = _RUNS[config.task](config, workdir)
    except UserError as error:
        sys.exit(f"Error: {error}")
    if report is None:
        return  # Another process tells the result.
    table = report.parent / "table.md"  # A suite's tables are in its report alone.
    if table.exists():
        print(f"\n{table.read_text()}")
    print(f"Report: {report.absolute()}")


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    app.run(main)
