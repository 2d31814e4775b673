"""The report as a page: one file that needs no network and no script, its style inside it."""

import itertools

from atnet_jax.evaluation.report import templates
from atnet_jax.evaluation.report.blocks import MARK, Block, Cell, Document, Row, Table

_TEMPLATES = templates.load()


def render(document: Document) -> str:
    """Return the document as one HTML file."""
    next_number = itertools.count(1).__next__  # Of charts, whose elements refer to each other.
    return _TEMPLATES.get_template("report.html.jinja").render(
        document=document, mark=MARK, next_number=next_number
    )


def _kind(block: Block) -> str:
    return type(block).__name__


def _bodies(table: Table) -> list[list[Row]]:
    """The rows; with two headers, in groups of those that follow each other with an equal first."""
    if table.headers < 2:
        return [[*table.rows]] if table.rows else []
    return [[*rows] for _, rows in itertools.groupby(table.rows, key=lambda row: row.cells[0])]


def _classes(table: Table, column: int, cell: Cell | None = None) -> str | None:
    """The classes of a cell, or of a column's heading; a column begins a group or holds numbers."""
    spans = [span for _, span in table.groups]
    edges = itertools.accumulate(spans[:-1], initial=table.ungrouped) if spans else ()
    names = ["right"] if cell and cell.marked else []
    if column >= table.headers and column not in table.words:
        names.append("number")
    if column in edges:
        names.append("group")
    return " ".join(names) or None


def _shade(cell: Cell) -> str | None:
    return None if cell.share is None else f"--share:{cell.share:.3f}"


_TEMPLATES.filters |= {"kind": _kind, "bodies": _bodies, "classes": _classes, "shade": _shade}
