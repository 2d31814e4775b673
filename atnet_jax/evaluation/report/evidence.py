"""How far the figures can be trusted: intervals, paired tests, and inflation."""

from atnet_jax import published
from atnet_jax.evaluation.report import charts
from atnet_jax.evaluation.report.blocks import Block, Chart, Grid, Part, Table, Text, numbered, row
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

# Longer tables, and longer lists of reasons why methods were not compared, are folded away.
_OPEN_ROWS = 12
_OPEN_REASONS = 3
_LEVEL = 0.05


def certainty(overview: Overview) -> list[Block]:
    """Intervals over subjects."""
    blocks: list[Block] = [
        Text(
            "Intervals are of 95 %, by drawing subjects anew within each database (2,000 times, all"
            " clips of a subject together): how far the figure might be from this one with other"
            " people. They do not tell what other training data would give, as folds share most of"
            " theirs, nor, with one seed, what another seed would. With the few subjects of one"
            " database they are a little too narrow. Published figures come without any.",
            "quiet",
        )
    ]
    for study in overview.studies:
        about = PROTOCOLS[study.protocol]
        charted = [_intervals_chart(study, group) for group in study.groups]
        legend = "● ours, with its interval"
        if any(method.paper_row for method in study.methods):
            legend += " · ◇ published"
        drawn = [Grid(charted, "wide"), Text(f"{legend}. The numbers are ours.", "quiet")]
        heading = f"UF1 with its interval, {study.protocol.upper()}"
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
    """Tests of all pairs of methods; nothing where there is one method only."""
    studies = [study for study in overview.studies if len(study.methods) > 1]
    if not studies:
        return []
    blocks: list[Block] = [
        Text(
            "Δ is the first method minus the second, pooled and averaged over the seeds that both"
            " have. Its p comes from swapping the two methods' answers on whole subjects: how often"
            " chance would give a Δ as large, were the methods alike. McNemar's test counts the"
            " clips that only one of the two read right, for the lowest common seed; it takes clips"
            " for independent, which those of one subject are not, so its p is too small where a"
            " method is better on a few subjects. A large p does not show that two methods are"
            " equally good.",
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
                f" With so many, about one in twenty has p < {_LEVEL} by chance alone: hold a p"
                f" against {_LEVEL}/{count} = {_LEVEL / count:.2g}. In UF1, {below} of {count} are"
                f" below that."
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
    names = ["Δ", "p", "Δ", "p", "Only first right", "Only second right", "p"]
    names += ["Subjects", "Of them differing", "Clips", "Seeds", "Data digests"]
    return Table(
        caption=f"Paired tests, {study.protocol.upper()}",
        columns=["First", "Second", *(["Held out"] if held_out else []), *names],
        rows=rows,
        headers=2,
        groups=[("UF1", 2), ("UAR", 2), ("McNemar", 3), ("What it rests on", 5)],
        words=frozenset({2, 14} if held_out else {13}),
        kind="pairs",
    )


def _difference(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 0.00005 else "<0.0001"


def inflation(overview: Overview) -> list[Block]:
    """Results beside what is none; nothing where no scores of single epochs were kept."""
    studies = [study for study in overview.studies if study.inflation]
    if not studies:
        return []
    blocks: list[Block] = [
        Text(
            "Only “result” is a result: its epoch was chosen without any test label. (a) and (b)"
            " are NOT results. They are what one would have claimed by looking at the test clips to"
            " choose when to stop: (a) one epoch for all folds, that of the best UF1; (b) each"
            " fold's own best epoch (most clips right). Even shuffled labels score above chance"
            " that way.",
            "note",
        )
    ]
    for study in studies:
        inflated = {m.label: study.inflation[m.label] for m in study.methods
                    if m.label in study.inflation}  # fmt: skip
        grid, rows = [], []
        for group in study.groups:
            if group in published.DATABASES and study.protocol == "cde":
                continue  # the table has them
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
                caption=f"Results, and what choosing epochs on the test clips would have claimed,"
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
                Text(f"No scores of single epochs were kept for {listed(without)}.", "quiet")
            )
    return blocks
