"""Contribution of each stream of the fusion to a class's score."""

import itertools
from collections.abc import Mapping
from math import factorial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from atnet_jax.inference.explain.network import Explained, compiled, logits, margin


@compiled
def contributions(
    explained: Explained, features: Mapping[str, jax.Array], class_index: Any
) -> dict[str, Float[Array, ""]]:
    """Return the Shapley value of each stream in logits.

    Shapley, A value for n-person games, 1953. The gain of a set of streams is the score when the
    features of all other streams are zero. The value of a stream is the rise of the score when it
    joins, averaged over all orders of joining. The values sum to the score minus the score of the
    classifier's bias alone. With one linear classifier over both streams the order does not matter,
    and the value is the stream's part of the linear sum.

    Args:
        explained: The network.
        features: Features of all streams, by stream.
        class_index: The class.
    """

    def gain(*joined: str) -> jax.Array:
        present = {
            name: array if name in joined else jnp.zeros_like(array)
            for name, array in features.items()
        }
        return margin(logits(explained, present), class_index)[0]

    rises = dict.fromkeys(features, jnp.zeros(()))
    for order in itertools.permutations(features):
        for place, name in enumerate(order):
            rises[name] += gain(*order[:place], name) - gain(*order[:place])
    return {name: rise / factorial(len(features)) for name, rise in rises.items()}


def shares(contributions: Mapping[str, float]) -> dict[str, float]:
    """Return absolute contributions divided by their sum, or equal shares if the sum is 0."""
    total = sum(map(abs, contributions.values()))
    if not total:
        return dict.fromkeys(contributions, 1 / len(contributions))
    return {name: abs(value) / total for name, value in contributions.items()}
