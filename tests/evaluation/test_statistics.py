import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_ind

from atnet_jax.errors import UserError
from atnet_jax.evaluation import metrics, statistics
from atnet_jax.evaluation.predictions import Prediction

METRICS = ("accuracy", "uf1", "uar")


def prediction(dataset, subject, clip, label, predicted, seed=0, fold=0, protocol="cde"):
    scores = [1.0 if i == predicted else 0.0 for i in range(3)]
    return Prediction(protocol, fold, dataset, subject, clip, label, predicted, *scores, seed)


def rows_of(subjects, labels, predicted, seed=0, dataset="smic"):
    """One row a clip; `subjects` are numbers."""
    return [
        prediction(dataset, f"s{s:02d}", f"c{i:03d}", int(label), int(answer), seed)
        for i, (s, label, answer) in enumerate(zip(subjects, labels, predicted, strict=True))
    ]


def random_rows(rng, subjects=5, clips=30, seed=0, dataset="smic", skill=0.5):
    who = rng.permutation(np.arange(clips) % subjects)
    labels = rng.integers(3, size=clips)
    return rows_of(who, labels, answers_to(rng, labels, skill), seed, dataset)


def answers_to(rng, labels, skill):
    """Right with probability `skill`, else one of the two wrong classes."""
    wrong = (labels + rng.integers(1, 3, size=len(labels))) % 3
    return np.where(rng.random(len(labels)) < skill, labels, wrong)


def answered(rows, rng, skill, seed=None):
    """The same clips with other answers."""
    labels = np.array([row.label for row in rows])
    answers = answers_to(rng, labels, skill)
    return [
        prediction(
            row.dataset,
            row.subject,
            row.clip,
            row.label,
            int(answer),
            row.seed if seed is None else seed,
        )
        for row, answer in zip(rows, answers, strict=True)
    ]


def together(runs):
    return list(itertools.chain.from_iterable(runs))


def scores_of(rows):
    """By `metrics`, clip by clip; clips may be repeated."""
    confusion = metrics.confusion_matrix(
        np.array([row.label for row in rows]), np.array([row.predicted for row in rows])
    )
    return metrics.scores(confusion).tolist()


# Several seeds.


def test_mean_and_sd_are_over_seeds():
    rng = np.random.default_rng(0)
    rows = random_rows(rng, dataset="samm") + random_rows(rng, subjects=4)
    runs = [answered(rows, rng, skill, seed) for seed, skill in ((3, 0.4), (1, 0.6), (7, 0.8))]
    summaries = statistics.summarise(together(runs))
    evaluations = [metrics.evaluate(run) for run in runs]
    assert list(summaries) == ["full", "samm", "smic"]
    for group, summary in summaries.items():
        for name in METRICS:
            values = [evaluation[group][name] for evaluation in evaluations]
            mean = sum(values) / 3
            sd = math.sqrt(sum((value - mean) ** 2 for value in values) / 2)
            assert getattr(summary, name).mean == pytest.approx(mean)
            assert getattr(summary, name).sd == pytest.approx(sd)
            assert sd > 0
    assert (summaries["full"].seeds, summaries["full"].clips) == (3, 60)
    assert [summary.subjects for summary in summaries.values()] == [9, 5, 4]
    json.dumps({key: dataclasses.asdict(s) for key, s in summaries.items()}, allow_nan=False)


def test_one_seed_has_no_sd():
    summary = statistics.summarise(random_rows(np.random.default_rng(0)))["full"]
    assert summary.accuracy.sd is None
    assert summary.seeds == 1


def test_held_out_databases_are_scored_like_any_other():
    rows = random_rows(np.random.default_rng(1)) + random_rows(
        np.random.default_rng(2), dataset="samm"
    )
    hde = [dataclasses.replace(r, protocol="hde", fold=int(r.dataset == "smic")) for r in rows]
    assert statistics.summarise(hde) == statistics.summarise(rows)


def test_labels_may_be_shuffled_by_the_seed():
    rng = np.random.default_rng(0)
    rows = random_rows(rng)
    labels = rng.permutation([row.label for row in rows])
    other = [
        dataclasses.replace(row, label=int(label), seed=1)
        for row, label in zip(rows, labels, strict=True)
    ]
    mean = statistics.summarise(rows + other)["full"].uf1.mean
    assert mean == pytest.approx((scores_of(rows)[1] + scores_of(other)[1]) / 2)


def test_predictions_that_cannot_be_summarised_are_refused():
    rows = [prediction("smic", "s1", "a", 0, 0), prediction("smic", "s1", "b", 1, 0)]
    again = [dataclasses.replace(row, seed=4) for row in rows]
    with pytest.raises(UserError, match="no predictions"):
        statistics.summarise([])
    with pytest.raises(UserError, match="smic/s1/a is predicted twice for seed 0"):
        statistics.summarise([*rows, rows[0]])
    with pytest.raises(UserError, match="smic/s1/b is predicted for seed 0 but not for seed 4"):
        statistics.summarise(rows + again[:1])
    with pytest.raises(UserError, match="smic/s1/b is predicted for seed 4 but not for seed 0"):
        statistics.summarise(rows[:1] + again)
    with pytest.raises(UserError, match="several protocols: cde, hde"):
        statistics.summarise([rows[0], dataclasses.replace(rows[1], protocol="hde")])
    with pytest.raises(UserError, match="'full' is reserved"):
        statistics.summarise([prediction("full", "s1", "a", 0, 0)])


# Intervals.


def test_intervals_equal_a_plain_loop_over_resamples():
    """Clips of the drawn subjects laid out one by one and scored by `metrics`."""
    rng = np.random.default_rng(5)
    rows = random_rows(rng, subjects=3, clips=20, dataset="samm") + random_rows(rng, subjects=4)
    # Few clips a subject, of few classes: some resamples lack a class.
    rows = [row for row in rows if row.label == 0 or row.subject == "s01"]
    runs = {seed: answered(rows, rng, 0.6, seed) for seed in (0, 1)}
    resamples = 150
    summaries = statistics.summarise(together(runs.values()), resamples=resamples, rng_seed=9)

    generator = np.random.default_rng(9)
    lacking = 0
    drawn = {}
    for database, count in (("samm", 3), ("smic", 4)):
        drawn[database] = [
            {
                seed: [
                    row
                    for s, number in enumerate(times)
                    for row in run * number
                    if (row.dataset, row.subject) == (database, f"s{s:02d}")
                ]
                for seed, run in runs.items()
            }
            for times in generator.multinomial(count, [1 / count] * count, size=resamples)
        ]
    drawn["full"] = [
        {seed: samm[seed] + smic[seed] for seed in runs}
        for samm, smic in zip(drawn["samm"], drawn["smic"], strict=True)
    ]
    for group, samples in drawn.items():
        lacking += sum(len({row.label for row in sample[0]}) < 3 for sample in samples)
        values = np.array(
            [np.mean([scores_of(clips) for clips in s.values()], axis=0) for s in samples]
        )
        for i, name in enumerate(METRICS):
            ordered = sorted(values[:, i])
            expected = [_quantile(ordered, 0.025), _quantile(ordered, 0.975)]
            assert getattr(summaries[group], name).interval == pytest.approx(expected)
    assert lacking > 0


def _quantile(ordered, share):
    position = share * (len(ordered) - 1)
    low = math.floor(position)
    return ordered[low] + (position - low) * (
        ordered[min(low + 1, len(ordered) - 1)] - ordered[low]
    )


@pytest.mark.parametrize("right", [True, False])
def test_a_method_that_is_always_right_or_always_wrong_leaves_no_doubt(right):
    rows = random_rows(np.random.default_rng(0), skill=1.0 if right else 0.0)
    rows += random_rows(np.random.default_rng(1), skill=1.0 if right else 0.0, dataset="samm")
    for summary in statistics.summarise(rows).values():
        for name in METRICS:
            assert getattr(summary, name).interval == (float(right),) * 2
            assert getattr(summary, name).mean == float(right)


def test_the_interval_of_accuracy_is_that_of_a_mean_over_subjects():
    """With equally many clips a subject: mean ± 1.96 sd / √subjects."""
    rng = np.random.default_rng(2)
    subjects, clips = 60, 20
    skill = np.repeat(rng.uniform(0.2, 0.9, subjects), clips)
    labels = rng.integers(3, size=subjects * clips)
    rows = rows_of(np.repeat(np.arange(subjects), clips), labels, answers_to(rng, labels, skill))
    of_subject = np.array([row.predicted == row.label for row in rows]).reshape(subjects, clips)
    mean, sd = of_subject.mean(), of_subject.mean(axis=1).std()
    accuracy = statistics.summarise(rows, resamples=20_000)["full"].accuracy
    half = 1.96 * sd / math.sqrt(subjects)
    assert accuracy.interval == pytest.approx((mean - half, mean + half), abs=0.06 * half)


def test_subjects_are_drawn_within_their_database():
    """So the share of each database, and here the pooled accuracy, is the same in each resample."""
    rows = [
        prediction(dataset, f"s{s}", f"c{c}", c % 3, c % 3 if dataset == "samm" else (c + 1) % 3)
        for dataset in ("samm", "smic")
        for s in range(5)
        for c in range(6)
    ]
    assert statistics.summarise(rows)["full"].accuracy.interval == (0.5, 0.5)


def test_seeds_are_averaged_within_a_resample():
    """Two seeds that err on each other's clips: their mean does not depend on the subjects."""
    rng = np.random.default_rng(0)
    first = random_rows(rng, subjects=6, clips=36)
    second = [
        dataclasses.replace(
            row,
            predicted=(row.label + 1) % 3 if row.predicted == row.label else row.label,
            seed=1,
        )
        for row in first
    ]
    low, high = statistics.summarise(first + second)["full"].accuracy.interval
    assert (low, high) == pytest.approx((0.5, 0.5))
    low, high = statistics.summarise(first)["full"].accuracy.interval
    assert high - low > 0.1


def test_one_subject_has_no_interval():
    rows = random_rows(np.random.default_rng(0), subjects=1) + random_rows(
        np.random.default_rng(0), subjects=1, dataset="samm"
    )
    summaries = statistics.summarise(rows)
    assert [summary.uf1.interval for summary in summaries.values()] == [None] * 3
    more = statistics.summarise(rows + random_rows(np.random.default_rng(0), dataset="casme2"))
    assert more["samm"].uf1.interval is None
    assert more["full"].uf1.interval is not None


def test_the_same_seed_gives_the_same_interval_in_any_order_of_rows():
    rows = random_rows(np.random.default_rng(0))
    summary = statistics.summarise(rows)
    assert statistics.summarise(rows[::-1]) == summary
    assert statistics.summarise(rows, rng_seed=1) != summary


def clustered(rng, subjects, clips):
    """People whom a method reads well or badly: skills of mean 0.6 and sd 0.27."""
    labels = rng.choice(3, p=(0.5, 0.3, 0.2), size=subjects * clips)
    skill = np.repeat(rng.beta(1.4, 0.933, size=subjects), clips)
    return rows_of(np.repeat(np.arange(subjects), clips), labels, answers_to(rng, labels, skill))


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    # The confusion matrix that the simulation has on average, per 1000 clips.
    truth = np.array([[300, 100, 100], [60, 180, 60], [40, 40, 120]])
    accuracy, uf1, uar = metrics.scores(truth)
    rng = np.random.default_rng(0)
    simulations = 120
    by_subject, by_clip = np.zeros(3), 0
    widths = []
    for _ in range(simulations):
        rows = clustered(rng, subjects=20, clips=7)
        full = statistics.summarise(rows, resamples=300)["full"]
        for i, (name, value) in enumerate(zip(METRICS, (accuracy, uf1, uar), strict=True)):
            low, high = getattr(full, name).interval
            by_subject[i] += low <= value <= high
        alone = [dataclasses.replace(row, subject=row.clip) for row in rows]
        low, high = statistics.summarise(alone, resamples=300)["full"].uf1.interval
        by_clip += low <= uf1 <= high
        widths.append(np.ptp(full.uf1.interval) / (high - low))
    assert np.all(by_subject / simulations > 0.86)
    assert np.all(by_subject / simulations < 0.99)
    # Treating clips as independent makes intervals too narrow.
    assert by_clip / simulations < 0.86
    assert np.mean(widths) > 1.2


# Two methods.


def brute_force_p(first, second, score):
    """Every swap of the two methods' answers on whole subjects, row by row."""
    names = sorted({row.subject for row in first})
    seeds = sorted({row.seed for row in first})

    def difference(swapped):
        sides = ([], [])
        for a, b in zip(first, second, strict=True):
            one, two = (b, a) if a.subject in swapped else (a, b)
            sides[0].append(one)
            sides[1].append(two)
        per_seed = [
            [scores_of([row for row in side if row.seed == seed])[score] for side in sides]
            for seed in seeds
        ]
        return np.mean([one - two for one, two in per_seed])

    observed = difference(())
    swaps = itertools.chain.from_iterable(
        itertools.combinations(names, n) for n in range(len(names) + 1)
    )
    differences = np.array([difference(swapped) for swapped in swaps])
    return observed, np.mean(np.abs(differences) >= abs(observed) - 1e-9)


@pytest.mark.parametrize("seeds", [1, 2])
def test_all_swaps_equal_a_plain_loop(seeds):
    rng = np.random.default_rng(seeds)
    rows = random_rows(rng, subjects=6, clips=36)
    first = together(answered(rows, rng, 0.7, seed) for seed in range(seeds))
    second = together(answered(rows, rng, 0.45, seed) for seed in range(seeds))
    tests = statistics.compare(first, second)
    for score, test in ((1, tests.uf1), (2, tests.uar)):
        difference, p = brute_force_p(first, second, score)
        assert test.difference == pytest.approx(difference)
        assert test.p == pytest.approx(p)
        assert p < 1
    assert tests.exact
    assert (tests.swaps, tests.subjects, tests.clips) == (63, 6, 36)
    assert tests.seeds == tuple(range(seeds))
    json.dumps(dataclasses.asdict(tests), allow_nan=False)


@pytest.mark.parametrize("seed", [5, 6, 17])
def test_equal_differences_count_however_they_are_rounded(seed):
    """Here swaps of other subjects give sums of the same numbers in another order."""
    rng = np.random.default_rng(seed)
    rows = random_rows(rng, subjects=6, clips=18)
    first, second = answered(rows, rng, 0.6), answered(rows, rng, 0.5)
    tests = statistics.compare(first, second)
    assert tests.uf1.p == pytest.approx(brute_force_p(first, second, score=1)[1])
    assert tests.uar.p == pytest.approx(brute_force_p(first, second, score=2)[1])


def test_random_swaps_agree_with_all_swaps():
    rng = np.random.default_rng(3)
    first = random_rows(rng, subjects=13, clips=65, skill=0.55)
    second = answered(first, rng, 0.5)
    sampled = statistics.compare(first, second)
    assert not sampled.exact
    assert sampled.swaps == 10_000
    labels = np.array([row.label for row in first])
    who = np.array([int(row.subject[1:]) for row in first])
    one, two = (np.array([row.predicted for row in rows]) for rows in (first, second))
    differences = []
    # One subject stays: swapping the others instead gives the same difference, negated.
    for swapped in itertools.product((False, True), repeat=12):
        swap = np.array([False, *swapped])[who]
        sides = np.where(swap, two, one), np.where(swap, one, two)
        uf1 = [metrics.uf1(metrics.confusion_matrix(labels, answers)) for answers in sides]
        differences.append(uf1[0] - uf1[1])
    exact = np.mean(np.abs(differences) >= abs(differences[0]) - 1e-9)
    assert 0.05 < exact < 0.95
    assert sampled.uf1.p == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 10_000))


def test_a_method_that_wins_on_every_subject_has_the_smallest_p_there_is():
    labels = np.tile([0, 1, 2], 8)
    subjects = np.repeat(np.arange(8), 3)
    right, wrong = rows_of(subjects, labels, labels), rows_of(subjects, labels, (labels + 1) % 3)
    tests = statistics.compare(right, wrong)
    assert tests.uf1 == statistics.PermutationTest(difference=1.0, p=2 / 2**8)
    assert tests.uar == tests.uf1
    assert (tests.mcnemar.only_first, tests.mcnemar.only_second) == (24, 0)
    assert tests.mcnemar.p == 2 / 2**24


def test_equal_methods_do_not_differ():
    rows = random_rows(np.random.default_rng(0), subjects=20)
    tests = statistics.compare(rows, rows)
    assert (tests.uf1.difference, tests.uf1.p) == (0, 1)
    assert (tests.mcnemar.only_first, tests.mcnemar.only_second) == (0, 0)
    assert tests.mcnemar.p == 1
    assert (tests.subjects, tests.differing_subjects, tests.exact) == (20, 0, True)


def test_only_subjects_that_differ_are_swapped():
    """Those without a difference double every p's numerator and denominator alike."""
    rng = np.random.default_rng(4)
    few = random_rows(rng, subjects=5)
    other = answered(few, rng, 0.9)
    same = [prediction("smic", f"s{s}", "c", s % 3, s % 2) for s in range(90, 99)]
    tests = statistics.compare(few + same, other + same)
    assert (tests.subjects, tests.differing_subjects, tests.swaps) == (14, 5, 31)
    one_subject = [dataclasses.replace(row, subject=few[0].subject) for row in same]
    expected = brute_force_p(few + one_subject, other + one_subject, score=1)
    assert (tests.uf1.difference, tests.uf1.p) == pytest.approx(expected)
    assert tests.uf1.p < 1


@pytest.mark.parametrize("subjects", [6, 30])
def test_swapping_the_methods_flips_the_sign_and_keeps_p(subjects):
    rng = np.random.default_rng(7)
    first = random_rows(rng, subjects=subjects, clips=90, skill=0.6)
    second = answered(first, rng, 0.5)
    one, two = statistics.compare(first, second), statistics.compare(second, first)
    assert one.exact == (subjects == 6)
    for a, b in ((one.uf1, two.uf1), (one.uar, two.uar)):
        assert a.difference == -b.difference != 0
        assert a.p == b.p < 1
    assert one.mcnemar.p == two.mcnemar.p
    assert one.mcnemar.only_first == two.mcnemar.only_second != one.mcnemar.only_second


def test_p_is_uniform_when_the_methods_are_alike():
    """Both read the same people well: clips are not independent, subjects are."""
    rng = np.random.default_rng(0)
    p = []
    for _ in range(150):
        rows = clustered(rng, subjects=16, clips=4)
        skill = np.repeat(rng.beta(1.4, 0.933, size=16), 4)
        first, second = (answered(rows, rng, skill) for _ in range(2))
        p.append(statistics.compare(first, second, swaps=200).uf1.p)
    ranks = (np.arange(150) + 0.5) / 150
    # Kolmogorov and Smirnov's bound at 1 %.
    assert np.abs(np.sort(p) - ranks).max() < 1.63 / math.sqrt(150)
    assert np.mean(np.array(p) <= 0.05) < 0.1


def test_p_is_small_when_one_method_is_better():
    rng = np.random.default_rng(0)
    rows = clustered(rng, subjects=24, clips=6)
    tests = statistics.compare(answered(rows, rng, 0.8), answered(rows, rng, 0.5))
    assert tests.uf1.difference > 0.15
    assert max(tests.uf1.p, tests.uar.p, tests.mcnemar.p) < 0.002
    assert tests.uf1.p >= 1 / 10_001


def test_mcnemar_takes_clips_for_independent_and_swaps_do_not():
    """A method better on one person alone: many clips, but no evidence about people."""
    labels = np.tile([0, 1, 2], 20)
    subjects = np.where(np.arange(60) < 30, 0, np.arange(60) % 9 + 1)
    answers = np.where(subjects == 0, (labels + 1) % 3, labels)
    tests = statistics.compare(
        rows_of(subjects, labels, labels), rows_of(subjects, labels, answers)
    )
    assert tests.mcnemar.p == 2 / 2**30
    assert tests.uf1.p == 1
    assert tests.differing_subjects == 1


@pytest.mark.parametrize(
    ("only_first", "only_second"), [(0, 1), (1, 1), (3, 9), (9, 3), (20, 21), (40, 80), (300, 360)]
)
def test_mcnemar_is_the_binomial_test(only_first, only_second):
    discordant = only_first + only_second
    labels = np.zeros(discordant + 4, dtype=int)
    first = np.concatenate([np.arange(discordant) >= only_first, [0, 0, 1, 2]])
    second = np.concatenate([np.arange(discordant) < only_first, [0, 0, 2, 2]])
    who = np.arange(len(labels)) % 5
    mcnemar = statistics.compare(
        rows_of(who, labels, first), rows_of(who, labels, second), swaps=1
    ).mcnemar
    assert (mcnemar.only_first, mcnemar.only_second) == (only_first, only_second)
    assert mcnemar.p == pytest.approx(binomtest(only_first, discordant).pvalue, rel=1e-9)


def test_seeds_that_both_have_are_compared():
    rng = np.random.default_rng(0)
    rows = random_rows(rng, subjects=8)
    first = {seed: answered(rows, rng, 0.7, seed) for seed in (4, 2, 9)}
    second = {seed: answered(rows, rng, 0.4, seed) for seed in (1, 4, 2)}
    tests = statistics.compare(together(first.values()), together(second.values()))
    assert tests == statistics.compare(first[2] + first[4], second[2] + second[4])
    assert tests.seeds == (2, 4)
    assert tests.mcnemar == statistics.compare(first[2], second[2]).mcnemar
    assert tests.mcnemar.seed == 2
    assert tests.mcnemar != statistics.compare(first[4], second[4]).mcnemar
    with pytest.raises(UserError, match="first has 4, the second has 1, 2"):
        statistics.compare(first[4], second[1] + second[2])


def test_the_first_difference_between_clips_is_named():
    rows = [prediction("smic", "s1", clip, 0, 0) for clip in "abcd"]
    with pytest.raises(UserError, match="smic/s1/b is in the first predictions but not in the sec"):
        statistics.compare(rows, [rows[0], rows[3]])
    with pytest.raises(UserError, match="smic/s1/a is in the second predictions but not in the f"):
        statistics.compare(rows[1:], rows)
    other = [*rows[:2], *(dataclasses.replace(row, label=2) for row in rows[2:])]
    with pytest.raises(
        UserError,
        match=r"smic/s1/c \(seed 0\) is negative in the first predictions but surprise in the sec",
    ):
        statistics.compare(rows, other)
    with pytest.raises(UserError, match="protocol 'cde', the second to 'hde'"):
        statistics.compare(rows, [dataclasses.replace(row, protocol="hde") for row in rows])


def test_the_spread_over_seeds_is_that_of_a_t_test():
    rng = np.random.default_rng(0)
    inside = []
    for size, other in ((5, 5), (2, 9), (6, 1)) * 20:
        first, second = rng.normal(size=size), rng.normal(0.8, 1, size=other)
        spread = statistics.seed_spread(first.tolist(), second.tolist())
        assert spread is not None
        assert spread.difference == pytest.approx(second.mean() - first.mean())
        if other == 1:
            assert spread.sd == pytest.approx(first.std(ddof=1))
        inside.append(abs(spread.difference) <= spread.limit)
        assert inside[-1] == (ttest_ind(first, second).pvalue >= 0.05)
    assert 0 < sum(inside) < len(inside)
    assert statistics.seed_spread([0.5], [0.7]) is None
