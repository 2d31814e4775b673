"""The tables of the paper with the scores of runs beside the published scores."""

from collections.abc import Mapping, Sequence

from atnet_jax import published
from atnet_jax.evaluation.metrics import Evaluation
from atnet_jax.evaluation.report import markdown
from atnet_jax.evaluation.report.blocks import ABSENT, Block, Cell, Row, Table, Text, row
from atnet_jax.evaluation.report.overview import (
    DIGESTS,
    PROTOCOLS,
    Overview,
    Protocol,
    Study,
    chance_scores,
    data_note,
    group_title,
    most_frequent,
    rounded,
    with_sd,
)
from atnet_jax.evaluation.report.study import Method
from atnet_jax.evaluation.runs import TABLES
from atnet_jax.names import CLASSES
from atnet_jax.words import numbered


def tables(overview: Overview, study: Study) -> list[Block]:
    """Return the paper's table of a protocol with the published rows and the runs' rows."""
    about, paper = PROTOCOLS[study.protocol], TABLES[study.protocol]
    # A single method, in any variants, is shown beside its own row, others within the whole table.
    several = len({method.base for method in study.methods}) > 1
    bases = list(paper) if several else []
    bases += [method.base for method in study.methods]
    has_paper = any(base in paper for base in bases)
    groups = study.groups
    if has_paper:
        others = [group for group in groups if group not in published.COMPOSITE]
        groups = [*(group for group in groups if group == "full"), *published.DATABASES, *others]
    rows = []
    for base in dict.fromkeys(bases):
        if base in paper:
            rows.append(_paper_row(study.protocol, base, groups))
        ours = [method for method in study.methods if method.base == base]
        for method in ours:
            source = Cell("ours", _source(overview, method))
            figures = {
                group: [with_sd(getattr(summary, name)) for name in about.metrics]
                for group, summary in method.summary.items()
            }
            kind = "" if method.is_control else "ours"
            rows.append(_row(base, source, groups, figures, about, kind))
        if not ours:
            rows.append(_row(base, Cell("ours", "(not run)"), groups, {}, about))
    rows += _chance_rows(overview, study, groups)
    caption = f"{about.table}, {study.protocol.upper()}: published scores and ours"
    notes = [
        _source_note(about, has_paper=has_paper),
        "The paper reports neither seeds nor intervals." if has_paper else "",
        "Our scores are means over the seeds, with standard deviations (±) for several seeds."
        if any(len(method.runs) > 1 for method in study.methods)
        else "",
    ]
    blocks: list[Block] = [
        _results_table(caption, study.protocol, groups, rows),
        Text(" ".join(filter(None, notes)), "quiet"),
    ]
    if len(overview.lists_of_clips()) == 1:
        blocks.append(Text(data_note(study.methods[0].runs[0].metrics), "quiet"))
    if len({run.record.data.sha256 for method in study.methods for run in method.runs}) > 1:
        blocks.append(Text(f"Data digests differ between methods. {DIGESTS}", "quiet"))
    return blocks


def _results_table(
    caption: str, protocol: str, groups: Sequence[str], rows: Sequence[Row]
) -> Table:
    names = list(PROTOCOLS[protocol].metrics.values())
    return Table(
        caption=caption,
        columns=["Method", "Source", *names * len(groups)],
        rows=rows,
        headers=2,
        groups=[(group_title(group), len(names)) for group in groups],
        kind="results",
    )


def _row(
    base: str,
    source: Cell,
    groups: Sequence[str],
    figures: Mapping[str, Sequence[Cell]],
    about: Protocol,
    kind: str = "",
) -> Row:
    absent = [Cell(ABSENT)] * len(about.metrics)
    cells = (cell for group in groups for cell in figures.get(group, absent))
    return row(base, source, *cells, kind=kind)


def _paper_row(protocol: str, base: str, groups: Sequence[str]) -> Row:
    figures = {
        group: [Cell(rounded(score)) for score in scores]
        for group, scores in TABLES[protocol][base].items()
    }
    return _row(base, Cell("paper"), groups, figures, PROTOCOLS[protocol], "paper")


def _chance_rows(overview: Overview, study: Study, groups: Sequence[str]) -> list[Row]:
    """Return rows with the scores of always predicting the most frequent class of each data set."""
    about, rows = PROTOCOLS[study.protocol], []
    by_control = sorted(study.methods, key=lambda method: method.is_control, reverse=True)
    # The last method of each letter is kept: one with true labels, if there is one.
    for letter, method in {overview.data(method): method for method in by_control}.items():
        answer = most_frequent(method.runs[0].metrics)
        figures = {
            group: [
                Cell(rounded(sum(scores[name] for scores in of_seeds) / len(of_seeds)))
                for name in about.metrics
            ]
            for group in method.summary
            for of_seeds in [
                [chance_scores(run.metrics[group]["counts"], answer) for run in method.runs]
            ]
        }
        data = f"(data {letter})" if len(overview.lists_of_clips()) > 1 else ""
        source = Cell(f"always {CLASSES[answer]}", data)
        rows.append(_row("Chance", source, groups, figures, about))
    return rows


def _source(overview: Overview, method: Method) -> str:
    """Return the variant, number of seeds and data of a method in parentheses."""
    parts = [method.variant] if method.variant else []
    if len(method.runs) > 1:
        parts.append(numbered(len(method.runs), "seed"))
    if len(overview.lists_of_clips()) > 1:
        parts.append(f"data {overview.data(method)}")
    return f"({'; '.join(parts)})" if parts else ""


def _source_note(about: Protocol, *, has_paper: bool) -> str:
    if not has_paper:
        return "The paper does not report this method."
    return f"Published scores were measured on the real databases (paper, {about.table})."


def table_markdown(
    protocol: str,
    results: Mapping[str, Evaluation],
    title: str,
    paper_row: str | None,
    notes: Sequence[str] = (),
) -> str:
    """Lay out a run's scores below the paper's row in Markdown.

    Args:
        protocol: "cde" (paper, Table II) or "hde" (Table III).
        results: Result of `metrics.evaluate`.
        title: Heading of the page, e.g. the method and seed.
        paper_row: The method's row in the paper's tables; None if the paper does not report it.
        notes: Sentences that a reader must know before the scores.

    Returns:
        The Markdown text.
    """
    about = PROTOCOLS[protocol]
    ours = {
        group: [Cell(rounded(scores[name])) for name in about.metrics]  # pyright: ignore[reportTypedDictNotRequiredAccess]
        for group, scores in results.items()
    }
    others = sorted(set(results) - set(published.COMPOSITE))
    shown = [name for name in published.DATABASES if paper_row is not None or name in results]
    groups = [*(["full"] if protocol == "cde" else []), *shown, *others]
    rows = [_row(title if paper_row is None else paper_row, Cell("this run"), groups, ours, about)]
    if paper_row is not None:
        rows.insert(0, _paper_row(protocol, paper_row, groups))
    in_paper = {group: str(counts.clips) for group, counts in published.COMPOSITE.items()}
    here = {group: str(scores["clips"]) for group, scores in results.items()}
    clips = [
        ["Clips", *map(group_title, groups)],
        ["paper", *(in_paper.get(group, ABSENT) for group in groups)],
        ["this run", *(here.get(group, ABSENT) for group in groups)],
    ]
    escape = markdown.escape
    parts = [f"# {escape(title)}", f"{about.name}. {about.meaning}"]
    parts += [f"**Note: {escape(note)}**" for note in notes]
    parts.append(markdown.render_table(_results_table("", protocol, groups, rows)))
    parts.append(markdown.table([[escape(cell) for cell in row] for row in clips]))
    parts.append(_source_note(about, has_paper=paper_row is not None))
    parts.append(data_note(results))
    return "\n\n".join(parts) + "\n"
