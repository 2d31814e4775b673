"""What a run is read by: a Markdown table and a page, each with the paper's row beside the run's.

The page is one HTML file that needs no network and no script: style and drawings are inside it.
Names come from users' files, so every one is escaped.
"""

import html
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypedDict

import numpy as np

from atnet_jax import metrics, published
from atnet_jax.classes import CLASSES
from atnet_jax.metrics import Evaluation
from atnet_jax.predictions import Prediction

ABSENT = "–"
"""Stands where there is no value: the paper has no such column, or the run no such database."""


class Curve(TypedDict):
    """What one fold's training recorded: its name, and a value of each kind per epoch."""

    name: str
    epoch: Sequence[int]
    loss: Sequence[float]
    accuracy: Sequence[float]


class Exclusion(NamedTuple):
    """A row of a database's annotation that gives no clip, and why."""

    dataset: str
    clip: str
    reason: str


@dataclass(frozen=True)
class RunResults:
    """Everything the page shows.

    Attributes:
        protocol: "cde" or "hde".
        model: name of the method.
        paper_row: the method's row in the paper's tables, None if the paper does not have it.
        predictions: the tested clips of one run (one seed).
        metrics: `metrics.evaluate(predictions)`.
        curves: training curves by fold; empty for a method that is not trained by epochs.
        config: the run's configuration; may be nested.
        notes: what a reader must know first, e.g. "labels were shuffled: control run".
        versions: package -> version.
        device: what the run was computed on.
        exclusions: rows of the annotations that gave no clip.
        command: the command line that repeats the run.
    """

    protocol: str
    model: str
    paper_row: str | None
    predictions: Sequence[Prediction]
    metrics: Mapping[str, Evaluation]
    curves: Mapping[int, Curve]
    config: Mapping[str, Any]
    notes: Sequence[str] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    device: str = ""
    exclusions: Sequence[Exclusion] = ()
    command: str = ""


class _Protocol(NamedTuple):
    name: str
    meaning: str
    table: str
    published: Mapping[str, Mapping[str, tuple[float, ...]]]
    has_full: bool


_PROTOCOLS = {
    "cde": _Protocol(
        name="Composite database evaluation (CDE)",
        meaning="Leave-one-subject-out over all databases together; "
        "the predictions of all folds are pooled, then scored.",
        table="Table II",
        published=published.TABLE_II,
        has_full=True,
    ),
    "hde": _Protocol(
        name="Holdout-database evaluation (HDE)",
        meaning="Each database is tested by a model trained on the other ones.",
        table="Table III",
        published=published.TABLE_III,
        has_full=False,
    ),
}

_METRICS = ("Acc", "UF1", "UAR")


class _Group(NamedTuple):
    """One group of columns of the results table: the composite, or a database."""

    title: str
    clips: int | None
    paper_clips: int | None
    scores: tuple[str, ...]
    paper_scores: tuple[str, ...]


def table_markdown(
    protocol: str,
    results: Mapping[str, Evaluation],
    title: str,
    paper_row: str | None,
    notes: Sequence[str] = (),
) -> str:
    """Lay the run's scores out as the paper does, its row above the run's, in Markdown.

    Args:
        protocol: "cde" (paper, Table II) or "hde" (Table III).
        results: what `metrics.evaluate` returned.
        title: heading of the page, e.g. the method and seed.
        paper_row: the method's row in the paper's tables, None if the paper does not have it.
        notes: what a reader must know first.

    Raises:
        ValueError: the protocol is unknown, or the paper's table has no such row.
    """
    about = _protocol(protocol)
    groups = _groups(protocol, results, paper_row)
    head = ["Method"]
    paper = [f"paper: {_markdown(str(paper_row))}"]
    ours = ["this run"]
    for group in groups:
        head += [f"{_markdown(group.title)} {_METRICS[0]}", *_METRICS[1:]]
        paper += group.paper_scores
        ours += group.scores
    clips = [
        ["Clips", *(_markdown(group.title) for group in groups)],
        ["paper", *(_or_absent(group.paper_clips) for group in groups)],
        ["this run", *(_or_absent(group.clips) for group in groups)],
    ]
    parts = [f"# {_markdown(title)}", f"{about.name}. {about.meaning}"]
    parts += [f"**Note: {_markdown(note)}**" for note in notes]
    parts += [_markdown_table([head, paper, ours] if paper_row is not None else [head, ours])]
    parts += [_markdown_table(clips)]
    parts += [_source_note(protocol, paper_row), _data_note(results)]
    return "\n\n".join(parts) + "\n"


def build(run: RunResults) -> str:
    """Return the page of a run: one self-contained HTML document.

    Raises:
        ValueError: the protocol is unknown, or the paper's table has no such row.
    """
    about = _protocol(run.protocol)
    sections = [
        ("results", "Results", _results_section(run)),
        ("confusion", "Confusion matrices", _confusion_section(run)),
        ("curves", "Learning curves", _curves_section(run)),
        ("subjects", "Subjects", _subjects_section(run)),
        ("misread", "Clips read wrong", _misread_section(run)),
        ("setup", "How it was run", _setup_section(run)),
    ]
    sections = [section for section in sections if section[2]]
    links = "".join(f'<a href="#{key}">{heading}</a>' for key, heading, _ in sections)
    body = "".join(
        f'<section id="{key}" aria-labelledby="{key}-heading">'
        f'<h2 id="{key}-heading">{heading}</h2>{content}</section>\n'
        for key, heading, content in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{_text(run.model)} · {run.protocol.upper()}</title>\n"
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<header><p class="kicker">{about.name}</p><h1>{_text(run.model)}</h1>'
        f"<p>{about.meaning}</p>{_summary(run)}</header>\n"
        f'<nav aria-label="Sections">{links}</nav>\n{body}</main>\n</body>\n</html>\n'
    )


# What both share.


def _protocol(protocol: str) -> _Protocol:
    if protocol not in _PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; expected one of {sorted(_PROTOCOLS)}")
    return _PROTOCOLS[protocol]


def _groups(
    protocol: str, results: Mapping[str, Evaluation], paper_row: str | None
) -> list[_Group]:
    """The column groups: what the paper's table has, then the run's other databases."""
    about = _protocol(protocol)
    if paper_row is not None and paper_row not in about.published:
        rows = ", ".join(about.published)
        raise ValueError(f"no row {paper_row!r} in the paper's {about.table}; it has {rows}")
    keys = ["full"] if about.has_full else []
    keys += [key for key in published.DATABASES if paper_row is not None or key in results]
    keys += sorted(set(results) - set(published.COMPOSITE))
    groups = []
    for key in keys:
        ours = results.get(key)
        paper = about.published[paper_row].get(key) if paper_row is not None else None
        # Table III has no accuracy.
        paper_scores = (None,) * 3 if paper is None else (None,) * (3 - len(paper)) + tuple(paper)
        scores = (ours["accuracy"], ours["uf1"], ours["uar"]) if ours else (None,) * 3
        groups.append(
            _Group(
                title=_database_title(key),
                clips=ours["clips"] if ours else None,
                paper_clips=published.COMPOSITE[key].clips if key in published.COMPOSITE else None,
                scores=tuple(map(_score, scores)),
                paper_scores=tuple(map(_score, paper_scores)),
            )
        )
    return groups


def _source_note(protocol: str, paper_row: str | None) -> str:
    if paper_row is None:
        return "The paper gives no figures for this method."
    table = _protocol(protocol).table
    return f"Published figures are for the real databases (paper, {table})."


def _is_composite(results: Mapping[str, Evaluation]) -> bool:
    """Whether the run scored as many clips and subjects of every class as the paper did."""
    counts = {
        key: (scores["clips"], scores["subjects"], *(scores["counts"][cls] for cls in CLASSES))
        for key, scores in results.items()
    }
    return counts == dict(published.COMPOSITE)


def _data_note(results: Mapping[str, Evaluation]) -> str:
    paper, ours = published.COMPOSITE["full"], results["full"]
    if _is_composite(results):
        return (
            f"The clips are as many as the paper's, in every database and class: "
            f"{paper.clips} clips of {paper.subjects} subjects."
        )
    return (
        f"These are not the paper's {paper.clips} clips of {paper.subjects} subjects: this run "
        f"scored {_plural(ours['clips'], 'clip')} of {_plural(ours['subjects'], 'subject')}, "
        "so its figures cannot be compared with published ones."
    )


def _database_title(key: str) -> str:
    return "Full" if key == "full" else published.DATABASES.get(key, key)


def _score(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.3f}"


def _or_absent(value: int | None) -> str:
    return ABSENT if value is None else str(value)


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


# Markdown.


def _markdown(name: str) -> str:
    """Escape a name so that Markdown shows it as it is, on one line."""
    return re.sub(r"([\\`*_\[\]<>|&#~$])", r"\\\1", " ".join(name.split()))


def _markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """A table whose columns line up in the source too; all but the first are right-aligned."""
    widths = [max(3, *(len(row[i]) for row in rows)) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append(f"| {' | '.join(cells)} |")
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines.insert(1, f"| {' | '.join(rule)} |")
    return "\n".join(lines)


# The page.


def _text(value: object) -> str:
    return html.escape(str(value))


def _table(
    head: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    caption: str = "",
    numbers: frozenset[int] = frozenset(),
) -> str:
    """A table in a container of its own to scroll in; `numbers` are the columns set right.

    All cells are escaped here. The first cell of a row is its header.
    """
    kinds = [' class="number"' if i in numbers else "" for i in range(len(head))]
    heads = zip(kinds, head, strict=True)
    top = "".join(f'<th scope="col"{kind}>{_text(cell)}</th>' for kind, cell in heads)
    lines = []
    for row in rows:
        cells = [f'<th scope="row"{kinds[0]}>{_text(row[0])}</th>']
        rest = zip(kinds[1:], row[1:], strict=True)
        cells += [f"<td{kind}>{_text(cell)}</td>" for kind, cell in rest]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    title = f"<caption>{_text(caption)}</caption>" if caption else ""
    return _scrolling(
        f"<table>{title}<thead><tr>{top}</tr></thead><tbody>{''.join(lines)}</tbody></table>",
        caption or head[0],
    )


def _scrolling(table: str, name: str) -> str:
    """Wide tables scroll by themselves; tabindex lets a keyboard reach and scroll them."""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{_text(name)}">{table}</div>'
    )


def _details(summary: str, content: str) -> str:
    return f"<details><summary>{_text(summary)}</summary>{content}</details>"


def _summary(run: RunResults) -> str:
    """The scores over all clips, what guessing gives, and what a reader must know first."""
    full = run.metrics["full"]
    counts = [full["counts"][cls] for cls in CLASSES]
    frequent = int(np.argmax(counts))
    guess = np.zeros((len(CLASSES), len(CLASSES)), dtype=np.int64)
    guess[:, frequent] = counts
    tiles = [
        ("UF1", full["uf1"], metrics.uf1(guess)),
        ("UAR", full["uar"], metrics.uar(guess)),
        ("Accuracy", full["accuracy"], metrics.accuracy(guess)),
    ]
    cells = "".join(
        f'<div><dt>{name}</dt><dd>{value:.3f}<span class="chance">chance {chance:.3f}</span>'
        "</dd></div>"
        for name, value, chance in tiles
    )
    classes = ", ".join(f"{count} {cls}" for count, cls in zip(counts, CLASSES, strict=True))
    folds = len({row.fold for row in run.predictions})
    seeds = sorted({row.seed for row in run.predictions})
    facts = [
        _plural(full["clips"], "clip"),
        _plural(full["subjects"], "subject"),
        _plural(folds, "fold"),
        f"seed {', '.join(map(str, seeds))}",
    ]
    notes = [*run.notes, *([] if _is_composite(run.metrics) else [_data_note(run.metrics)])]
    callouts = "".join(f'<p class="note">{_text(note)}</p>' for note in notes)
    return (
        f'{callouts}<dl class="tiles">{cells}</dl>'
        f"<p>{' · '.join(facts)} · {classes}.</p>"
        f'<p class="quiet">Over all clips pooled. Chance is always answering '
        f"“{CLASSES[frequent]}”, the most frequent class.</p>"
    )


def _results_section(run: RunResults) -> str:
    groups = _groups(run.protocol, run.metrics, run.paper_row)
    tops, names = [], []
    for group in groups:
        clips = "no clips" if group.clips is None else _plural(group.clips, "clip")
        if group.paper_clips is not None and group.paper_clips != group.clips:
            clips += f", paper {group.paper_clips}"
        tops.append(
            f'<th scope="colgroup" colspan="3" class="group">{_text(group.title)}'
            f"<small>{clips}</small></th>"
        )
        names += [
            f'<th scope="col" class="number{edge}">{name}</th>'
            for name, edge in zip(_METRICS, (" group", "", ""), strict=True)
        ]
    rows = [("This run", [group.scores for group in groups], ' class="ours"')]
    if run.paper_row is not None:
        rows.insert(0, (f"Paper: {run.paper_row}", [group.paper_scores for group in groups], ""))
    lines = []
    for name, scores, kind in rows:
        cells = "".join(
            f'<td class="number{edge}">{score}</td>'
            for group in scores
            for score, edge in zip(group, (" group", "", ""), strict=True)
        )
        lines.append(f'<tr{kind}><th scope="row">{_text(name)}</th>{cells}</tr>')
    table = (
        '<table class="results"><thead>'
        f'<tr><th scope="col" rowspan="2">Method</th>{"".join(tops)}</tr>'
        f"<tr>{''.join(names)}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    )
    note = f"{_source_note(run.protocol, run.paper_row)} {_data_note(run.metrics)}"
    return f'{_scrolling(table, "Results")}<p class="quiet">{_text(note)}</p>'


def _confusion_section(run: RunResults) -> str:
    keys = ["full", *(key for key in published.DATABASES if key in run.metrics)]
    keys += sorted(set(run.metrics) - set(published.COMPOSITE))
    tables = "".join(_confusion_table(key, run.metrics[key]) for key in keys)
    return (
        '<p class="quiet">A row is the true class, a column the predicted one. A cell is a number '
        "of clips and its share of the row; on the diagonal the clip was read right.</p>"
        f'<div class="grid matrices">{tables}</div>'
    )


def _confusion_table(key: str, scores: Evaluation) -> str:
    title = "All databases" if key == "full" else _database_title(key)
    heads = "".join(f'<th scope="col">{cls}</th>' for cls in CLASSES)
    lines = []
    for true, (cls, row) in enumerate(zip(CLASSES, scores["confusion"], strict=True)):
        total = sum(row)
        cells = []
        for column, count in enumerate(row):
            share = count / total if total else 0.0
            percent = f"{share:.0%}" if total else ABSENT
            kind = ' class="right"' if column == true else ""
            cells.append(
                f'<td{kind} style="--share:{share:.3f}">{count}<small>{percent}</small></td>'
            )
        lines.append(f'<tr><th scope="row">{cls}</th>{"".join(cells)}</tr>')
    caption = f"{_text(title)} <small>{_plural(scores['clips'], 'clip')}</small>"
    return _scrolling(
        f'<table class="confusion"><caption>{caption}</caption>'
        '<thead><tr><td rowspan="2">true</td><th scope="colgroup" colspan="3">predicted</th></tr>'
        f"<tr>{heads}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table>",
        f"Confusion matrix: {title}",
    )


def _curves_section(run: RunResults) -> str:
    if not run.curves:
        return ""
    curves = [run.curves[fold] for fold in sorted(run.curves)]
    charts = [
        _line_chart("Training loss", curves, [curve["loss"] for curve in curves], None),
        _line_chart("Training accuracy", curves, [curve["accuracy"] for curve in curves], 1.0),
    ]
    lasts = [
        (
            fold,
            curve["name"],
            len(curve["epoch"]),
            _score(curve["loss"][-1] if curve["loss"] else None),
            _score(curve["accuracy"][-1] if curve["accuracy"] else None),
        )
        for fold, curve in sorted(run.curves.items())
    ]
    table = _table(
        ("Fold", "Held out", "Epochs", "Last loss", "Last accuracy"),
        lasts,
        numbers=frozenset({0, 2, 3, 4}),
    )
    return (
        '<p class="quiet">On the training clips of each fold; the bold line is the mean of the '
        f'folds.</p><div class="grid wide">{"".join(charts)}</div>'
        f"{_details('The last epoch of each fold', table)}"
    )


# A chart's size in its own units; the page scales it.
_WIDTH, _HEIGHT = 460, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 12, 44
# More points than this in one line cannot be told apart at that width.
_POINTS = 200


def _line_chart(
    name: str, curves: Sequence[Curve], values: Sequence[Sequence[float]], top: float | None
) -> str:
    """Draw a value per epoch: a thin line for each fold, a bold one for their mean."""
    lines: list[list[tuple[float, float]]] = []
    by_epoch: dict[float, list[float]] = defaultdict(list)
    for curve, series in zip(curves, values, strict=True):
        points = zip(curve["epoch"], series, strict=True)
        lines.append([(float(x), float(y)) for x, y in points if math.isfinite(y)])
        for x, y in lines[-1]:
            by_epoch[x].append(y)
    if not by_epoch:
        return ""
    mean = [(x, math.fsum(ys) / len(ys)) for x, ys in sorted(by_epoch.items())]
    first, last = mean[0][0], max(mean[-1][0], mean[0][0] + 1)
    highest = top or max(y for line in lines for _, y in line) or 1.0
    y_ticks = _ticks(0.0, highest)
    if y_ticks[-1] < highest:
        y_ticks.append(2 * y_ticks[-1] - y_ticks[-2])

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - first) / (last - first) * (_WIDTH - _LEFT - _RIGHT)
        up = y / y_ticks[-1] * (_HEIGHT - _TOP - _BOTTOM)
        return round(_LEFT + across, 1), round(_HEIGHT - _BOTTOM - up, 1)

    def path(points: Sequence[tuple[float, float]]) -> str:
        step = max(1, math.ceil(len(points) / _POINTS))
        kept = [*points[:-1:step], points[-1]]
        return " ".join("{:g},{:g}".format(*place(x, y)) for x, y in kept)

    drawing = []
    bottom = _HEIGHT - _BOTTOM
    for tick in y_ticks:
        _, y = place(first, tick)
        drawing.append(
            f'<line class="gridline" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
        )
        drawing.append(f'<text x="{_LEFT - 7}" y="{y + 4}" text-anchor="end">{tick:g}</text>')
    for tick in _ticks(first, last, whole=True):
        x, _ = place(tick, 0.0)
        drawing.append(f'<line class="axis" x1="{x}" x2="{x}" y1="{bottom}" y2="{bottom + 4}"/>')
        drawing.append(f'<text x="{x}" y="{bottom + 18}" text-anchor="middle">{tick:g}</text>')
    drawing.append(
        f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{bottom}" y2="{bottom}"/>'
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 6}" text-anchor="middle">'
        "epoch</text>"
    )
    # Many lines on top of each other must stay lighter than their mean.
    opacity = max(0.25, min(0.8, 4 / len(lines)))
    for curve, line in zip(curves, lines, strict=True):
        if line:
            drawing.append(
                f'<polyline class="fold" opacity="{opacity:.2f}" points="{path(line)}">'
                f"<title>{_text(curve['name'])}</title></polyline>"
            )
    x, y = place(*mean[-1])
    drawing.append(f'<polyline class="mean" points="{path(mean)}"/>')
    drawing.append(f'<circle class="end" cx="{x}" cy="{y}" r="3"/>')
    key = name.lower().replace(" ", "-")
    description = (
        f"{name} of {_plural(len(lines), 'fold')} by epoch. The mean of the folds goes from "
        f"{mean[0][1]:.3f} in epoch {mean[0][0]:g} to {mean[-1][1]:.3f} in epoch {mean[-1][0]:g}."
    )
    return (
        f"<figure><figcaption>{name} <small>mean {mean[0][1]:.3f} → {mean[-1][1]:.3f}</small>"
        f'</figcaption><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-labelledby="{key}-title {key}-desc"><title id="{key}-title">{name}</title>'
        f'<desc id="{key}-desc">{description}</desc>{"".join(drawing)}</svg></figure>'
    )


def _ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """Round values from `low` to `high`, about five of them."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * nice for nice in (1, 2, 5, 10) if power * nice >= rough * 0.999)
    if whole:
        step = max(1.0, step)
    start = math.ceil(low / step - 1e-9)
    stop = math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(start, stop + 1)]


def _subjects_section(run: RunResults) -> str:
    tested: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for row in run.predictions:
        tested[row.dataset][row.subject].append(row.label == row.predicted)
    known = [key for key in published.DATABASES if key in tested]
    tables = []
    for dataset in [*known, *sorted(set(tested) - set(known))]:
        lines = []
        for subject, right in sorted(tested[dataset].items()):
            share = sum(right) / len(right)
            lines.append(
                f'<tr><th scope="row">{_text(subject)}</th><td class="number">{len(right)}</td>'
                f'<td class="number">{sum(right)}</td>'
                f'<td class="number bar" style="--share:{share:.3f}">{share:.3f}</td></tr>'
            )
        title = _database_title(dataset)
        count = _plural(len(lines), "subject")
        tables.append(
            _scrolling(
                f"<table><caption>{_text(title)} <small>{count}</small></caption><thead><tr>"
                '<th scope="col">Subject</th><th scope="col" class="number">Clips</th>'
                '<th scope="col" class="number">Right</th>'
                '<th scope="col" class="number">Accuracy</th></tr></thead>'
                f"<tbody>{''.join(lines)}</tbody></table>",
                f"Subjects of {title}",
            )
        )
    return f'<div class="grid">{"".join(tables)}</div>'


def _misread_section(run: RunResults) -> str:
    wrong = [row for row in run.predictions if row.label != row.predicted]
    if not wrong:
        return "<p>None: every clip was read right.</p>"
    wrong.sort(key=lambda row: (row.dataset, row.subject, row.clip))
    rows = [
        (
            row.clip,
            _database_title(row.dataset),
            row.subject,
            CLASSES[row.label],
            CLASSES[row.predicted],
            *map(_score, row.scores),
        )
        for row in wrong
    ]
    head = ("Clip", "Database", "Subject", "True", "Predicted", *(f"p({cls})" for cls in CLASSES))
    table = _table(head, rows, numbers=frozenset({5, 6, 7}))
    total = len(run.predictions)
    return _details(f"{len(wrong)} of {_plural(total, 'clip')}", table)


def _setup_section(run: RunResults) -> str:
    parts = []
    if run.command:
        parts.append(f"<h3>Command</h3><pre><code>{_text(run.command)}</code></pre>")
    about = [*run.versions.items(), *([("device", run.device)] if run.device else [])]
    if about:
        parts.append(_details("Versions and device", _table(("Package", "Version"), about)))
    if run.config:
        rows = list(_flatten(run.config))
        parts.append(_details("Configuration", _table(("Field", "Value"), rows)))
    if run.exclusions:
        reasons: dict[tuple[str, str], list[str]] = defaultdict(list)
        for row in run.exclusions:
            reasons[_database_title(row.dataset), row.reason].append(row.clip)
        rows = [
            (dataset, reason, len(clips), ", ".join(sorted(clips)))
            for (dataset, reason), clips in sorted(reasons.items())
        ]
        table = _table(("Database", "Reason", "Rows", "Which"), rows, numbers=frozenset({2}))
        parts.append(_details(f"Excluded rows ({len(run.exclusions)})", table))
    return "".join(parts)


def _flatten(config: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Fields of a nested configuration with dotted names, in the order they are given."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            shown = value if isinstance(value, str) else json.dumps(value, default=str)
            yield f"{prefix}{name}", shown


_STYLE = """
:root {
  color-scheme: light dark;
  --page: #fafaf8; --surface: #ffffff; --text: #1d2126; --quiet: #5a616b; --rule: #dfe1e5;
  --accent: #1c5d99; --heat: 28 93 153; --heat-most: .5; --note: #fff6dd; --note-rule: #d9a514;
  --shade: rgb(0 0 0 / .16);
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171b; --surface: #1b1f24; --text: #e7e9ec; --quiet: #a3abb6; --rule: #323841;
    --accent: #82b8ee; --heat: 64 132 208; --heat-most: .6; --note: #2d2714; --note-rule: #b78f22;
    --shade: rgb(255 255 255 / .16);
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--page); color: var(--text);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main { max-width: 1120px; margin: 0 auto; padding: 3rem 1.5rem 5rem; }
h1 { margin: 0 0 .5rem; font-size: 2.1rem; line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin: 0 0 1rem; font-size: 1.3rem; }
h3 { margin: 0 0 .5rem; font-size: 1rem; }
p { margin: 0 0 .75rem; max-width: 46rem; overflow-wrap: anywhere; }
small { font-size: .8125rem; font-weight: 400; color: var(--quiet); }
.kicker { margin-bottom: .25rem; color: var(--accent); font-weight: 600; }
.quiet { color: var(--quiet); font-size: .9375rem; }
.note {
  padding: .6rem .9rem; background: var(--note); border-left: 4px solid var(--note-rule);
  border-radius: 4px;
}
.tiles { display: flex; flex-wrap: wrap; gap: 1rem clamp(1rem, 4vw, 3rem); margin: 1.5rem 0 1rem; }
.tiles dt { color: var(--quiet); font-size: .9375rem; }
.tiles dd {
  margin: 0; font-size: clamp(1.6rem, 6.5vw, 2.4rem); line-height: 1.15; font-weight: 600;
  font-variant-numeric: tabular-nums;
}
.chance { display: block; font-size: .875rem; font-weight: 400; color: var(--quiet); }
nav {
  display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin-top: 1.5rem; padding: .75rem 0;
  border-block: 1px solid var(--rule); font-size: .9375rem;
}
a { color: var(--accent); text-underline-offset: .2em; text-decoration-thickness: 1px; }
section { margin-top: 2.75rem; scroll-margin-top: 1rem; }
/* A shade at the edge behind which there is more to scroll to. */
.scroll {
  overflow-x: auto; margin-bottom: 1rem;
  background:
    linear-gradient(to right, var(--page) 30%, transparent) left / 2.5rem 100%,
    linear-gradient(to left, var(--page) 30%, transparent) right / 2.5rem 100%,
    linear-gradient(to right, var(--shade), transparent) left / .75rem 100%,
    linear-gradient(to left, var(--shade), transparent) right / .75rem 100%;
  background-repeat: no-repeat; background-attachment: local, local, scroll, scroll;
}
.scroll:focus-visible, summary:focus-visible, a:focus-visible {
  outline: 2px solid var(--accent); outline-offset: 2px;
}
table { border-collapse: collapse; font-size: .9375rem; font-variant-numeric: tabular-nums; }
caption small { white-space: nowrap; }
caption { padding-bottom: .4rem; text-align: left; font-weight: 600; overflow-wrap: anywhere; }
th, td {
  padding: .3rem .75rem; border-bottom: 1px solid var(--rule); text-align: left;
  vertical-align: baseline;
}
th:first-child, td:first-child { padding-left: .25rem; }
thead th { color: var(--quiet); font-weight: 500; border-bottom-color: var(--quiet); }
tbody th { font-weight: 500; }
.number { text-align: right; }
.results { width: 100%; }
.results th, .results td { padding-inline: .3rem; white-space: nowrap; }
.results thead tr:first-child th[colspan] { color: var(--text); font-weight: 600; border: 0; }
.results small { display: block; }
.results .group { padding-left: 1.25rem; }
.results .ours th, .results .ours td { font-weight: 700; }
.grid {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(19rem, 100%), 1fr));
  gap: 1.5rem 2.5rem; align-items: start;
}
.grid.matrices {
  grid-template-columns: repeat(auto-fit, minmax(min(15.25rem, 100%), 1fr)); column-gap: 1.5rem;
}
.grid.wide { grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); }
.grid table { width: 100%; }
.confusion { table-layout: fixed; font-size: .8125rem; }
.confusion thead td {
  width: 28%; border-bottom-color: var(--quiet); color: var(--quiet); vertical-align: bottom;
}
.confusion thead th[colspan] { padding: 0; border: 0; }
.confusion thead th, .confusion tbody td { text-align: center; }
.confusion th, .confusion td { padding: .4rem .1rem; vertical-align: middle; }
.confusion tbody td {
  border: 2px solid var(--page); font-weight: 600;
  background: rgb(var(--heat) / calc(var(--share) * var(--heat-most)));
}
.confusion tbody small { display: block; color: var(--text); }
.confusion .right { outline: 1.5px solid var(--accent); outline-offset: -3px; }
.bar {
  background: linear-gradient(var(--accent), var(--accent)) no-repeat left bottom;
  background-size: calc(var(--share) * 100%) 2px;
}
figure { margin: 0 0 1rem; }
figcaption { margin-bottom: .4rem; font-weight: 600; font-size: .9375rem; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--quiet); font-size: 12px; }
@media (max-width: 32rem) { svg text { font-size: 15px; } }
.gridline { stroke: var(--rule); }
.axis { stroke: var(--quiet); }
.fold { fill: none; stroke: var(--accent); stroke-width: 1; }
.mean { fill: none; stroke: var(--text); stroke-width: 2.5; stroke-linejoin: round; }
.end { fill: var(--text); }
details { margin-bottom: .75rem; }
summary { padding: .35rem 0; cursor: pointer; font-weight: 500; }
pre {
  margin: 0 0 1rem; padding: .75rem 1rem; overflow-x: auto; background: var(--surface);
  border: 1px solid var(--rule); border-radius: 4px;
}
code { font: .875rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
"""
