"""The report as a page: one file that needs no network and no script, its style inside it."""

import html
import itertools
from collections.abc import Iterator, Sequence

from atnet_jax.evaluation.report.blocks import (
    MARK,
    Block,
    Cell,
    Chart,
    Code,
    Document,
    Grid,
    Part,
    Row,
    Section,
    Table,
    Text,
    Tiles,
    fit,
)
from atnet_jax.evaluation.report.style import STYLE


def render(document: Document) -> str:
    """Return the document as one HTML file."""
    ids = itertools.count(1)
    links = "".join(
        f'<a href="#{section.key}">{_text(section.heading)}</a>' for section in document.sections
    )
    opening = "".join(_block(block, 2, ids) for block in document.opening)
    body = "".join(_section(section, ids) for section in document.sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<!-- {MARK}. -->\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{_text(document.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#content">Skip to the contents</a>\n<main id="content">\n'
        f'<header><p class="kicker">{_text(document.kicker)}</p>'
        f"<h1>{_text(document.title)}</h1>{opening}</header>\n"
        f'<nav aria-label="Sections">{links}</nav>\n{body}</main>\n</body>\n</html>\n'
    )


def _text(value: str) -> str:
    return html.escape(fit(value))


def _section(section: Section, ids: Iterator[int]) -> str:
    content = "".join(_block(block, 3, ids) for block in section.blocks)
    return (
        f'<section id="{section.key}" aria-labelledby="{section.key}-heading">'
        f'<h2 id="{section.key}-heading">{_text(section.heading)}</h2>{content}</section>\n'
    )


def _block(block: Block, level: int, ids: Iterator[int]) -> str:
    """A block; headings inside it are of that level or below."""
    match block:
        case Text():
            kind = f' class="{block.kind}"' if block.kind else ""
            return f"<p{kind}>{_text(block.text)}</p>"
        case Code():
            # Long lines scroll by themselves; tabindex lets a keyboard reach them.
            return f'<pre tabindex="0"><code>{_text(block.text)}</code></pre>'
        case Table():
            return _table(block)
        case Chart():
            return _chart(block, f"chart-{next(ids)}")
        case Tiles():
            return _tiles(block)
        case Grid():
            inside = "".join(_block(item, level, ids) for item in block.blocks)
            return f'<div class="{f"grid {block.kind}".strip()}">{inside}</div>'
        case Part():
            inside = "".join(_block(item, level + 1, ids) for item in block.blocks)
            heading = f"<h{level}>{_text(block.heading)}</h{level}>"
            if block.folded:
                return f"<details><summary>{heading}</summary>{inside}</details>"
            return f"{heading}{inside}"


def _tiles(block: Tiles) -> str:
    cells = "".join(
        f'<div><dt>{_text(name)}</dt><dd>{_text(value)}<span class="chance">chance'
        f" {_text(chance)}</span></dd></div>"
        for name, value, chance in block.tiles
    )
    return f'<dl class="tiles">{cells}</dl>'


def _chart(chart: Chart, key: str) -> str:
    return (
        f"<figure><figcaption>{_text(chart.title)}</figcaption>"
        f'<svg viewBox="0 0 {chart.width} {chart.height}" role="img"'
        f' aria-labelledby="{key}-title {key}-desc"><title id="{key}-title">{_text(chart.title)}'
        f'</title><desc id="{key}-desc">{_text(chart.description)}</desc>{chart.drawing}</svg>'
        "</figure>"
    )


def _table(table: Table) -> str:
    """A table in a container of its own to scroll in, which tabindex lets a keyboard reach."""
    kind = f' class="{table.kind}"' if table.kind else ""
    bodies = "".join(
        f"<tbody>{_body(table, rows)}</tbody>"
        for rows in (
            _blocks_of_rows(table.rows) if table.headers == 2 else [table.rows] * bool(table.rows)
        )
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{_text(table.caption)}">'
        f"<table{kind}><caption>{_text(table.caption)}</caption>"
        f"<thead>{_head(table)}</thead>{bodies}</table></div>"
    )


def _head(table: Table) -> str:
    edges = _edges(table)
    span = ' rowspan="2"' if table.groups else ""
    cells = [
        f'<th scope="col"{span if i < table.ungrouped else ""}{_class(table, i, edges)}>'
        f"{_text(name)}</th>"
        for i, name in enumerate(table.columns)
    ]
    if not table.groups:
        return f"<tr>{''.join(cells)}</tr>"
    tops = "".join(
        f'<th scope="colgroup" colspan="{span}" class="group">{_text(title)}</th>'
        for title, span in table.groups
    )
    first, second = cells[: table.ungrouped], cells[table.ungrouped :]
    return f"<tr>{''.join(first)}{tops}</tr><tr>{''.join(second)}</tr>"


def _blocks_of_rows(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows that follow each other with an equal first cell."""
    return [list(group) for _, group in itertools.groupby(rows, key=lambda row: row.cells[0])]


def _body(table: Table, rows: Sequence[Row]) -> str:
    edges = _edges(table)
    lines = []
    for number, row in enumerate(rows):
        cells = []
        for i, cell in enumerate(row.cells):
            if table.headers == 2 and i == 0:
                if number == 0:
                    cells.append(
                        f'<th scope="rowgroup" rowspan="{len(rows)}" class="about">{_cell(cell)}'
                        "</th>"
                    )
            elif i < table.headers:
                kind = "about" if i == 0 else "second"
                cells.append(f'<th scope="row" class="{kind}">{_cell(cell)}</th>')
            else:
                mark = "right" if cell.marked else ""
                style = "" if cell.share is None else f' style="--share:{cell.share:.3f}"'
                cells.append(f"<td{_class(table, i, edges, mark)}{style}>{_cell(cell)}</td>")
        kind = f' class="{row.kind}"' if row.kind else ""
        lines.append(f"<tr{kind}>{''.join(cells)}</tr>")
    return "".join(lines)


def _cell(cell: Cell) -> str:
    small = f"<small>{_text(cell.small)}</small>" if cell.small else ""
    return f"{_text(cell.text)} {small}".strip()


def _edges(table: Table) -> frozenset[int]:
    """The columns that begin a group."""
    spans = [span for _, span in table.groups]
    return (
        frozenset(itertools.accumulate(spans[:-1], initial=table.ungrouped))
        if spans
        else frozenset()
    )


def _class(table: Table, column: int, edges: frozenset[int], more: str = "") -> str:
    names = [more] if more else []
    if column >= table.headers and column not in table.words:
        names.append("number")
    if column in edges:
        names.append("group")
    return f' class="{" ".join(names)}"' if names else ""
