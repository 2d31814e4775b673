r"""Pre-training of the spatial stream on macro-expressions, before micro-expressions.

    atnet train --config=pretrain --workdir=runs/pretrain
    atnet train --config=cde --config.init_from=runs/pretrain/weights \
        --workdir=runs/cde

The paper (section III-B) pre-trains on CK+, Oulu-CASIA, JAFFE and MUG after ImageNet; for the
latter, give `--config.init_from` the weights that `atnet import-caffe` wrote. It does not say
with which schedule: the solver here is that of the later training.
"""

from atnet_jax.config import Config, default_config


def get_config(model: str = "spatial") -> Config:
    """Training on any subset of the macro-expression sets, validated on subjects left out."""
    config = default_config(model)
    config.task = "pretrain"
    config.selection = "nested"
    config.data.datasets = ("ck_plus", "oulu_casia", "jaffe", "mug")
    config.recipe.num_epochs = 30
    config.recipe.steps_per_epoch = 0
    config.engine.checkpoint_every = 1
    return config
