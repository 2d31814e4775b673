"""The whole of Table III: twelve methods under holdout database evaluation.

    python -m atnet_jax.main --config=configs/table3.py --workdir=runs/table3

As configs/table2.py, with one fold a held-out database.
"""

from atnet_jax.config import Config, suite_config
from atnet_jax.published import TABLE_METHODS


def get_config() -> Config:
    """All methods of the paper under HDE."""
    config = suite_config("table", TABLE_METHODS)
    config.protocol = "hde"
    return config
