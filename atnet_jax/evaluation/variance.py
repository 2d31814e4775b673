"""Variance of a score over seeds, and the shares of single sources of randomness.

The intervals assume that the scores of different seeds are independent and normally distributed. A
score pools the clips of all folds, which makes this plausible; the values themselves decide. With
about ten seeds, a bootstrap would be no alternative: it has only these few values to draw from, and
its intervals of a variance are much too narrow.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

_TAILS = (0.025, 0.975)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """An estimate with the limits of its 95 % confidence interval; None if all values are equal."""

    value: float
    interval: tuple[float, float] | None


def variance(scores: Sequence[float]) -> Estimate:
    """Estimate the variance of a score over seeds, with its chi-square interval.

    Args:
        scores: The score of each seed, at least two.

    Returns:
        The sample variance (with n − 1).
    """
    from scipy import stats  # Slow to import, and other runs do not need it.

    if min(scores) == max(scores):
        return Estimate(0.0, None)
    value, freedom = float(np.var(scores, ddof=1)), len(scores) - 1
    high, low = (float(freedom * value / quantile) for quantile in stats.chi2.ppf(_TAILS, freedom))
    return Estimate(value, (low, high))


def share(part: Sequence[float], total: Sequence[float]) -> Estimate | None:
    """Estimate the ratio of two variances over seeds, with its F interval.

    The interval treats the two samples as independent. If they correlate, because the same seed
    draws the same weights in both, it is too wide.

    Args:
        part: The score of each seed, with one source of randomness varied.
        total: The score of each seed, with all sources varied.

    Returns:
        The ratio, which may exceed 1; None if the scores of `total` are all equal.
    """
    from scipy import stats

    of_part, of_total = variance(part), variance(total)
    if not of_total.value:
        return None
    ratio = of_part.value / of_total.value
    if not of_part.value:
        return Estimate(0.0, None)
    high, low = (
        float(ratio / quantile) for quantile in stats.f.ppf(_TAILS, len(part) - 1, len(total) - 1)
    )
    return Estimate(ratio, (low, high))


def remainder(total: Estimate, parts: Sequence[Estimate]) -> Estimate:
    """Subtract the variances of the parts from the total variance.

    Args:
        total: Variance with all sources varied.
        parts: Variances with one source varied each.

    Returns:
        The difference, which may be negative. Its interval combines those of the variances (method
        of variance estimates recovery: Zou and Donner, Statistics in Medicine 27, 2008) as if they
        were independent.
    """
    value = total.value - sum(part.value for part in parts)
    low, high = total.interval or (total.value, total.value)
    below, above = (total.value - low) ** 2, (high - total.value) ** 2
    for part in parts:
        low, high = part.interval or (part.value, part.value)
        below += (high - part.value) ** 2
        above += (part.value - low) ** 2
    if not below:
        return Estimate(value, None)
    return Estimate(value, (value - float(np.sqrt(below)), value + float(np.sqrt(above))))


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How far the predicted classes of several seeds agree.

    Attributes:
        changed: Number of clips whose predicted class is not the same for all seeds; it grows with
            the number of seeds.
        differing: Share of the clips whose predicted class differs between two seeds, averaged over
            all pairs of seeds.
    """

    changed: int
    differing: float


def agreement(predicted: Int[np.ndarray, "seed clip"]) -> Agreement:
    """Compare the predicted classes of several seeds.

    Args:
        predicted: Predicted class of each clip for each seed, at least two.

    Returns:
        The clips that change, and the mean difference between two seeds.
    """
    first, second = np.triu_indices(len(predicted), 1)
    return Agreement(
        changed=int((predicted != predicted[0]).any(axis=0).sum()),
        differing=float((predicted[first] != predicted[second]).mean()),
    )
