"""Holdout database evaluation (Table III): train on two databases, test on the third.

    atnet train --config=hde --workdir=runs/hde
    atnet train --config=hde:temporal --workdir=runs/hde_temporal

Published UF1 (CASME II, SAMM, SMIC): ATNet (fusion) .523, .429, .497; temporal .631, .450, .503.
"""

from atnet_jax.config import Config, default_config


def get_config(model: str = "fusion") -> Config:
    """Return the released training of `model` with one fold per held-out database."""
    config = default_config(model)
    config.protocol = "hde"
    return config
