"""CSV tables, in the forms in which spreadsheet programs and pandas save and read them."""

import codecs
import csv
import io
import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from atnet_jax.errors import UserError
from atnet_jax.system.files import refuse_pointer

# Programs of countries with a decimal comma separate cells by semicolons.
_SEPARATORS = (",", ";", "\t")
# What pandas writes for an index without a name, after reading it and writing it again.
_UNNAMED = re.compile(r"(unnamed: \d+(_level_\d+)?)?")

# Spreadsheet programs read these signs as the start of a formula. The quote that `quoted` adds is
# included, so that `unquoted` can remove it again.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        line: Number of its last line in the file, from 1.
        cells: Its cells by column, without blanks at the ends; missing cells are empty.
    """

    line: int
    cells: dict[str, str]


@dataclass(frozen=True)
class Table:
    """Columns, in lower case, and rows of a CSV file, without empty rows and unnamed columns."""

    columns: tuple[str, ...]
    rows: list[Row]


def read_table(path: Path, known: Collection[str], required: Collection[str] = ()) -> Table:
    """Read a CSV file with a header.

    Cells may be separated by commas, semicolons or tabs. Capitals and blanks in the header do not
    matter. Rows without any value and columns without a name are skipped if the latter are empty or
    number the rows, as pandas writes an index.

    Args:
        path: The file, in UTF-8, or in UTF-16 with a byte order mark.
        known: Names of columns that the file may have.
        required: Those of them that it must have.

    Returns:
        The columns in the file's order, and the rows.

    Raises:
        UserError: The file cannot be read, is not such a file, lacks a required column, has two
            columns of one name, a column without a name but with values, or a row with too many
            cells.
    """
    text = _text(path)
    first, _, rest = text.partition("\n")
    separator = ""
    if match := re.fullmatch(r"sep=(.)", first.strip("\r\"' ")):  # A line for Excel.
        separator, text = match[1], rest
    if separator not in _SEPARATORS:
        separator = max(_SEPARATORS, key=lambda each: _known_names(text, each, known))
    skipped = 1 if match else 0
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        listed = [
            (reader.line_num + skipped, [cell.strip() for cell in cells])
            for cells in reader
            if any(cell.strip() for cell in cells)
        ]
    except csv.Error as error:
        raise UserError(f"{path} is not a CSV file in UTF-8 ({error}).") from None
    if not listed:
        raise UserError(f"{path} is empty. Expected a header row and a row for each clip.")
    (_, header), *rows = listed
    names = [_column(name) for name in header]
    width = max(len(cells) for _, cells in listed)
    names += [""] * (width - len(names))
    rows = [(line, cells + [""] * (width - len(cells))) for line, cells in rows]
    for index, name in enumerate(names):
        if not name:
            _check_unnamed(path, index, len(header), rows)
    columns = tuple(name for name in names if name)
    if len(set(columns)) < len(columns):
        twice = next(name for name in columns if columns.count(name) > 1)
        raise UserError(f"{path}: The column {twice!r} occurs twice. Remove one.")
    if missing := [name for name in required if name not in columns]:
        optional = [name for name in known if name not in required]
        more = f" and optionally {','.join(optional)}" if optional else ""
        raise UserError(
            f"{path} lacks the column {', '.join(missing)}. Expected {','.join(required)}{more},"
            f" found {','.join(columns)}."
        )
    return Table(
        columns,
        [
            Row(line, {name: cell for name, cell in zip(names, cells, strict=True) if name})
            for line, cells in rows
        ],
    )


def decimal(text: str) -> float:
    """Return a number in a cell, which may have a decimal comma; NaN if it is no number."""
    if re.fullmatch(r"-?[0-9]+,[0-9]{1,2}", text):
        text = text.replace(",", ".")
    try:
        return float(text)
    except ValueError:
        return math.nan


def quoted(name: str) -> str:
    """Return a name with a leading ' if a spreadsheet program would read it as a formula."""
    return f"'{name}" if name.startswith(_FORMULA) else name


def unquoted(cell: str) -> str:
    """Return the name for which `quoted` returned `cell`."""
    return cell.removeprefix("'")


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from None
    refuse_pointer(path, data)
    if data.startswith(b"PK"):
        raise UserError(f"{path} is a spreadsheet (.xlsx), not a CSV file. Save it as CSV UTF-8.")
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not a CSV file in UTF-8 ({error}). Save it as CSV UTF-8."
        ) from None


def _column(name: str) -> str:
    name = " ".join(name.casefold().split())
    return "" if _UNNAMED.fullmatch(name) else name


def _known_names(text: str, separator: str, known: Collection[str]) -> int:
    """Return the number of known columns in the header if `separator` separates cells."""
    header = next(filter(str.strip, text.splitlines()), "")
    try:
        cells = next(csv.reader([header], delimiter=separator), [])
    except csv.Error:
        return 0
    return sum(_column(cell) in known for cell in cells)


def _check_unnamed(
    path: Path, index: int, columns: int, rows: Sequence[tuple[int, list[str]]]
) -> None:
    """Raise an error if a column without a name has values that do not number the rows."""
    filled = [(line, cells[index]) for line, cells in rows if cells[index]]
    if not filled or _numbers_rows([cell for _, cell in filled]):
        return
    line, cell = filled[0]
    if index >= columns:
        raise UserError(
            f"{path.name}, line {line}: The row has more cells than columns. Quote cells with the "
            f"separator."
        )
    raise UserError(
        f"{path}: Column {index + 1} has no name, but the value {cell!r} in line {line}. Name the "
        f"column or remove it."
    )


def _numbers_rows(cells: Sequence[str]) -> bool:
    numbers = [int(cell) if re.fullmatch(r"[0-9]{1,9}", cell, re.ASCII) else -1 for cell in cells]
    return numbers[0] in (0, 1) and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
