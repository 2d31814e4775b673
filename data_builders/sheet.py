"""Annotation spreadsheets of the databases."""

import dataclasses
import io
import re
import warnings
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import openpyxl

from atnet_jax.errors import UserError
from atnet_jax.preprocessing.annotation import Clip
from atnet_jax.preprocessing.apex import check_apex
from atnet_jax.preprocessing.frame_files import FrameName
from atnet_jax.system.files import refuse_pointer
from atnet_jax.words import numbered
from data_builders.source import (
    Entry,
    ErrorList,
    Exclusion,
    annotated_frames,
    as_spelled,
    cell_integer,
    cell_name,
    cell_text,
    find_label,
    unpack_hint,
)

# Number of rows in which the header is searched (SAMM's is in row 14).
_HEADER_ROWS = 50

# Parts of an .xlsx file that hold cells and their texts. The others, such as styles, pictures and
# print ranges, are often written in a way that openpyxl rejects although Excel accepts it.
_PARTS = re.compile(
    r"\[Content_Types\]\.xml|_rels/\.rels|xl/(_rels/)?workbook\.xml(\.rels)?"
    r"|xl/sharedStrings\.xml|xl/worksheets/[^/]+\.xml",
    re.IGNORECASE,
)
# The databases' sheets have less than a megabyte. A damaged file may claim any size.
_MOST_BYTES = 1 << 28
# Start of an .xls file, and of an .xlsx file that is protected by a password.
_OLD_FORMAT = b"\xd0\xcf\x11\xe0"


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
        title: Name of the sheet, or None for the first one that has the columns.
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
            errors: Collects the errors of single rows, and a note if the sheet is not the first.

        Raises:
            UserError: The file, the sheet or a column is missing, or the file is not an .xlsx file.
        """
        entries, exclusions, names = [], [], self.columns
        for number, row in _rows(path, names, self.title, self.request_from, errors.notes):
            where = f"{path.name}, row {number}"
            with errors.collect():
                subject = self.subject(row[names.subject], where)
                clip = cell_name(row[names.clip], names.clip, where)
                if errors.leaves_out(where, subject, clip):
                    continue
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
    name: FrameName,
    errors: ErrorList,
) -> list[Entry]:
    """Return the clips of a sheet with the paths of their frames.

    Args:
        entries: The clips returned by `Sheet.read`.
        find_folder: Function that returns the folder of a clip's frames, in its subject's folder.
        name: Form of the names of frames' files.
        errors: Collects an apex outside onset…offset and missing folders and frames.
    """
    found = []
    without: defaultdict[Path, list[str]] = defaultdict(list)
    for entry in entries:
        clip = entry.clip
        where = f"{entry.where} ({clip.key})"
        folder = find_folder(clip)
        subject = as_spelled(folder.parent)
        folder = as_spelled(subject / folder.name)
        # Some programs unpack an archive into a folder of the same name.
        if not folder.is_dir() and (subject / subject.name).is_dir():
            folder = subject / subject.name / folder.name
        with errors.collect():
            check_apex(clip.onset, clip.apex, clip.offset, where=where)
            if not subject.is_dir():
                without[subject].append(where)
                continue
            frames = annotated_frames(folder, name, clip.onset, clip.offset, where)
            clip = dataclasses.replace(clip, frames=frames)
            found.append(dataclasses.replace(entry, clip=clip))
    errors.messages += [
        f"{clips[0]}: {folder}: no such folder. It should hold {numbered(len(clips), 'clip')}. "
        f"Check that the copy of the database is complete."
        for folder, clips in without.items()
    ]
    return found


def _rows(
    path: Path, columns: Sequence[str], title: str | None, request_from: str, notes: list[str]
) -> Iterator[tuple[int, Mapping[str, object]]]:
    """Yield each row's number in the spreadsheet program and its cells, and skip empty rows."""
    if not path.is_file():
        others = sorted(other.name for other in path.parent.glob("*.[cx][sl][sv]*"))
        found = f" The folder contains {', '.join(others)}." if others else ""
        raise UserError(
            f"The annotation file {path} does not exist.{found} The file is delivered with the "
            f"database ({request_from}). Copy it there under this name.{unpack_hint(path.parent)}"
        )
    sheets = read_sheets(path)
    if title is not None:
        if title not in sheets:
            raise UserError(
                f"{path} has no sheet {title!r}. It has only "
                f"{', '.join(map(repr, sheets))}. Restore the original file."
            )
        sheets = {title: sheets[title]}
    title, rows, indices = _with_header(path, sheets, columns)
    if title != next(iter(sheets)):
        notes.append(f"annotation: sheet {title!r} of {path.name}, which is not its first sheet")
    for number, row in rows:
        cells = {
            column: row[index] if index < len(row) else None for column, index in indices.items()
        }
        if any(cell_text(cell) for cell in cells.values()):
            yield number, cells


def read_sheets(path: Path) -> dict[str, list[Sequence[object]]]:
    """Return the values of all cells of an .xlsx file: name of a sheet → its rows.

    Raises:
        UserError: The file is not an .xlsx file, or it is damaged.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from None
    refuse_pointer(path, data)
    if data.startswith(_OLD_FORMAT):
        raise UserError(
            f"{path} is an .xls spreadsheet or protected by a password. Open it in a spreadsheet "
            f"program and save it as .xlsx without a password."
        )
    try:
        with warnings.catch_warnings(action="ignore"):  # Of parts that are not read.
            workbook = openpyxl.load_workbook(_cells_only(data), read_only=True, data_only=True)
            sheets = {}
            for worksheet in workbook.worksheets:
                # Some programs write a wrong sheet size. A read-only sheet would end there.
                worksheet.reset_dimensions()
                sheets[worksheet.title] = list(worksheet.iter_rows(values_only=True))
    except Exception as error:  # openpyxl raises many kinds of errors for damaged files.
        raise UserError(
            f"{path} is not an .xlsx spreadsheet or is damaged ({type(error).__name__}: {error}). "
            f"Copy the original file again."
        ) from error
    if not sheets:
        raise UserError(
            f"{path} has no sheet that can be read. Open it in a spreadsheet program and save it "
            f"as .xlsx (not as a strict one)."
        )
    return sheets


def _cells_only(data: bytes) -> io.BytesIO:
    """Return an .xlsx file with only the parts that hold cells."""
    kept = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(kept, "w") as parts:
        for part in archive.infolist():
            if _PARTS.fullmatch(part.filename):
                if part.file_size > _MOST_BYTES:
                    raise ValueError(f"{part.filename} has {part.file_size} bytes")
                parts.writestr(part.filename, archive.read(part))
    return kept


def _with_header(
    path: Path, sheets: Mapping[str, list[Sequence[object]]], columns: Sequence[str]
) -> tuple[str, Iterator[tuple[int, Sequence[object]]], dict[str, int]]:
    """Return the first sheet with all columns, its rows after the header, and the indices."""
    fewest_missing, nearest = list(columns), next(iter(sheets))
    for title, listed in sheets.items():
        rows = enumerate(listed, start=1)
        for number, row in rows:
            names = [" ".join(cell_text(cell).casefold().split()) for cell in row]
            missing = [column for column in columns if column.casefold() not in names]
            if not missing:
                indices = {column: names.index(column.casefold()) for column in columns}
                return title, rows, indices
            if len(missing) < len(fewest_missing):
                fewest_missing, nearest = missing, title
            if number == _HEADER_ROWS:
                break
    raise UserError(
        f"{path}, sheet {nearest!r}: no header row with the columns {', '.join(columns)} in the "
        f"first {_HEADER_ROWS} rows. Missing: {', '.join(fewest_missing)}."
    )
