"""Complete Table III: twelve methods under holdout database evaluation.

    atnet train --config=table3 --workdir=runs/table3

It works like --config=table2, with one fold per held-out database.
"""

from atnet_jax.config import Config, suite_config
from atnet_jax.published import TABLE_METHODS


def get_config() -> Config:
    """Return the settings of all methods of the paper under HDE."""
    config = suite_config("table", TABLE_METHODS)
    config.protocol = "hde"
    return config
