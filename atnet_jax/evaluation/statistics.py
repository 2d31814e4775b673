"""How far the figures of a table can be trusted: seeds, intervals, paired tests, inflation.

Everything is computed from predictions, whichever method made them. The unit is the subject: clips
of one person are alike, so they count together, and people are the few (68 in the paper) that
decide how sure a figure is. Folds share most of their training clips; no resampling of the
predictions can see that, so intervals and tests speak of other subjects, not of other training
data.
"""

import dataclasses
import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import Float

from atnet_jax.errors import UserError
from atnet_jax.evaluation import metrics
from atnet_jax.evaluation.predictions import Prediction
from atnet_jax.names import CLASSES

_CONFIDENCE = 0.95
# With this many subjects or fewer all swaps are tried: 2^12 = 4,096.
_ALL_SWAPS_UP_TO = 12
# Two sums of the same numbers in another order differ by less.
_ROUNDING = 1e-12

_Clip = tuple[str, str, str]


# Several seeds, and intervals.


@dataclasses.dataclass(frozen=True)
class Figure:
    """One metric over the seeds of a method.

    Attributes:
        mean: over the seeds.
        sd: standard deviation over the seeds (n − 1); None for one seed.
        interval: 95 % interval of the mean over other subjects; None where no database has two
            subjects, so that there is nothing to resample.
    """

    mean: float
    sd: float | None
    interval: tuple[float, float] | None


@dataclasses.dataclass(frozen=True)
class Summary:
    """The three metrics of a method on a set of clips, and how many they rest on."""

    accuracy: Figure
    uf1: Figure
    uar: Figure
    seeds: int
    subjects: int
    clips: int


def summarise(
    predictions: Iterable[Prediction], *, resamples: int = 2000, rng_seed: int = 0
) -> dict[str, Summary]:
    """Score a method over its seeds: all clips pooled ("full"), then each database alone.

    The interval is a percentile bootstrap over subjects: as many as there are, drawn with
    replacement, each with all of its clips and in all seeds; the metric is averaged over the
    seeds within a resample. So it holds for these seeds, and `Figure.sd` tells how much another
    seed changes. Subjects are drawn within their database, for the pooled figure too: which
    databases there are and how many people each recorded was chosen, not drawn, and a resample
    that mixes databases in another proportion answers another question. A class that a resample
    lacks is left out of its mean as `atnet_jax.metrics` does. With the few subjects that one
    database has, percentile intervals are a little too narrow.

    Args:
        predictions: of one method and protocol, any number of seeds, the same clips in each
            (labels may differ between seeds: a control shuffles them by its seed).
        resamples: number of bootstrap resamples.
        rng_seed: of the resamples.

    Returns:
        The keys of `metrics.evaluate`. In HDE a database is what a fold held out.

    Raises:
        UserError: no predictions, several protocols, a clip twice under a seed, seeds that differ
            in their clips, or a database whose name the result needs for itself.
    """
    by_seed = _by_seed(predictions)
    evaluations = [metrics.evaluate(rows.values()) for rows in by_seed.values()]
    subjects, confusions = _confusions(by_seed)
    databases = np.array([database for database, _ in subjects])

    # Resampled confusion matrices of each database, [resample, seed, 3, 3].
    rng = np.random.default_rng(rng_seed)
    resampled, largest = {}, {}
    for database in np.unique(databases).tolist():
        members = confusions[:, databases == database]
        count = largest[database] = members.shape[1]
        times_drawn = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
        resampled[database] = np.tensordot(times_drawn.astype(float), members, axes=(1, 1))
    resampled["full"] = np.sum(list(resampled.values()), axis=0)
    largest["full"] = max(largest.values())

    summaries = {}
    for group, first in evaluations[0].items():
        scores = metrics.scores(resampled[group]).mean(axis=1)
        tails = [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2]
        lows, highs = np.quantile(scores, tails, axis=0).tolist()
        figures = {}
        for name, low, high in zip(metrics.METRICS, lows, highs, strict=True):
            values = [evaluation[group][name] for evaluation in evaluations]
            figures[name] = Figure(
                mean=float(np.mean(values)),
                sd=float(np.std(values, ddof=1)) if len(values) > 1 else None,
                interval=(low, high) if largest[group] > 1 else None,
            )
        summaries[group] = Summary(
            **figures, seeds=len(by_seed), subjects=first["subjects"], clips=first["clips"]
        )
    return summaries


# Two methods.


@dataclasses.dataclass(frozen=True)
class McNemar:
    """McNemar's test of whether one of two methods reads more clips right.

    Two-sided and exact, however many clips it is: the smaller count is binomial with p = 1/2. It
    takes clips for independent, which those of a subject are not, so its p is too small where a
    method is better on a few subjects; read it beside the permutation tests.

    Attributes:
        seed: the run that is compared; clips have one answer each in this test.
        only_first: clips that only the first method read right.
        only_second: clips that only the second method read right.
        p: probability of counts as unequal, if either method were as likely to be the right one.
    """

    seed: int
    only_first: int
    only_second: int
    p: float


@dataclasses.dataclass(frozen=True)
class PermutationTest:
    """A difference, first method minus second, and its p over swaps of the two, two-sided."""

    difference: float
    p: float


@dataclasses.dataclass(frozen=True)
class PairedTests:
    """Two methods on the same clips.

    Attributes:
        uf1: permutation test on pooled UF1, averaged over the seeds.
        uar: the same on UAR.
        mcnemar: test on right and wrong clips, of the lowest seed.
        seeds: those that both methods have; the others are left out.
        subjects: number of subjects.
        differing_subjects: those whose confusion matrices differ; only their swaps matter.
        clips: number of clips.
        swaps: number of swaps tried besides none at all.
        exact: whether these are all the swaps there are.
    """

    uf1: PermutationTest
    uar: PermutationTest
    mcnemar: McNemar
    seeds: tuple[int, ...]
    subjects: int
    differing_subjects: int
    clips: int
    swaps: int
    exact: bool


def compare(
    first: Iterable[Prediction],
    second: Iterable[Prediction],
    *,
    swaps: int = 10_000,
    rng_seed: int = 0,
) -> PairedTests:
    """Test whether two methods differ on the same clips, all clips pooled.

    The permutation tests swap the two methods' answers on whole subjects: were the methods alike,
    it would be chance which of the two gave which. All swaps are tried if at most 12 subjects
    differ; else random ones, the observed arrangement being counted among them
    (p = (1 + as extreme) / (1 + swaps)). Several seeds are swapped together and the difference is
    averaged over them; McNemar's test takes the lowest common seed, a choice that no result can
    guide. For one database alone, give the predictions of that database.

    Args:
        first: predictions of one method and protocol, any number of seeds.
        second: those of the other.
        swaps: number of random swaps.
        rng_seed: of the swaps.

    Raises:
        UserError: the methods have no seed in common or differ in protocol, clips or labels, or
            either list is one that `summarise` refuses.
    """
    runs_first, runs_second = _by_seed(first), _by_seed(second)
    seeds = tuple(seed for seed in runs_first if seed in runs_second)
    if not seeds:
        had = (", ".join(map(str, runs)) for runs in (runs_first, runs_second))
        raise UserError(
            "the two methods have no seed in common: the first has {}, the second {}; run one of"
            " them with a seed of the other".format(*had)
        )
    runs_first = {seed: runs_first[seed] for seed in seeds}
    runs_second = {seed: runs_second[seed] for seed in seeds}
    _check_paired(runs_first, runs_second)

    subjects, of_first = _confusions(runs_first)
    _, of_second = _confusions(runs_second)
    differs = np.any(of_first != of_second, axis=(0, 2, 3))
    differing = int(differs.sum())
    exact = differing <= _ALL_SWAPS_UP_TO
    if exact:
        tried = np.array(list(itertools.product((0.0, 1.0), repeat=differing)))[1:]
    else:
        rng = np.random.default_rng(rng_seed)
        tried = rng.integers(2, size=(swaps, differing)).astype(float)

    total_first, total_second = of_first.sum(axis=1), of_second.sum(axis=1)
    observed = _mean_difference(total_first, total_second)
    exchanged = np.tensordot(tried, (of_second - of_first)[:, differs], axes=(1, 1))
    swapped = _mean_difference(total_first + exchanged, total_second - exchanged)
    as_extreme = np.abs(swapped) >= np.abs(observed) - _ROUNDING
    p = ((1 + as_extreme.sum(axis=0)) / (1 + len(tried))).tolist()

    tests = {
        name: PermutationTest(difference=float(observed[i]), p=p[i])
        for i, name in enumerate(metrics.METRICS)
    }
    return PairedTests(
        uf1=tests["uf1"],
        uar=tests["uar"],
        mcnemar=_mcnemar(seeds[0], runs_first[seeds[0]], runs_second[seeds[0]]),
        seeds=seeds,
        subjects=len(subjects),
        differing_subjects=differing,
        clips=len(runs_first[seeds[0]]),
        swaps=len(tried),
        exact=exact,
    )


def _mean_difference(
    first: Float[np.ndarray, "*batch seed 3 3"], second: Float[np.ndarray, "*batch seed 3 3"]
) -> Float[np.ndarray, "*batch metric"]:
    return (metrics.scores(first) - metrics.scores(second)).mean(axis=-2)


def _mcnemar(
    seed: int, first: Mapping[_Clip, Prediction], second: Mapping[_Clip, Prediction]
) -> McNemar:
    pairs = [
        (row.predicted == row.label, second[clip].predicted == row.label)
        for clip, row in first.items()
    ]
    only_first, only_second = pairs.count((True, False)), pairs.count((False, True))
    n = only_first + only_second
    # Integers of any size: exact, and a quotient of two that no float could hold is still right.
    tail = sum(math.comb(n, k) for k in range(min(only_first, only_second) + 1))
    return McNemar(seed, only_first, only_second, p=min(1.0, 2 * tail / 2**n))


def _check_paired(
    first: Mapping[int, Mapping[_Clip, Prediction]],
    second: Mapping[int, Mapping[_Clip, Prediction]],
) -> None:
    """Refuse two methods that did not answer the same questions, naming the first difference."""
    protocols = [_any_row(runs).protocol for runs in (first, second)]
    if protocols[0] != protocols[1]:
        raise UserError(
            f"the first predictions are of protocol {protocols[0]!r}, the second of"
            f" {protocols[1]!r}; compare two methods under one protocol"
        )
    for seed, rows in first.items():
        for clip in sorted(rows.keys() | second[seed].keys()):
            if clip not in rows or clip not in second[seed]:
                there, lacking = ("first", "second") if clip in rows else ("second", "first")
                raise UserError(
                    f"clip {'/'.join(clip)} is in the {there} predictions but not in the"
                    f" {lacking}; run both methods on the same data and folds"
                )
            labels = [CLASSES[runs[seed][clip].label] for runs in (first, second)]
            if labels[0] != labels[1]:
                raise UserError(
                    f"clip {'/'.join(clip)} (seed {seed}) is {labels[0]} in the first predictions"
                    f" but {labels[1]} in the second; run both methods on the same data"
                )


# What predictions and confusion matrices of several seeds share.


def _by_seed(predictions: Iterable[Prediction]) -> dict[int, dict[_Clip, Prediction]]:
    """Sort predictions by seed, and check that every seed has the same clips."""
    unsorted: defaultdict[int, dict[_Clip, Prediction]] = defaultdict(dict)
    protocols = set()
    for row in predictions:
        clip = (row.dataset, row.subject, row.clip)
        if clip in unsorted[row.seed]:
            raise UserError(
                f"clip {'/'.join(clip)} is predicted twice for seed {row.seed}; give the"
                f" predictions of one method, each run once"
            )
        unsorted[row.seed][clip] = row
        protocols.add(row.protocol)
    if not unsorted:
        raise UserError("there are no predictions")
    if len(protocols) > 1:
        raise UserError(
            f"predictions of several protocols, {', '.join(sorted(protocols))}; give those of one"
        )
    by_seed = dict(sorted(unsorted.items()))
    reference = min(by_seed)
    for seed, rows in by_seed.items():
        if differing := rows.keys() ^ by_seed[reference].keys():
            clip = min(differing)
            there, lacking = (seed, reference) if clip in rows else (reference, seed)
            raise UserError(
                f"clip {'/'.join(clip)} is predicted for seed {there} but not for seed {lacking};"
                f" every seed must predict the same clips"
            )
    return by_seed


def _confusions(
    by_seed: Mapping[int, Mapping[_Clip, Prediction]],
) -> tuple[list[tuple[str, str]], Float[np.ndarray, "seed subject 3 3"]]:
    """The (database, subject) pairs, sorted, and each one's confusion matrix in every seed."""
    subjects = sorted({clip[:2] for clip in next(iter(by_seed.values()))})
    position = {subject: i for i, subject in enumerate(subjects)}
    confusions = np.zeros((len(by_seed), len(subjects), len(CLASSES), len(CLASSES)))
    for matrices, rows in zip(confusions, by_seed.values(), strict=True):
        cells = [(position[clip[:2]], row.label, row.predicted) for clip, row in rows.items()]
        np.add.at(matrices, tuple(np.transpose(cells)), 1)
    return subjects, confusions


def _any_row(by_seed: Mapping[int, Mapping[_Clip, Prediction]]) -> Prediction:
    return next(iter(next(iter(by_seed.values())).values()))
