"""Trains and evaluates one method under one protocol, or pre-trains it.

Usage: python -m atnet_jax.main --config=configs/cde.py:fusion --workdir=runs/cde
"""

import sys

from absl import app, flags, logging
from ml_collections import config_flags

from atnet_jax import experiment, pretrain, suite
from atnet_jax.errors import UserError

_FLAGS = flags.FLAGS
_CONFIG = config_flags.DEFINE_config_file("config", help_string="Such as configs/cde.py:temporal.")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder for checkpoints and results; resumable.", required=True
)


def main(argv: list[str]) -> None:
    """Runs the experiment that the flags describe and prints what came out."""
    if not _FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # Orbax tells a page for every checkpoint.
    if len(argv) > 1:
        raise app.UsageError(f"What is {argv[1]!r}? Settings are given as --config.NAME=VALUE.")
    try:
        if _CONFIG.value.protocol == "pretrain":
            pretrain.pretrain(_CONFIG.value, _WORKDIR.value)
            return
        run = suite.run if "methods" in _CONFIG.value else experiment.train_and_evaluate
        report = run(_CONFIG.value, _WORKDIR.value)
    except UserError as error:
        sys.exit(f"Error: {error}")
    table = report.parent / "table.md"  # A suite's tables are in its report alone.
    if table.exists():
        print(f"\n{table.read_text()}")
    print(f"Report: {report.absolute()}")


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    app.run(main)
