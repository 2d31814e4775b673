"""Train and evaluate methods: an alias of `atnet train`.

Usage: python -m atnet_jax.main --config=configs/cde.py:fusion --workdir=runs/cde
"""

import sys

from atnet_jax import commands

if __name__ == "__main__":
    sys.argv[:1] = ["atnet", "train"]  # Runs record the command that created them.
    sys.exit(commands.run(sys.argv[1:]))
