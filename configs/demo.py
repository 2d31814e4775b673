"""Small version of --config=cde for the synthetic composite of `make demo`, on two CPU cores.

    make demo

Preparation, network and protocols are those of --config=cde, with fewer clips and steps. Apex
frames of 56×56 and a larger learning rate keep the time at a few minutes on a CPU.
"""

from atnet_jax.config import Config, default_config


def get_config(model: str = "fusion") -> Config:
    """Return a short training of `model`; add `--config.protocol=hde` for the other protocol."""
    config = default_config(model)
    config.data.image_size = 56
    config.recipe.num_epochs = 4
    config.recipe.steps_per_epoch = 9
    config.recipe.decay_epochs = 3
    config.recipe.learning_rate = 0.1
    config.engine.checkpoint_every = 4
    return config
