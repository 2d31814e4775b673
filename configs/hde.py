"""Holdout database evaluation (Table III): train on two databases, test on the third.

    atnet train --config=hde --workdir=runs/hde
    atnet train --config=hde:temporal --workdir=runs/hde_temporal

Published UF1 for ATNet (fusion): CASME II .523, SAMM .429, SMIC .497; temporal .631, .450, .503.
"""

from atnet_jax.config import Config, default_config


def get_config(model: str = "fusion") -> Config:
    """The released training of `model`, one fold a held-out database."""
    config = default_config(model)
    config.protocol = "hde"
    return config
