"""The HTML page of a report: one file with its style, without external resources or scripts."""

import itertools

from atnet_jax.evaluation.report import templates
from atnet_jax.evaluation.report.blocks import MARK, Block, Cell, Document, Row, Table

_TEMPLATES = templates.load()


def render(document: Document) -> str:
    """Return the document as one HTML file."""
    next_number = itertools.count(1).__next__  # Elements of a chart refer to its number.
    return _TEMPLATES.get_template("report.html.jinja").render(
        document=document, mark=MARK, next_number=next_number
    )


def _kind(block: Block) -> str:
    return type(block).__name__


def _bodies(table: Table) -> list[list[Row]]:
    """Return the rows in one group, or with two headers in groups of equal first headers."""
    if table.headers < 2:
        return [[*table.rows]] if table.rows else []
    return [[*rows] for _, rows in itertools.groupby(table.rows, key=lambda row: row.cells[0])]


def _classes(table: Table, column: int, cell: Cell | None = None) -> str | None:
    """Return the CSS classes of a cell or of the header of a column."""
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
