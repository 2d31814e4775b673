"""Integrated gradients: how much each value of the ADM or the flow map adds to a class's score.

Sundararajan, Taly, Yan: Axiomatic Attribution for Deep Networks, ICML 2017. Along the straight line
from a baseline x' to the input x,

    attribution_i = (x_i - x'_i) ∫₀¹ ∂ score / ∂ x_i (x' + a (x - x')) da,

whose sum over all i is score(x) - score(x') ("completeness"). Completeness holds on every segment
of the line, so the quadrature error of each segment is known exactly. The segment with the largest
error is halved until the sum of the errors is small.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Float64

from atnet_jax.inference.explain.network import Explained, compiled, logits, margin
from atnet_jax.preprocessing.flow_range import scale_to_unit_range

TOLERANCE = 1e-4
"""Largest completeness error, relative to the sum of all absolute attributions."""

_MOST_PARTS = 64
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(6)
# The ends of a segment have weight 0; their scores give its quadrature error.
_PLACES = np.concatenate([(_NODES + 1) / 2, [0, 1]])
_SHARES = np.concatenate([_WEIGHTS / 2, [0, 0]])

# The baseline of the ADM is no motion. It keeps this negligible fraction of the clip's motion,
# because a network with `mask_time` ignores rows of zeros and must still see the clip's rows.
_NOTHING = 1e-12

# (places on the line, weights in the integral) → (weighted attributions, score at each place)
Look = Callable[[np.ndarray, np.ndarray], tuple[Any, Any]]


class Attributions(NamedTuple):
    """Integrated gradients of one clip.

    Attributes:
        values: Attribution of each value of the input, in logits.
        change: Score of the input minus score of the baseline, in logits.
        parts: Number of segments of the line.
    """

    values: Float64[np.ndarray, "..."]
    change: float
    parts: int


def attributions(
    explained: Explained,
    features: Mapping[str, jax.Array],
    inputs: Mapping[str, Float32[np.ndarray, "1 *shape"]],
    class_index: int,
) -> Attributions:
    """Compute integrated gradients of the ADM `[row, 128]` or of the flow map `[28, 28, 3]`.

    The baseline is no motion. STSTNet stretches each map to grey levels 0 to 255, so any fraction
    of a map looks like the whole map. The line of a flow map therefore runs through grey levels:
    from the level that this map's stretching gives to no motion, to the map's own levels.

    Args:
        explained: The network.
        features: Features of all streams, by stream; those of the spatial stream stay fixed.
        inputs: Inputs of the clip; "adm" is attributed if present, otherwise "flow_map".
        class_index: The class.

    Returns:
        The attributions, in the shape of the attributed input.
    """
    others = {name: array for name, array in features.items() if name != "temporal"}
    motion = {name: inputs[name] for name in ("adm", "flow_map") if name in inputs}
    return _integrate(functools.partial(_look, explained, others, motion, class_index))


def completeness_error(values: np.ndarray, change: float) -> float:
    """Return |sum of the attributions - change of the score| over their absolute sum."""
    total = np.abs(values).sum()
    return float(abs(values.sum() - change) / total) if total else float(abs(change))


def _integrate(look: Look) -> Attributions:
    """Integrate along the line; `look` evaluates the network at some places on it."""

    def part(start: float, stop: float) -> tuple[float, float, float, np.ndarray, float]:
        width = stop - start
        places, shares = start + width * _PLACES, width * _SHARES
        values, scores = look(places.astype(np.float32), shares.astype(np.float32))
        values = np.asarray(values, np.float64)
        change = float(scores[-1]) - float(scores[-2])
        return abs(values.sum() - change), start, stop, values, change

    parts = [part(0.0, 1.0)]
    while len(parts) < _MOST_PARTS:
        total = np.abs(np.sum([values for *_, values, _ in parts], axis=0)).sum()
        if sum(error for error, *_ in parts) <= TOLERANCE * total:
            break
        worst = max(range(len(parts)), key=lambda k: parts[k][0])
        _, start, stop, *_ = parts.pop(worst)
        middle = (start + stop) / 2
        parts += [part(start, middle), part(middle, stop)]
    return Attributions(
        np.sum([values for *_, values, _ in parts], axis=0),
        sum(change for *_, change in parts),
        len(parts),
    )


@compiled
def _look(
    explained: Explained,
    others: Mapping[str, jax.Array],
    motion: Mapping[str, Float[Array, "1 *shape"]],
    class_index: Any,
    places: Float[Array, " place"],
    shares: Float[Array, " place"],
) -> tuple[Float[Array, "*shape"], Float[Array, " place"]]:
    """Compute the weighted attributions and the score at places on the line."""
    ((kind, array),) = motion.items()
    array = jnp.asarray(array, jnp.float32)
    baseline, x = (_NOTHING * array, array) if kind == "adm" else grey_levels(array)

    def score(points: jax.Array) -> jax.Array:
        if kind == "adm":
            seen = logits(explained, others, {"adm": points})
        else:
            seen = explained.network.apply(
                explained.variables, points, train=False, method="of_grey"
            )
        return margin(seen, class_index)

    away = x - baseline
    points = baseline + places.reshape(-1, *[1] * (x.ndim - 1)) * away
    scores, pull_back = jax.vjp(score, points)
    (gradients,) = pull_back(shares)
    return (gradients * away).sum(axis=0), scores


def grey_levels(
    flow_map: Float[Array, "batch 28 28 3"],
) -> tuple[Float[Array, "batch 28 28 3"], Float[Array, "batch 28 28 3"]]:
    """Return the grey levels that the stretching of the maps gives to no motion and to the maps."""
    grey = 255 * scale_to_unit_range(flow_map)
    low, high = (find(flow_map, axis=(1, 2), keepdims=True) for find in (jnp.min, jnp.max))
    still = -low * (255 / jnp.where(high > low, high - low, 1))
    # The stretching maps a constant channel to 0.
    return jnp.broadcast_to(jnp.where(high > low, still, 0), grey.shape), grey
