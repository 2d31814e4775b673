"""Settings by their name without the group."""

from typing import Any

from atnet_jax.config import FIELDS, Config

_PLACES = {name.rpartition(".")[2]: name for name in FIELDS}


def change(config: Config, **values: Any) -> None:
    """Sets fields, such as `num_epochs=3` for `config.recipe.num_epochs`."""
    config.update_from_flattened_dict({_PLACES[name]: value for name, value in values.items()})
