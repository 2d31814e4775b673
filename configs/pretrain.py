r"""Pre-training of the spatial stream on macro-expressions.

    atnet train --config=pretrain --workdir=runs/pretrain
    atnet train --config=cde --config.init_from=runs/pretrain/weights \
        --workdir=runs/cde

The paper (section III-B) pre-trains on ImageNet, then on CK+, Oulu-CASIA, JAFFE and MUG. To start
from ImageNet weights, pass the folder written by `atnet import-caffe` to `--config.init_from`. The
paper does not state the schedule; the solver here is that of the later training.
"""

from atnet_jax.config import Config, default_config


def get_config(model: str = "spatial") -> Config:
    """Return a training of `model` on macro-expressions, validated on held-back subjects."""
    config = default_config(model)
    config.task = "pretrain"
    config.selection = "nested"
    config.data.datasets = ("ck_plus", "oulu_casia", "jaffe", "mug")
    config.recipe.num_epochs = 30
    config.recipe.steps_per_epoch = 0
    config.engine.checkpoint_every = 1
    return config
