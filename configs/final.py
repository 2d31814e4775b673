"""One network of all subjects, for clips of one's own: nobody is left out, so nothing is scored.

    python -m atnet_jax.main --config=configs/final.py --workdir=runs/final
    atnet predict CLIP --checkpoint=runs/final

The training is that of configs/cde.py, which measures what to expect of it.
"""

from atnet_jax.config import Config, default_config


def get_config(model: str = "fusion") -> Config:
    """The released training of `model` on every clip of the composite."""
    config = default_config(model)
    config.task = "final"
    return config
