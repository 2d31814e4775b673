"""Optimiser and learning rate."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import optax

from atnet_jax.config import Config


def learning_rate(config: Config, epoch: int) -> float:
    """Return the learning rate of an epoch, counted from 0 (step schedule)."""
    if config.recipe.decay_stops:
        epoch = min(epoch, config.recipe.decay_stops)
    drops = epoch // config.recipe.decay_epochs if config.recipe.decay_epochs else 0
    return config.recipe.learning_rate * config.recipe.decay_factor**drops


def leaf_name(path: Sequence[Any]) -> str:
    """Return the path of a parameter in its tree, with names joined by slashes."""
    return "/".join(str(entry.key) for entry in path)


def make_optimizer(
    config: Config, learning_rate: float | jax.Array
) -> optax.GradientTransformation:
    """Return the optimiser at one learning rate; its state does not depend on the rate.

    "sgd" orders its terms as Caffe does. Weight decay is added to the gradient, except for the
    classifier's bias. The learning rate, which biases multiply by a factor, is applied before the
    momentum, so a drop of the rate does not change past velocity. "adam" adds weight decay to the
    gradient, as PyTorch's `Adam` does; "adamw" adds it to the step (Loshchilov and Hutter, ICLR
    2019).

    Args:
        config: The settings of the run.
        learning_rate: The learning rate.
    """

    def is_bias(path: Sequence[Any], _: Any) -> bool:
        return leaf_name(path).endswith("/bias")

    def decays(path: Sequence[Any], _: Any) -> bool:
        name = leaf_name(path)
        return not (name.startswith("classifier") and name.endswith("/bias"))

    def mask(rule: Callable[..., bool]) -> Callable[[Any], Any]:
        return functools.partial(jax.tree_util.tree_map_with_path, rule)

    rates = optax.chain(
        optax.masked(optax.scale(config.recipe.bias_learning_rate_factor), mask(is_bias)),
        optax.scale(learning_rate),
    )
    if config.recipe.optimizer == "sgd":
        return optax.chain(
            optax.add_decayed_weights(config.recipe.weight_decay, mask(decays)),
            rates,
            optax.trace(config.recipe.momentum),
            optax.scale(-1.0),
        )
    decay = optax.add_decayed_weights(config.recipe.weight_decay)
    adam = optax.scale_by_adam()
    order = (decay, adam) if config.recipe.optimizer == "adam" else (adam, decay)
    return optax.chain(*order, rates, optax.scale(-1.0))
