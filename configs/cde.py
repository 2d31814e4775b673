"""Composite database evaluation (Table II): leave one of 68 subjects out and pool the scores.

    atnet train --config=cde --workdir=runs/cde
    atnet train --config=cde:temporal --workdir=runs/cde_temporal

Published: ATNet (fusion) accuracy .693, UF1 .631, UAR .613; spatial UF1 .494, temporal UF1 .581.
"""

from atnet_jax.config import Config, default_config


def get_config(model: str = "fusion") -> Config:
    """Return the released training of `model` on the composite: 2,500 steps of 16 clips a fold."""
    return default_config(model)
