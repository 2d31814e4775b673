"""One network of all subjects, for clips of one's own: nobody is left out, so nothing is scored.

    atnet train --config=final --workdir=runs/final
    atnet predict runs/final CLIP

The training is that of --config=cde, which measures what to expect of it.
"""

from atnet_jax.config import Config, default_config


def get_config(model: str = "fusion") -> Config:
    """The released training of `model` on every clip of the composite."""
    config = default_config(model)
    config.task = "final"
    return config
