"""The content of a report, independent of its format.

Texts and names are not escaped here; every format escapes them.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

MARK = "Written by atnet_jax.report"
"""Mark near the beginning of every file of a report. Files without it are not overwritten."""

ABSENT = "–"
"""Text of a cell without a value, e.g. a database that a run does not have."""


class Cell(NamedTuple):
    """A cell of a table.

    Attributes:
        text: The content.
        small: Text in small print after it, e.g. a standard deviation.
        share: Fraction of the cell that the page shades, 0 to 1; the text states it too.
        marked: Whether the page outlines the cell.
    """

    text: str
    small: str = ""
    share: float | None = None
    marked: bool = False

    @property
    def line(self) -> str:
        """The text and the small print on one line."""
        return f"{self.text} {self.small}".strip()


class Row(NamedTuple):
    """A row of a table; `kind` selects its style on the page: "", "ours" or "paper"."""

    cells: Sequence[Cell]
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        caption: Caption, unique within the report.
        columns: Names of all columns.
        rows: Rows with one cell per column.
        headers: Number of leading cells that are row headers. With two, the page merges equal
            first cells of consecutive rows.
        groups: Titles over the last columns, each with the number of columns it spans.
        words: Indices of columns with words, besides the headers; other columns hold numbers.
        kind: Style on the page: "", "results", "pairs", "confusion", "subjects" or "board".
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
    """Text to copy, such as a command line."""

    text: str


class Chart(NamedTuple):
    """A drawing on the page; a table contains its numbers too.

    Attributes:
        title: Title.
        description: Content in words, for screen readers.
        width: Width in units of the drawing; the page scales it.
        height: Height in the same units.
        drawing: Elements inside the `<svg>`, with escaped names.
    """

    title: str
    description: str
    width: int
    height: int
    drawing: str


class Tiles(NamedTuple):
    """Main scores at the top of the report: name, value and chance level."""

    tiles: Sequence[tuple[str, str, str]]


class Grid(NamedTuple):
    """Blocks side by side if the page is wide enough; `kind` is "", "matrices" or "wide"."""

    blocks: "Sequence[Block]"
    kind: str = ""


class Part(NamedTuple):
    """Blocks under a heading, collapsed on the page if `folded`.

    `page_only` excludes them from the other formats.
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


# Control characters, lone surrogates and characters that change the direction of text.
_UNFIT = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def fit(text: str) -> str:
    """Replace characters that are not allowed in text files or change the direction of text."""
    return _UNFIT.sub("\N{REPLACEMENT CHARACTER}", text)


def row(*cells: object, kind: str = "") -> Row:
    """Return a row; convert arguments that are not cells to their text."""
    return Row([cell if isinstance(cell, Cell) else Cell(str(cell)) for cell in cells], kind)


class Heading(NamedTuple):
    """A heading in a linear format; the title of the document has level 1."""

    text: str
    level: int


def paragraphs(document: Document) -> Iterator[Heading | Text | Code | Table]:
    """Yield the blocks of a linear format in order, without charts and page-only parts."""
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
