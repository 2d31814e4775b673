"""Annotation spreadsheets of the databases."""

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import openpyxl
from openpyxl.utils.exceptions import InvalidFileException

from atnet_jax.errors import UserError
from atnet_jax.preprocessing.annotation import Clip
from atnet_jax.preprocessing.apex import check_apex
from data_builders.source import (
    Entry,
    ErrorList,
    Exclusion,
    annotated_frames,
    cell_integer,
    cell_name,
    cell_text,
    find_label,
)

# Number of rows in which the header is searched (SAMM's is in row 14).
_HEADER_ROWS = 50


class Columns(NamedTuple):
    """Names of the columns to read."""

    subject: str
    clip: str
    onset: str
    apex: str
    offset: str
    emotion: str


@dataclasses.dataclass(frozen=True)
class Sheet:
    """Format of a database's spreadsheet.

    Attributes:
        dataset: Name of the database.
        columns: Names of the columns to read. Case and spacing do not matter.
        rule: The label rule: emotion → 0 negative, 1 positive, 2 surprise, None if excluded.
        frame_rate: Frames per second of all clips.
        subject: Function of a cell and its position that returns the subject's name in the
            composite. It raises `UserError` for an invalid cell.
        request_from: Where the user can request the database, for messages.
        title: Name of the sheet, or None for the first sheet.
        unusable: Function of a row that returns the reason to exclude its clip, or None.
    """

    dataset: str
    columns: Columns
    rule: Mapping[str, int | None]
    frame_rate: float
    subject: Callable[[object, str], str]
    request_from: str
    title: str | None = None
    unusable: Callable[[Mapping[str, object]], str | None] = lambda row: None

    def read(self, path: Path, errors: ErrorList) -> tuple[list[Entry], list[Exclusion]]:
        """Return the clips to prepare, still without frames, and the excluded clips.

        Args:
            path: An .xlsx file.
            errors: Collects the errors of single rows.

        Raises:
            UserError: The file, the sheet or a column is missing, or the file is not an .xlsx file.
        """
        entries, exclusions, names = [], [], self.columns
        for number, row in _rows(path, names, self.title, self.request_from):
            where = f"{path.name}, row {number}"
            with errors.collect():
                subject = self.subject(row[names.subject], where)
                clip = cell_name(row[names.clip], names.clip, where)
                emotion = cell_text(row[names.emotion])
                label = find_label(emotion, self.rule, where)
                reason = f"emotion {emotion} is not in the composite"
                if label is None or (reason := self.unusable(row)):
                    exclusions.append(Exclusion(where, subject, clip, reason))
                    continue
                numbers = (names.onset, names.apex, names.offset)
                onset, apex, offset = (cell_integer(row[name], name, where) for name in numbers)
                found = Clip(
                    *(self.dataset, subject, clip, label, emotion, onset, apex, offset),
                    frame_rate=self.frame_rate,
                    frames={},
                )
                entries.append(Entry(found, where))
        return entries, exclusions


def with_frames(
    entries: Iterable[Entry],
    find_folder: Callable[[Clip], Path],
    name: re.Pattern[str],
    errors: ErrorList,
) -> list[Entry]:
    """Return the clips of a sheet with the paths of their frames.

    Args:
        entries: The clips returned by `Sheet.read`.
        find_folder: Function that returns the folder of a clip's frames.
        name: Pattern of a frame's file name. Its first group is the frame's number.
        errors: Collects an apex outside onset…offset and missing folders and frames.
    """
    found = []
    for entry in entries:
        clip = entry.clip
        where = f"{entry.where} ({clip.key})"
        with errors.collect():
            check_apex(clip.onset, clip.apex, clip.offset, where=where)
            frames = annotated_frames(find_folder(clip), name, clip.onset, clip.offset, where)
            clip = dataclasses.replace(clip, frames=frames)
            found.append(dataclasses.replace(entry, clip=clip))
    return found


def _rows(
    path: Path, columns: Sequence[str], sheet: str | None, request_from: str
) -> Iterator[tuple[int, Mapping[str, object]]]:
    """Yield each row's number in the spreadsheet program and its cells, and skip empty rows."""
    if not path.is_file():
        others = sorted(other.name for other in path.parent.glob("*.[cx][sl][sv]*"))
        found = f" The folder contains {', '.join(others)}." if others else ""
        raise UserError(
            f"The annotation file {path} does not exist.{found} The file is delivered with the "
            f"database ({request_from}). Copy it there under this name."
        )
    try:
        workbook = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except (BadZipFile, InvalidFileException, KeyError, ValueError, OSError) as error:
        raise UserError(f"{path} is not an .xlsx spreadsheet ({error}).") from error
    try:
        if sheet is not None and sheet not in workbook.sheetnames:
            raise UserError(
                f"{path} has no sheet {sheet!r}. It has only "
                f"{', '.join(map(repr, workbook.sheetnames))}. Restore the original file."
            )
        worksheet = workbook[sheet] if sheet is not None else workbook.worksheets[0]
        # Some programs write a wrong sheet size. A read-only sheet would end there.
        worksheet.reset_dimensions()
        rows = enumerate(worksheet.iter_rows(values_only=True), start=1)
        indices = _find_header(path, rows, columns)
        for number, row in rows:
            cells = {
                column: row[index] if index < len(row) else None
                for column, index in indices.items()
            }
            if any(cell_text(cell) for cell in cells.values()):
                yield number, cells
    finally:
        workbook.close()


def _find_header(
    path: Path, rows: Iterator[tuple[int, Sequence[object]]], columns: Sequence[str]
) -> dict[str, int]:
    """Return the index of each column, from the first row that contains all column names."""
    fewest_missing = list(columns)
    for number, row in rows:
        names = [" ".join(cell_text(cell).casefold().split()) for cell in row]
        missing = [column for column in columns if column.casefold() not in names]
        if not missing:
            return {column: names.index(column.casefold()) for column in columns}
        if len(missing) < len(fewest_missing):
            fewest_missing = missing
        if number == _HEADER_ROWS:
            break
    raise UserError(
        f"{path} has no header row with the columns {', '.join(columns)} in its first "
        f"{_HEADER_ROWS} rows. Missing: {', '.join(fewest_missing)}."
    )
