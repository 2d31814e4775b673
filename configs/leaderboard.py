r"""The leaderboard: every method under both protocols, with five seeds.

    atnet train --config=leaderboard --workdir=runs/leaderboard
    atnet train --config=leaderboard --workdir=runs/leaderboard \
        --config.methods=ststnet,temporal --config.protocols=cde --config.seeds=0

Each run has the folder PROTOCOL/METHOD/seed_N in the workdir, as if it were run alone. Started
again, with all methods or with some, it goes on with what is not through. See docs/leaderboard.md.
"""

from atnet_jax.config import Config, suite_config
from atnet_jax.experiments.suite import all_methods


def get_config() -> Config:
    """All methods under CDE and HDE."""
    config = suite_config("leaderboard", all_methods())
    config.seeds = (0, 1, 2, 3, 4)
    config.engine.keep_networks = False
    return config
