"""The main job in miniature, for the synthetic composite of `make demo` on two CPU cores.

    make demo

The same clips, network and protocols as --config=cde, on fewer clips and with fewer steps. To
fit a few minutes on a CPU, apex frames are reduced to 56×56 and the learning rate is larger.
"""

from atnet_jax.config import Config, default_config


def get_config(model: str = "fusion") -> Config:
    """A short training of `model`; `--config.protocol=hde` for the other protocol."""
    config = default_config(model)
    config.data.image_size = 56
    config.recipe.num_epochs = 4
    config.recipe.steps_per_epoch = 9
    config.recipe.decay_epochs = 3
    config.recipe.learning_rate = 0.1
    config.engine.checkpoint_every = 4
    return config
