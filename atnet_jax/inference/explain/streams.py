"""What each stream of the fusion adds to a class's score."""

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
    """Each stream's Shapley value, in logits: Shapley, A value for n-person games, 1953.

    Streams play a game whose gain is the score with the features of those that take part; others'
    features are zeros, of which a classifier sees its bias alone. A stream's value is the mean,
    over all orders of joining, of what the score rises by as it joins. The values' sum is the score
    less that of the biases. With one linear classifier over both streams the order is of no
    matter, and a stream's value is its part of the linear sum.

    Args:
      explained: the network.
      features: of all streams.
      class_index: the class.
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
    """Absolute contributions over their sum; equal ones where there are none."""
    total = sum(map(abs, contributions.values()))
    if not total:
        return dict.fromkeys(contributions, 1 / len(contributions))
    return {name: abs(value) / total for name, value in contributions.items()}
