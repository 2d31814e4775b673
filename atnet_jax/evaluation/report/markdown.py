"""The report's tables as Markdown, which a forge or an editor shows."""

import re
from collections.abc import Sequence

from atnet_jax.evaluation.report.blocks import (
    MARK,
    Block,
    Code,
    Document,
    Part,
    Table,
    Text,
    Tiles,
    fit,
    ungrid,
)


def render(document: Document) -> str:
    """Return the document as Markdown, without its charts."""
    parts = [f"<!-- {MARK}. -->", f"# {escape(document.title)}", escape(document.kicker)]
    for block in ungrid(document.opening):
        parts += _block(block, 2)
    for section in (section for section in document.sections if not section.page_only):
        parts.append(f"## {escape(section.heading)}")
        for block in ungrid(section.blocks):
            parts += _block(block, 3)
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Escape a text so that Markdown shows it as it is, on one line."""
    return re.sub(r"([\\`*_\[\]<>|&#~$])", r"\\\1", " ".join(fit(text).split()))


def _paragraph(text: str) -> str:
    """Escape also what would begin a list or underline a heading."""
    return re.sub(r"^([0-9]*)([-+=.)])", r"\1\\\2", escape(text))


def table(rows: Sequence[Sequence[str]], left: frozenset[int] = frozenset({0})) -> str:
    """A table of escaped cells whose columns line up in the source too; numbers are set right."""
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


def _block(block: Block, level: int) -> list[str]:
    match block:
        case Text(text, kind):
            return [f"**Note: {escape(text)}**" if kind == "note" else _paragraph(text)]
        case Code(text):
            fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
            return [f"{fence}\n{fit(text)}\n{fence}"]
        case Tiles(tiles):
            return [
                "; ".join(
                    f"{escape(name)} {escape(value)} (chance {escape(chance)})"
                    for name, value, chance in tiles
                )
            ]
        case Part(heading, blocks):
            inside = [text for item in ungrid(blocks) for text in _block(item, level + 1)]
            return [f"{'#' * level} {escape(heading)}", *inside]
        case Table():
            return [f"**{escape(block.caption)}**", render_table(block)]
        case _:
            raise TypeError(f"no Markdown for {type(block).__name__}")


def render_table(block: Table) -> str:
    """A table without its caption; the title of a group stands before its first column."""
    titles = list(block.columns)
    position = block.ungrouped
    for title, span in block.groups:
        titles[position] = f"{title} {titles[position]}"
        position += span
    rows = [titles, *([cell.line for cell in row.cells] for row in block.rows)]
    left = frozenset(range(block.headers)) | block.words
    return table([[escape(cell) for cell in row] for row in rows], left)
