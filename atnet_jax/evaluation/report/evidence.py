"""Sections on the uncertainty of the scores: confidence intervals, paired tests, inflation."""

from atnet_jax import published
from atnet_jax.evaluation.report import charts
from atnet_jax.evaluation.report.blocks import Block, Chart, Grid, Part, Table, Text, row
from atnet_jax.evaluation.report.overview import (
    PROTOCOLS,
    Overview,
    Study,
    group_in_words,
    group_title,
    listed,
    with_interval,
)
from atnet_jax.evaluation.runs import TABLES
from atnet_jax.words import numbered

# Longer tables, and longer lists of reasons why methods were not compared, are collapsed.
_OPEN_ROWS = 12
_OPEN_REASONS = 3
_LEVEL = 0.05


def certainty(overview: Overview) -> list[Block]:
    """Return the section on confidence intervals over subjects."""
    blocks: list[Block] = [
        Text(
            "Intervals are 95 % confidence intervals from a bootstrap over subjects within each"
            " database (2,000 resamples; all clips of a subject stay together). They show how much"
            " the score may vary with other subjects. They do not cover variation of the training"
            " data, because folds share most of it, nor of the seed in a single run. For one"
            " database they are slightly too narrow, because it has few subjects. Published scores"
            " have no intervals.",
            "quiet",
        )
    ]
    for study in overview.studies:
        about = PROTOCOLS[study.protocol]
        charted = [_intervals_chart(study, group) for group in study.groups]
        legend = "● our score with its 95 % interval, also in numbers"
        if any(method.paper_row for method in study.methods):
            legend += " · ◇ published score"
        drawn = [Grid(charted, "wide"), Text(f"{legend}.", "quiet")]
        heading = f"UF1 with 95 % intervals, {study.protocol.upper()}"
        blocks.append(Part(heading, drawn, page_only=True))
        rows = []
        for method in study.methods:
            for group in (group for group in study.groups if group in method.summary):
                summary = method.summary[group]
                figures = [with_interval(getattr(summary, name)) for name in about.metrics]
                counts = (summary.seeds, summary.subjects, summary.clips)
                rows.append(row(method.label, group_title(group), *figures, *counts))
        names = ["Method", "Database", *about.metrics.values(), "Seeds", "Subjects", "Clips"]
        caption = f"95 % intervals, {study.protocol.upper()}"
        table = Table(caption=caption, columns=names, rows=rows, headers=2)
        folded = len(rows) > _OPEN_ROWS
        blocks.append(
            Part(f"All intervals, {study.protocol.upper()}", [table], folded=True)
            if folded
            else table
        )
    return blocks


def _intervals_chart(study: Study, group: str) -> Chart:
    lines = []
    for method in study.methods:
        if group not in method.summary:
            continue
        figure = method.summary[group].uf1
        paper = None
        comparable = method.paper_row is not None and not method.is_control
        if comparable and group in published.COMPOSITE:
            paper = TABLES[study.protocol][method.paper_row][group].uf1
        lines.append(charts.Standing(method.label, figure.mean, figure.interval, paper))
    title = f"{study.protocol.upper()}: UF1, {group_in_words(group)}"
    return charts.intervals_chart(title, lines)


def tests(overview: Overview) -> list[Block]:
    """Return the tests of all pairs of methods; nothing for a single method."""
    studies = [study for study in overview.studies if len(study.methods) > 1]
    if not studies:
        return []
    blocks: list[Block] = [
        Text(
            "Δ is the score of the first method minus that of the second, over all clips pooled and"
            " averaged over the common seeds. Its p-value comes from a permutation test that swaps"
            " the two methods' predictions of whole subjects. It is the probability of a Δ at least"
            " as large if the methods were equally good. McNemar's test counts the clips that only"
            " one method predicts correctly, for the lowest common seed. It assumes independent"
            " clips, but clips of one subject are dependent. Its p-value is therefore too small if"
            " a method is better on a few subjects only. A large p-value does not show that two"
            " methods are equally good.",
            "quiet",
        )
    ]
    for study in studies:
        blocks += _tests_of(study)
    return blocks


def _tests_of(study: Study) -> list[Block]:
    blocks: list[Block] = []
    protocol = study.protocol.upper()
    if count := len(study.pairs):
        below = sum(pair.tests.uf1.p < _LEVEL / count for pair in study.pairs)
        text = f"{protocol}: {numbered(count, 'comparison')}."
        if count > 1:
            text += (
                f" If no methods differed, about one comparison in twenty would still have p <"
                f" {_LEVEL}. Therefore compare p-values with {_LEVEL}/{count} ="
                f" {_LEVEL / count:.2g} (Bonferroni correction). In UF1, {below} of {count} are"
                f" below this threshold."
            )
        table = _pairs_table(study)
        folded = count > _OPEN_ROWS
        blocks += [
            Text(text),
            Part(f"All {count} comparisons, {protocol}", [table], folded=True) if folded else table,
        ]
    if study.refused:
        texts = [Text(reason) for reason in study.refused]
        heading = f"Not compared, {protocol} ({len(study.refused)})"
        blocks.append(Part(heading, texts, folded=len(texts) > _OPEN_REASONS))
    return blocks


def _pairs_table(study: Study) -> Table:
    held_out = study.protocol == "hde"
    rows = []
    for pair in study.pairs:
        tests = pair.tests
        digests = {run.record.data.sha256 for m in (pair.first, pair.second) for run in m.runs}
        mcnemar = tests.mcnemar
        cells = (
            *(pair.first.label, pair.second.label),
            *([group_title(pair.group)] if held_out else []),
            *(_difference(tests.uf1.difference), _p(tests.uf1.p)),
            *(_difference(tests.uar.difference), _p(tests.uar.p)),
            *(mcnemar.only_first, mcnemar.only_second, _p(mcnemar.p)),
            *(tests.subjects, tests.differing_subjects, tests.clips, listed(tests.seeds)),
            "equal" if len(digests) == 1 else "differ",
        )
        rows.append(row(*cells))
    names = ["Δ", "p", "Δ", "p", "Only first correct", "Only second correct", "p"]
    names += ["Subjects", "Differing subjects", "Clips", "Seeds", "Data digests"]
    return Table(
        caption=f"Paired tests, {study.protocol.upper()}",
        columns=["First", "Second", *(["Held out"] if held_out else []), *names],
        rows=rows,
        headers=2,
        groups=[("UF1", 2), ("UAR", 2), ("McNemar", 3), ("Compared data", 5)],
        words=frozenset({2, 14} if held_out else {13}),
        kind="pairs",
    )


def _difference(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 0.00005 else "<0.0001"


def inflation(overview: Overview) -> list[Block]:
    """Return results beside inflated scores; nothing if no method kept scores of single epochs."""
    studies = [study for study in overview.studies if study.inflation]
    if not studies:
        return []
    blocks: list[Block] = [
        Text(
            "Only the columns “result” are results: their epochs were chosen without test labels."
            " (a) and (b) are NOT results. They are the scores obtained by choosing the epoch on"
            " the test clips: (a) the same epoch for all folds, the one with the best UF1; (b) the"
            " best epoch of each fold (most clips correct). Selected this way, even models trained"
            " on shuffled labels score above chance.",
            "note",
        )
    ]
    for study in studies:
        inflated = {m.label: study.inflation[m.label] for m in study.methods
                    if m.label in study.inflation}  # fmt: skip
        grid, rows = [], []
        for group in study.groups:
            if group in published.DATABASES and study.protocol == "cde":
                continue  # The table below has these.
            bars = [
                charts.Bars(label, *(uf1 for uf1, _ in figures[group]))
                for label, figures in inflated.items()
                if group in figures
            ]
            title = (
                f"{study.protocol.upper()}: UF1, {group_in_words(group)};"
                f" dashed bars are not results"
            )
            grid.append(charts.inflation_chart(title, bars))
        for label, figures in inflated.items():
            for group, kinds in figures.items():
                scores = [f"{kind[i]:.3f}" for i in (0, 1) for kind in kinds]
                rows.append(row(label, group_title(group), *scores))
        columns = ["result", "(a) NOT a result", "(b) NOT a result"]
        blocks += [
            Grid(grid, "wide"),
            Table(
                caption=f"Results, and scores with epochs chosen on the test clips,"
                f" {study.protocol.upper()}",
                columns=["Method", "Database", *columns, *columns],
                rows=rows,
                headers=2,
                groups=[("UF1", 3), ("UAR", 3)],
            ),
        ]
        without = [m.label for m in study.methods if m.label not in inflated]
        if without:
            blocks.append(
                Text(f"Scores of single epochs were not saved for {listed(without)}.", "quiet")
            )
    return blocks
