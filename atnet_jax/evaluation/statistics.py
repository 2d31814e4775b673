"""Uncertainty of the scores: standard deviations over seeds, confidence intervals, paired tests.

Everything is computed from predictions, independent of the method that made them. The unit of
resampling is the subject, because clips of one person are correlated. The number of subjects (68 in
the paper) therefore limits the precision. Intervals and tests cover variation over subjects, not
over training data: folds share most of their training clips, and resampling predictions cannot show
the effect of that.
"""

import dataclasses
import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from atnet_jax.errors import UserError
from atnet_jax.evaluation import metrics
from atnet_jax.evaluation.predictions import Prediction
from atnet_jax.names import CLASSES

_CONFIDENCE = 0.95
# All swaps are tried for at most this many subjects: 2^12 = 4,096.
_ALL_SWAPS_UP_TO = 12
# Sums of the same numbers in different orders differ by less than this.
_ROUNDING = 1e-12

_Clip = tuple[str, str, str]


# Standard deviations over seeds and confidence intervals.


@dataclasses.dataclass(frozen=True)
class Figure:
    """One metric over the seeds of a method.

    Attributes:
        mean: Mean over the seeds.
        sd: Standard deviation over the seeds (with n − 1); None for one seed.
        interval: Limits of the 95 % confidence interval of the mean over subjects; None if every
            database has a single subject, which cannot be resampled.
    """

    mean: float
    sd: float | None
    interval: tuple[float, float] | None


@dataclasses.dataclass(frozen=True)
class Summary:
    """The three metrics of a method on a set of clips.

    Attributes:
        accuracy: Fraction of correctly predicted clips.
        uf1: Unweighted F1 score.
        uar: Unweighted average recall.
        seeds: Number of seeds.
        subjects: Number of subjects.
        clips: Number of clips.
    """

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

    The intervals are percentile bootstrap intervals over subjects. A resample draws the original
    number of subjects with replacement, each with all of its clips in all seeds, and averages the
    metric over the seeds. The interval therefore holds for the given seeds; `Figure.sd` measures
    the variation over seeds. Subjects are drawn within their database, also for the pooled scores:
    the databases and their sizes were chosen, not sampled. A class that a resample lacks is left
    out of its mean (see `metrics`). Percentile intervals are slightly too narrow for the small
    number of subjects in one database.

    Args:
        predictions: Predictions of one method and protocol, with the same clips for every seed.
            Labels may differ between seeds: a control run shuffles them with its seed.
        resamples: Number of bootstrap resamples.
        rng_seed: Seed of the resampling.

    Returns:
        The summary of "full" and of each database. Under HDE, a database is the held-out database
        of one fold.

    Raises:
        UserError: There are no predictions or several protocols, a seed has a clip twice, seeds
            differ in their clips, or a database has a reserved name.
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


@dataclasses.dataclass(frozen=True)
class SeedSpread:
    """The difference of a metric between two runs of several seeds, and what other seeds give.

    Attributes:
        difference: Mean over the seeds of the second run, minus that of the first.
        sd: Standard deviation over the seeds of a run, pooled over both.
        limit: In 95 % of cases, two such means of other seeds differ by at most this much.
    """

    difference: float
    sd: float
    limit: float


def seed_spread(first: Sequence[float], second: Sequence[float]) -> SeedSpread | None:
    """Compare the difference of two runs with the spread over their seeds (Student's t).

    Args:
        first: The metric of each seed of one run.
        second: The metric of each seed of another run.

    Returns:
        The difference and its limit. None if both have one seed, so that the spread is unknown.
    """
    groups = [np.asarray(values, float) for values in (first, second)]
    degrees = sum(len(group) - 1 for group in groups)
    if not degrees:
        return None
    from scipy import special  # Slow to import, and reports do not need it.

    means = [float(group.mean()) for group in groups]
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    sd = math.sqrt(squares / degrees)
    width = float(special.stdtrit(degrees, (1 + _CONFIDENCE) / 2))
    limit = width * sd * math.sqrt(sum(1 / len(group) for group in groups))
    return SeedSpread(means[1] - means[0], sd, limit)


# Paired tests of two methods.


@dataclasses.dataclass(frozen=True)
class McNemar:
    """McNemar's test of whether one of two methods predicts more clips correctly.

    The test is two-sided and exact for any number of clips: the smaller count is binomial with
    p = 1/2. It assumes independent clips, but clips of one subject are dependent. Its p-value is
    therefore too small if a method is better on a few subjects only; compare it with the
    permutation tests.

    Attributes:
        seed: Seed of the compared runs; the test uses one prediction per clip and method.
        only_first: Number of clips that only the first method predicts correctly.
        only_second: Number of clips that only the second method predicts correctly.
        p: Probability of counts at least as unequal if both methods were equally good.
    """

    seed: int
    only_first: int
    only_second: int
    p: float


@dataclasses.dataclass(frozen=True)
class PermutationTest:
    """The difference, first method minus second, and its two-sided permutation p-value."""

    difference: float
    p: float


@dataclasses.dataclass(frozen=True)
class PairedTests:
    """Tests of two methods on the same clips.

    Attributes:
        uf1: Permutation test of the pooled UF1, averaged over the seeds.
        uar: Permutation test of the pooled UAR, averaged over the seeds.
        mcnemar: McNemar's test for the lowest common seed.
        seeds: Seeds that both methods have; other seeds are ignored.
        subjects: Number of subjects.
        differing_subjects: Number of subjects whose confusion matrices differ between the methods.
            Swapping any other subject changes nothing.
        clips: Number of clips.
        swaps: Number of swaps tried, without the observed arrangement.
        exact: Whether all possible swaps were tried.
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

    The permutation tests swap the two methods' predictions of whole subjects, which are
    exchangeable if the methods are equally good. All swaps are tried if at most 12 subjects differ,
    otherwise random ones. The observed arrangement counts as one of them:
    p = (1 + as extreme) / (1 + swaps). All seeds of a subject are swapped together, and the
    difference is averaged over the seeds. McNemar's test uses the lowest common seed, a choice that
    does not depend on the results. To test one database, pass the predictions of that database.

    Args:
        first: Predictions of one method and protocol, with any number of seeds.
        second: Predictions of the other method.
        swaps: Number of random swaps.
        rng_seed: Seed of the random swaps.

    Returns:
        The results of the tests.

    Raises:
        UserError: The methods have no seed in common or differ in protocol, clips or labels, or
            `summarise` rejects the predictions of either method.
    """
    runs_first, runs_second = _by_seed(first), _by_seed(second)
    seeds = tuple(seed for seed in runs_first if seed in runs_second)
    if not seeds:
        listed = (", ".join(map(str, runs)) for runs in (runs_first, runs_second))
        raise UserError(
            "The two methods have no seed in common: the first has {}, the second has {}. Run one"
            " of them with a seed of the other.".format(*listed)
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
    # Python's integers are exact and their quotient is correct even beyond the range of floats.
    tail = sum(math.comb(n, k) for k in range(min(only_first, only_second) + 1))
    return McNemar(seed, only_first, only_second, p=min(1.0, 2 * tail / 2**n))


def _check_paired(
    first: Mapping[int, Mapping[_Clip, Prediction]],
    second: Mapping[int, Mapping[_Clip, Prediction]],
) -> None:
    """Refuse two methods that differ in protocol, clips or labels; name the first difference."""
    protocols = [_any_row(runs).protocol for runs in (first, second)]
    if protocols[0] != protocols[1]:
        raise UserError(
            f"The first predictions belong to protocol {protocols[0]!r}, the second to"
            f" {protocols[1]!r}. Compare two methods under one protocol."
        )
    for seed, rows in first.items():
        for clip in sorted(rows.keys() | second[seed].keys()):
            if clip not in rows or clip not in second[seed]:
                there, lacking = ("first", "second") if clip in rows else ("second", "first")
                raise UserError(
                    f"Clip {'/'.join(clip)} is in the {there} predictions but not in the"
                    f" {lacking}. Run both methods on the same data and folds."
                )
            labels = [CLASSES[runs[seed][clip].label] for runs in (first, second)]
            if labels[0] != labels[1]:
                raise UserError(
                    f"Clip {'/'.join(clip)} (seed {seed}) is {labels[0]} in the first predictions"
                    f" but {labels[1]} in the second. Run both methods on the same data."
                )


# Predictions and confusion matrices of several seeds.


def _by_seed(predictions: Iterable[Prediction]) -> dict[int, dict[_Clip, Prediction]]:
    """Group predictions by seed and check that every seed has the same clips."""
    unsorted: defaultdict[int, dict[_Clip, Prediction]] = defaultdict(dict)
    protocols = set()
    for row in predictions:
        clip = (row.dataset, row.subject, row.clip)
        if clip in unsorted[row.seed]:
            raise UserError(
                f"Clip {'/'.join(clip)} is predicted twice for seed {row.seed}. Pass the"
                f" predictions of one method, and each run once."
            )
        unsorted[row.seed][clip] = row
        protocols.add(row.protocol)
    if not unsorted:
        raise UserError("There are no predictions.")
    if len(protocols) > 1:
        raise UserError(
            f"The predictions belong to several protocols: {', '.join(sorted(protocols))}. Pass the"
            f" predictions of one protocol."
        )
    by_seed = dict(sorted(unsorted.items()))
    reference = min(by_seed)
    for seed, rows in by_seed.items():
        if differing := rows.keys() ^ by_seed[reference].keys():
            clip = min(differing)
            there, lacking = (seed, reference) if clip in rows else (reference, seed)
            raise UserError(
                f"Clip {'/'.join(clip)} is predicted for seed {there} but not for seed {lacking}."
                f" Every seed must predict the same clips."
            )
    return by_seed


def _confusions(
    by_seed: Mapping[int, Mapping[_Clip, Prediction]],
) -> tuple[list[tuple[str, str]], Float[np.ndarray, "seed subject 3 3"]]:
    """Return the sorted (database, subject) pairs and the confusion matrix of each, per seed."""
    subjects = sorted({clip[:2] for clip in next(iter(by_seed.values()))})
    position = {subject: i for i, subject in enumerate(subjects)}
    confusions = np.zeros((len(by_seed), len(subjects), len(CLASSES), len(CLASSES)))
    for matrices, rows in zip(confusions, by_seed.values(), strict=True):
        cells = [(position[clip[:2]], row.label, row.predicted) for clip, row in rows.items()]
        np.add.at(matrices, tuple(np.transpose(cells)), 1)
    return subjects, confusions


def _any_row(by_seed: Mapping[int, Mapping[_Clip, Prediction]]) -> Prediction:
    return next(iter(next(iter(by_seed.values())).values()))
