r"""Leaderboard: every method under both protocols with five seeds.

    atnet train --config=leaderboard --workdir=runs/leaderboard
    atnet train --config=leaderboard --workdir=runs/leaderboard \
        --config.methods=ststnet,temporal --config.protocols=cde --config.seeds=0

Each run has the folder PROTOCOL/METHOD/seed_N in the workdir and equals a separate run. Rerun the
command, with all methods or some, to run only the unfinished ones. See
docs/guides/leaderboard.md.
"""

from atnet_jax.config import Config, suite_config
from atnet_jax.experiments.suite import all_methods


def get_config() -> Config:
    """Return the settings of all methods under CDE and HDE."""
    config = suite_config("leaderboard", all_methods())
    config.seeds = (0, 1, 2, 3, 4)
    config.engine.keep_networks = False
    return config
