"""Composite database evaluation (Table II): leave one of 68 subjects out, pool, score.

    atnet train --config=cde --workdir=runs/cde
    atnet train --config=cde:temporal --workdir=runs/cde_temporal

Published for ATNet (fusion): accuracy .693, UF1 .631, UAR .613; spatial UF1 .494, temporal .581.
"""

from atnet_jax.config import Config, default_config


def get_config(model: str = "fusion") -> Config:
    """The released training of `model` on the composite: 2,500 steps of 16 clips a fold."""
    return default_config(model)
