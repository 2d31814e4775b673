"""Sources of a training's randomness: which of them can change it."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from atnet_jax import models
from atnet_jax.config import Config
from atnet_jax.training.loop import read_start


def acting(config: Config) -> tuple[str, ...]:
    """Return the sources in `config.varied` that can change a training.

    A network without dropout or without augmented inputs does not read the random key of that
    source, which its traced program shows. Initial weights that are read from a folder are not
    random.

    Args:
        config: The settings of a network's run.

    Returns:
        Names of `names.SOURCES`, in their order in `config.varied`.

    Raises:
        UserError: The weights in `config.init_from` cannot be read or do not fit the network.
    """
    network = models.find(config.model).build_network(config.options.to_dict()).for_training()
    shapes = network.input_shapes(config.data.image_size)
    batch = {name: jax.ShapeDtypeStruct((2, *shape), "float32") for name, shape in shapes.items()}
    key = jax.random.key(0)

    def augment(key: jax.Array, batch: Any) -> Any:
        return network.augment(key, batch, lambda key, apex: apex + jax.random.uniform(key))

    def start(batch: Any) -> Any:
        return network.init({"params": key, "dropout": key}, batch, train=True)

    def train(key: jax.Array, variables: Any, batch: Any) -> Any:
        return network.apply(variables, batch, train=True, rngs={"dropout": key}, mutable=True)

    def changes(source: str) -> bool:
        match source:
            case "weights":
                nothing = {name: np.empty((0, *shape)) for name, shape in shapes.items()}
                found, fresh = read_start(config, nothing)
                return found is None or bool(fresh)
            case "augmentation":
                return config.recipe.augment.probability > 0 and _reads_key(augment, batch)
            case "dropout":
                return _reads_key(train, jax.eval_shape(start, batch), batch)
            case _:
                return True

    return tuple(source for source in config.varied if changes(source))


def _reads_key(fn: Callable[..., Any], *arguments: Any) -> bool:
    """Return whether a function of a key and arrays of these shapes reads the key."""
    program = jax.make_jaxpr(fn)(jax.random.key(0), *arguments).jaxpr
    key = program.invars[0]
    return any(given is key for step in program.eqns for given in step.invars)
