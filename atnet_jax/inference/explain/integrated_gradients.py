"""Integrated gradients: what each value of the ADM, or of the flow map, adds to a class's score.

Sundararajan, Taly, Yan: Axiomatic Attribution for Deep Networks, ICML 2017. Along the straight line
from a baseline x' to the input x,

    attribution_i = (x_i - x'_i) ∫₀¹ ∂ score / ∂ x_i (x' + a (x - x')) da,

whose sum over all i is score(x) - score(x') ("completeness"). That holds on every part of the line,
so the error of each part's quadrature is known, not estimated: the worst part is halved until all
errors together are small.
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
"""Of the completeness error, as a share of the sum of all absolute attributions."""

_MOST_PARTS = 64
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(6)
# Both ends of a part are looked at too, with weight 0: their scores tell its error.
_PLACES = np.concatenate([(_NODES + 1) / 2, [0, 1]])
_SHARES = np.concatenate([_WEIGHTS / 2, [0, 0]])

# The baseline of the ADM is no motion. It keeps this share of the clip's own, which is nothing, but
# tells a network with `mask_time` which rows are the clip's: it does not count rows of zeros.
_NOTHING = 1e-12

Look = Callable[[np.ndarray, np.ndarray], tuple[Any, Any]]


class Attributions(NamedTuple):
    """Integrated gradients.

    Attributes:
      values: of each value of the input, in logits.
      change: score of the input less score of the baseline, in logits.
      parts: into how many the line was divided.
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
    """Integrated gradients of the ADM `[row, 128]` or of the flow map `[28, 28, 3]`.

    The baseline is no motion. STSTNet stretches each map to grey levels 0 to 255, which makes any
    share of a map look like the map itself. The line of a flow map therefore goes through grey
    levels: from that of no motion, as this map's stretching has it, to the map's own.

    Args:
      explained: the network.
      features: of all streams; the spatial one's stay as they are.
      inputs: the clip's; "adm" or else "flow_map" is looked at.
      class_index: the class.
    """
    others = {name: array for name, array in features.items() if name != "temporal"}
    motion = {name: inputs[name] for name in ("adm", "flow_map") if name in inputs}
    return _integrate(functools.partial(_look, explained, others, motion, class_index))


def completeness_error(values: np.ndarray, change: float) -> float:
    """How far the attributions' sum is from the score's change, over their absolute sum."""
    total = np.abs(values).sum()
    return float(abs(values.sum() - change) / total) if total else float(abs(change))


def _integrate(look: Look) -> Attributions:
    """Integrates along the line.

    Args:
      look: (places on the line, their shares in the integral) → (share-weighted attributions, the
        score at each place).
    """

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
    """What `look` of `_integrate` gives."""
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
    """The grey levels of no motion, by the stretching of these maps, and those of the maps."""
    grey = 255 * scale_to_unit_range(flow_map)
    low, high = (find(flow_map, axis=(1, 2), keepdims=True) for find in (jnp.min, jnp.max))
    still = -low * (255 / jnp.where(high > low, high - low, 1))
    # A flat channel is 0 whatever its value.
    return jnp.broadcast_to(jnp.where(high > low, still, 0), grey.shape), grey
