"""One network trained on all subjects, for use on new clips. It leaves no subject to score.

    atnet train --config=final --workdir=runs/final
    atnet predict runs/final CLIP

The training equals --config=cde, whose scores estimate the accuracy of this network.
"""

from atnet_jax.config import Config, default_config


def get_config(model: str = "fusion") -> Config:
    """Return the released training of `model` on every clip of the composite."""
    config = default_config(model)
    config.task = "final"
    return config
