"""Trains and evaluates methods: `atnet train` by another name.

Usage: python -m atnet_jax.main --config=configs/cde.py:fusion --workdir=runs/cde
"""

import sys

from atnet_jax import commands

if __name__ == "__main__":
    sys.argv[:1] = ["atnet", "train"]  # As runs record the command that made them.
    sys.exit(commands.run(sys.argv[1:]))
