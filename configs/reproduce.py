"""Reproducibility study: how much of the variance over seeds each source of randomness brings.

    atnet train --config=reproduce:temporal --workdir=runs/reproduce
    atnet train --config=reproduce:temporal --workdir=runs/reproduce --config.seeds=0,1,2

The order of the clips, the initial weights, the augmentation and the dropout are varied together
and one at a time. Each run has the folder all/seed_N or SOURCE/seed_N in the workdir. Rerun the
command to resume the study, or with more seeds to extend it. See docs/guides/devices.md.
"""

from atnet_jax.config import Config, default_config


def get_config(model: str = "fusion") -> Config:
    """Return the settings of a study of `model` under CDE with ten seeds."""
    config = default_config(model)
    config.task = "reproduce"
    config.seeds = tuple(range(10))
    config.engine.keep_networks = False
    return config
