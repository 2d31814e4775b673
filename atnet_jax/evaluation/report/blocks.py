"""What a report is made of, before it is known in which format it will be written.

Texts and names are plain here; every format escapes all of them itself.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

MARK = "Written by atnet_jax.report"
"""Every file of a report says so near its beginning; a file that does not is not overwritten."""

ABSENT = "–"
"""Stands where there is no value: the paper has no such column, or the run no such database."""


class Cell(NamedTuple):
    """A cell of a table.

    Attributes:
        text: what it says.
        small: what follows in small print, e.g. a standard deviation.
        share: how much of the cell a page shades, 0 to 1; the text says the same.
        marked: whether a page outlines it.
    """

    text: str
    small: str = ""
    share: float | None = None
    marked: bool = False

    @property
    def line(self) -> str:
        """The whole cell on one line."""
        return f"{self.text} {self.small}".strip()


class Row(NamedTuple):
    """A row of a table; `kind` is how a page sets it: "", "ours" or "paper"."""

    cells: Sequence[Cell]
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        caption: what it shows, unlike the caption of any other table of the report.
        columns: names of all columns.
        rows: one cell a column each.
        headers: how many first cells name a row. With two, equal first cells that follow each other
            are one cell on the page.
        groups: titles over the last columns, each with the number of columns it spans.
        words: columns besides the headers that hold words; the others hold numbers.
        kind: how a page sets it: "", "results", "pairs", "confusion" or "subjects".
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Row]
    headers: int = 1
    groups: Sequence[tuple[str, int]] = ()
    words: frozenset[int] = frozenset()
    kind: str = ""

    def __post_init__(self):
        for row in self.rows:
            if len(row.cells) != len(self.columns):
                raise ValueError(
                    f"{self.caption}: {len(row.cells)} cells in {len(self.columns)} columns"
                )

    @property
    def ungrouped(self) -> int:
        """Number of columns before the groups."""
        return len(self.columns) - sum(span for _, span in self.groups)


class Text(NamedTuple):
    """A paragraph; `kind` is "", "quiet" (an explanation) or "note" (a warning)."""

    text: str
    kind: str = ""


class Code(NamedTuple):
    """Something to copy, such as a command line."""

    text: str


class Chart(NamedTuple):
    """A drawing, for the page alone; its numbers are in a table as well.

    Attributes:
        title: what it shows.
        description: the same in words, for those who do not see it.
        width: of the drawing, in units of its own; the page scales it.
        height: likewise.
        drawing: the elements inside the `<svg>`, names escaped.
    """

    title: str
    description: str
    width: int
    height: int
    drawing: str


class Tiles(NamedTuple):
    """A few figures at the top: name, value, and what guessing gives."""

    tiles: Sequence[tuple[str, str, str]]


class Grid(NamedTuple):
    """Blocks beside each other where there is room; `kind` is "", "matrices" or "wide"."""

    blocks: "Sequence[Block]"
    kind: str = ""


class Part(NamedTuple):
    """Blocks under a heading of their own; folded away on the page if `folded`.

    `page_only` keeps what is long and of passing interest out of the other formats.
    """

    heading: str
    blocks: "Sequence[Block]"
    folded: bool = False
    page_only: bool = False


Block: TypeAlias = Table | Text | Code | Chart | Tiles | Grid | Part


class Section(NamedTuple):
    """A chapter of the report; `key` is its anchor on the page, `page_only` as in `Part`."""

    key: str
    heading: str
    blocks: Sequence[Block]
    page_only: bool = False


class Document(NamedTuple):
    """A whole report."""

    kicker: str
    title: str
    opening: Sequence[Block]
    sections: Sequence[Section]


# Control signs, lone surrogates and what turns the direction of the text around it.
_UNFIT = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def fit(text: str) -> str:
    """Replace what cannot stand in a text file, or would disorder what stands beside it."""
    return _UNFIT.sub("\N{REPLACEMENT CHARACTER}", text)


def numbered(count: int, noun: str) -> str:
    """A number and its noun, which gains an s unless it is one."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def row(*cells: object, kind: str = "") -> Row:
    """A row of cells; whatever is none becomes the text of one."""
    return Row([cell if isinstance(cell, Cell) else Cell(str(cell)) for cell in cells], kind)


class Heading(NamedTuple):
    """A heading as a format without a page has it; that of the document is of level 1."""

    text: str
    level: int


def paragraphs(document: Document) -> Iterator[Heading | Text | Code | Table]:
    """What a format of one column shows, piece by piece: no charts, nothing of the page alone."""
    yield Heading(document.title, 1)
    yield Text(document.kicker)
    yield from _paragraphs(document.opening, 2)
    for section in document.sections:
        if not section.page_only:
            yield Heading(section.heading, 2)
            yield from _paragraphs(section.blocks, 3)


def _paragraphs(blocks: Sequence[Block], level: int) -> Iterator[Heading | Text | Code | Table]:
    for block in blocks:
        match block:
            case Grid():
                yield from _paragraphs(block.blocks, level)
            case Part(page_only=False):
                yield Heading(block.heading, level)
                yield from _paragraphs(block.blocks, level + 1)
            case Tiles():
                tiles = (f"{name} {value} (chance {chance})" for name, value, chance in block.tiles)
                yield Text("; ".join(tiles))
            case Text() | Code() | Table():
                yield block
