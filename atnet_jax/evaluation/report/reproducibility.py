"""The page of a reproducibility study: the variance that each source of randomness brings."""

from collections.abc import Mapping, Sequence

import numpy as np

from atnet_jax.evaluation import variance
from atnet_jax.evaluation.report import charts, origin
from atnet_jax.evaluation.report.blocks import (
    ABSENT,
    Block,
    Cell,
    Document,
    Grid,
    Part,
    Row,
    Section,
    Table,
    Text,
    row,
)
from atnet_jax.evaluation.report.contents import opening
from atnet_jax.evaluation.report.overview import (
    PROTOCOLS,
    Overview,
    Study,
    group_in_words,
    group_title,
    listed,
    rounded,
)
from atnet_jax.evaluation.runs import Run
from atnet_jax.evaluation.variance import Estimate
from atnet_jax.words import numbered

ALL = "all"
"""Name of the runs in which all sources of a study are varied together."""

_WORDS = {
    ALL: "all together",
    "order": "order of the clips",
    "weights": "initial weights",
    "augmentation": "augmentation",
    "dropout": "dropout",
}
_METRICS = {"uf1": "UF1", "uar": "UAR"}
# A normal distribution has 95 % of its values within this many standard deviations of its mean.
_WITHIN = 1.96
# Widths whose ratio is smaller are called about equal.
_SIMILAR = 1.5

Arms = Mapping[str, Sequence[Run]]
"""Varied source, or `ALL`, → its runs, sorted by seed."""


def document(runs: Arms, without_effect: Sequence[str]) -> Document:
    """Return the content of the page.

    Args:
        runs: The runs of each varied source. Those of `ALL` include the run of the fixed seed,
            which belongs to all sources; the others lack it.
        without_effect: Sources that cannot change the training, in `ALL` only.
    """
    overview = Overview(runs[ALL])
    [method], [study] = overview.methods, overview.studies
    fixed = method.runs[0].record.config["fixed_seed"]
    [common] = (run for run in method.runs if run.seed == fixed)
    arms = {ALL: method.runs} | {
        source: sorted([common, *own], key=lambda run: run.seed)
        for source, own in runs.items()
        if source != ALL
    }
    return Document(
        kicker=f"Reproducibility study, {PROTOCOLS[method.protocol].name}",
        title=f"{method.label}: variance over seeds",
        opening=opening(overview),
        sections=[
            Section("variance", "Sources of variance", _sources(study, arms, without_effect)),
            Section("subjects", "Seeds and subjects", _seeds_and_subjects(study)),
            Section("changes", "Predictions that change", _changes(arms)),
            Section("runs", "Scores of all runs", _scores(study, arms)),
            Section("setup", "Command and environment", origin.setup(overview)),
        ],
    )


def _sources(study: Study, arms: Arms, without_effect: Sequence[str]) -> list[Block]:
    [method] = study.methods
    fixed = method.runs[0].record.config["fixed_seed"]
    blocks: list[Block] = [
        Text(
            f"Each source was varied alone with the seeds {listed(method.seeds)}, while the other"
            f" sources stayed at seed {fixed}. “All together” varies all of them at once, as a run"
            f" with several seeds does. The remainder is the variance of all together minus the sum"
            f" of the single variances: interaction of the sources, and sampling error."
        )
    ]
    if without_effect:
        names = " and ".join(_WORDS[source] for source in without_effect)
        blocks.append(
            Text(
                f"No effect: {names}. This training draws no random numbers for it. The variance is"
                f" exactly 0, and no separate runs were made."
            )
        )
    drawn = [
        charts.spread_chart(
            f"UF1, {group_in_words(group)}",
            [
                *(
                    charts.Spread(_WORDS[source], values, None, _with_spread(values))
                    for source, values in _values(arms, group, "uf1").items()
                ),
                *_over_subjects(study, group),
            ],
        )
        for group in _main_groups(study)
    ]
    legend = Text(
        "Each dot is one run; numbers are the mean and the standard deviation. The last line is the"
        " 95 % interval of all together over subjects.",
        "quiet",
    )
    blocks.append(Part("UF1 of every run", [Grid(drawn, "wide"), legend], page_only=True))
    blocks += [_variances(study, arms, metric) for metric in _METRICS]
    blocks.append(
        Text(
            "[ ] is a 95 % confidence interval: chi-square for a variance, F for the share of all"
            " together. Both assume normally distributed scores; compare the scores of all runs"
            " below. The F interval treats the rows as independent. They share the run of the fixed"
            " seed, and a seed draws the same weights alone and together, which makes the interval"
            " of a share too wide rather than too narrow. The interval of the remainder combines"
            " those of the variances. With few seeds all intervals are wide. The variance of a"
            " single source holds for the fixed seed of the others.",
            "quiet",
        )
    )
    return blocks


def _variances(study: Study, arms: Arms, metric: str) -> Table:
    rows: list[Row] = []
    for group in study.groups:
        values = _values(arms, group, metric)
        estimates = {source: variance.variance(own) for source, own in values.items()}
        total = estimates.pop(ALL)
        for source, own in values.items():
            estimate = total if source == ALL else estimates[source]
            ratio = None if source == ALL else variance.share(own, values[ALL])
            rows.append(
                row(
                    *(group_title(group), _WORDS[source], rounded(float(np.mean(own)))),
                    *(f"{np.sqrt(estimate.value):.4f}", _estimate(estimate, 1e4)),
                    *(ABSENT if ratio is None else _estimate(ratio, 100.0, " %"), len(own)),
                )
            )
        rest = variance.remainder(total, list(estimates.values()))
        percent = _short(100 * rest.value / total.value) + " %" if total.value else ABSENT
        rows.append(
            row(
                *(group_title(group), "remainder", ABSENT, ABSENT),
                *(_estimate(rest, 1e4), percent, ABSENT),
            )
        )
    name = _METRICS[metric]
    return Table(
        caption=f"Variance of {name} over seeds",
        columns=["Database", "Varied", f"Mean {name}", "SD", "10,000 × variance",
                 "Share of all together", "Runs"],
        rows=rows,
        headers=2,
    )  # fmt: skip


def _seeds_and_subjects(study: Study) -> list[Block]:
    [method] = study.methods
    rows, sentences = [], []
    for group in study.groups:
        for metric, name in _METRICS.items():
            figure = getattr(method.summary[group], metric)
            values = [run.metrics[group][metric] for run in method.runs]
            assert figure.sd is not None, "a study has several seeds"
            width = 2 * _WITHIN * figure.sd
            cells = [ABSENT, ABSENT]
            if figure.interval is not None:
                low, high = figure.interval
                times = f"{(high - low) / width:.1f}" if width else ABSENT
                cells = [f"[{low:.3f}, {high:.3f}]", times]
                if metric == "uf1" and group in _main_groups(study):
                    sentences.append(
                        f"UF1, {group_in_words(group)}: the interval over subjects is"
                        f" {high - low:.3f} wide, and 95 % of runs lie within a range of about"
                        f" {width:.3f} over seeds. {_verdict(high - low, width)}"
                    )
            rows.append(
                row(
                    *(group_title(group), name, rounded(figure.mean), f"{figure.sd:.4f}"),
                    *(rounded(min(values)), rounded(max(values)), f"{width:.3f}", *cells),
                )
            )
    columns = ["Mean", "SD", "Lowest", "Highest", "95 % of runs", "Interval", "Times as wide"]
    table = Table(
        caption="All sources together: seeds and subjects",
        columns=["Database", "Score", *columns],
        rows=rows,
        headers=2,
        groups=[("Over seeds", 5), ("Over subjects", 2)],
    )
    note = (
        "95 % of runs: width of the range of 1.96 standard deviations on each side of the mean."
        " The interval over subjects is that of the other reports: a bootstrap over subjects within"
        " each database, for the mean over these seeds. It shows how much the scores may vary with"
        " other people."
    )
    return [*map(Text, sentences), table, Text(note, "quiet")]


def _verdict(over_subjects: float, over_seeds: float) -> str:
    """Compare two widths, which are estimates, in words."""
    if over_subjects > _SIMILAR * over_seeds:
        return "Subjects matter more than seeds."
    if over_seeds > _SIMILAR * over_subjects:
        return "Seeds matter more than subjects."
    return "Seeds and subjects matter about equally."


def _changes(arms: Arms) -> list[Block]:
    rows = []
    for source, own in arms.items():
        predicted = np.array([[one.predicted for one in run.predictions] for run in own])
        found = variance.agreement(predicted)
        clips = predicted.shape[1]
        rows.append(
            row(
                *(_WORDS[source], numbered(len(own), "run"), found.changed, clips),
                *(f"{found.changed / clips:.0%}", f"{found.differing:.1%}"),
            )
        )
    table = Table(
        caption="Clips whose predicted class depends on the seed",
        columns=["Varied", "Runs", "Clips that change", "of clips", "Share",
                 "Differ between two runs"],
        rows=rows,
    )  # fmt: skip
    note = (
        "A clip changes if not all runs predict the same class; the number grows with the number of"
        " runs. “Differ between two runs” is the share of clips that two runs predict differently,"
        " averaged over all pairs."
    )
    return [table, Text(note, "quiet")]


def _scores(study: Study, arms: Arms) -> list[Block]:
    seeds = [run.seed for run in arms[ALL]]
    return [
        Table(
            caption=f"{name} of every run",
            columns=["Database", "Seed", *(_WORDS[source] for source in arms)],
            rows=[
                row(
                    *(group_title(group), seed),
                    *(rounded(own[i]) for own in _values(arms, group, metric).values()),
                )
                for group in study.groups
                for i, seed in enumerate(seeds)
            ],
            headers=2,
        )
        for metric, name in _METRICS.items()
    ]


def _values(arms: Arms, group: str, metric: str) -> dict[str, list[float]]:
    """Return a score of every run of each varied source, by ascending seed."""
    return {source: [run.metrics[group][metric] for run in own] for source, own in arms.items()}


def _over_subjects(study: Study, group: str) -> list[charts.Spread]:
    """Return the line of the interval over subjects; none if it is unknown."""
    interval = study.methods[0].summary[group].uf1.interval
    if interval is None:
        return []
    return [
        charts.Spread(
            "interval over subjects", (), interval, f"[{interval[0]:.3f}, {interval[1]:.3f}]"
        )
    ]


def _main_groups(study: Study) -> list[str]:
    """Return the groups that the protocol is about: all clips (CDE) or each database (HDE)."""
    return study.groups[:1] if study.protocol == "cde" else study.groups


def _with_spread(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"


def _estimate(estimate: Estimate, factor: float, unit: str = "") -> Cell:
    """Format an estimate and its interval, both multiplied by a factor."""
    text = f"{_short(factor * estimate.value)}{unit}"
    if estimate.interval is None:
        return Cell(text, "[–]")
    low, high = (_short(factor * limit) for limit in estimate.interval)
    return Cell(text, f"[{low}, {high}]")


def _short(value: float) -> str:
    """Format a number with at least two significant digits."""
    return f"{value:{'.0f' if abs(value) >= 10 else '.2g'}}".replace("-", "−")
