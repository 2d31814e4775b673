"""Markdown tables of a report."""

import re
from collections.abc import Sequence

from atnet_jax.evaluation.report.blocks import (
    MARK,
    Code,
    Document,
    Heading,
    Table,
    Text,
    fit,
    paragraphs,
)


def render(document: Document) -> str:
    """Return the document as Markdown, without its charts."""
    return "\n\n".join([f"<!-- {MARK}. -->", *map(_block, paragraphs(document))]) + "\n"


def escape(text: str) -> str:
    """Escape a text so that Markdown shows it unchanged, on one line."""
    return re.sub(r"([\\`*_\[\]<>|&#~$])", r"\\\1", " ".join(fit(text).split()))


def _paragraph(text: str) -> str:
    """Escape a text, including characters that would start a list or underline a heading."""
    return re.sub(r"^([0-9]*)([-+=.)])", r"\1\\\2", escape(text))


def table(rows: Sequence[Sequence[str]], left: frozenset[int] = frozenset({0})) -> str:
    """Lay out a table whose columns are also aligned in the source.

    Args:
        rows: Escaped cells; the first row is the header.
        left: Indices of left-aligned columns; the others are right-aligned.

    Returns:
        The Markdown text.
    """
    widths = [max(3, *(len(row[i]) for row in rows)) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(f"| {' | '.join(cells)} |")
    rule = ["-" * width if i in left else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    lines.insert(1, f"| {' | '.join(rule)} |")
    return "\n".join(lines)


def _block(block: Heading | Text | Code | Table) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {escape(text)}"
        case Text(text, kind):
            return f"**Note: {escape(text)}**" if kind == "note" else _paragraph(text)
        case Code(text):
            fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
            return f"{fence}\n{fit(text)}\n{fence}"
        case Table():
            return f"**{escape(block.caption)}**\n\n{render_table(block)}"


def render_table(block: Table) -> str:
    """Return a table without its caption; the title of a group precedes its first column name."""
    titles = list(block.columns)
    position = block.ungrouped
    for title, span in block.groups:
        titles[position] = f"{title} {titles[position]}"
        position += span
    rows = [titles, *([cell.line for cell in row.cells] for row in block.rows)]
    left = frozenset(range(block.headers)) | block.words
    return table([[escape(cell) for cell in row] for row in rows], left)
