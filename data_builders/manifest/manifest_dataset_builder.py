"""Clips of any origin: frames, videos, or inputs that others computed, listed in manifest.csv."""

import csv
import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from atnet_jax.errors import UserError
from atnet_jax.names import CLASSES
from atnet_jax.preprocessing import frame_files
from atnet_jax.preprocessing.annotation import Clip, VideoFrames
from atnet_jax.preprocessing.apex import check_apex
from data_builders import source
from data_builders.micro_expression import MicroExpressionBuilder

MANIFEST = "manifest.csv"
NAMES = ("dataset", "subject", "clip")
FRAME_NUMBERS = ("onset", "apex", "offset")
INPUTS = ("frames", "video", "apex_image", "adm", "flow_map")
COLUMNS = (*NAMES, "label", "emotion", *FRAME_NUMBERS, "frame_rate", *INPUTS)

# Paper, section IV-A, and contempt and repression as the other builders have them.
LABEL_RULE: dict[str, int] = {
    **{name: label for label, name in enumerate(CLASSES)},
    "happiness": 1,
    "anger": 0,
    "contempt": 0,
    "disgust": 0,
    "fear": 0,
    "repression": 0,
    "sadness": 0,
}


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Rows of the manifest, with where they are.

    Raises:
        UserError: The manifest is missing or no CSV file, or its columns are wrong.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; it lists the clips, one a row")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True, restval="")
            _check_columns(path, list(reader.fieldnames or []))
            for row in reader:
                where = f"{path.name}, line {reader.line_num}"
                if None in row:
                    raise UserError(f"{where}: more cells than columns; quote cells with commas")
                yield where, {column: cell.strip() for column, cell in row.items()}
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a CSV file in UTF-8 ({error})") from error


def _check_columns(path: Path, columns: list[str]) -> None:
    known = f"the columns are {', '.join(COLUMNS)}"
    missing = [column for column in NAMES if column not in columns]
    if "label" not in columns and "emotion" not in columns:
        missing.append("label or emotion")
    if not any(column in columns for column in INPUTS):
        missing.append(f"one of {', '.join(INPUTS)}")
    if missing:
        raise UserError(f"{path}: missing column: {'; '.join(missing)}; {known}")
    # A misspelt column would silently be no input at all.
    unknown = [column for column in columns if column not in COLUMNS]
    if unknown:
        raise UserError(f"{path}: unknown column: {', '.join(map(repr, unknown))}; {known}")
    if len(set(columns)) < len(columns):
        raise UserError(f"{path}: a column is named twice; {known}")


def read_entry(row: dict[str, str], manual_dir: Path, where: str) -> source.Entry:
    """The clip of one row.

    Raises:
        UserError: The row cannot be used.
    """
    dataset, subject, name = (source.cell_name(row[column], column, where) for column in NAMES)
    label, emotion = _label(row, where)
    paths = {
        column: _resolve(row[column], manual_dir, column, where)
        for column in INPUTS
        if row.get(column)
    }
    if not paths:
        raise UserError(f"{where}: nothing given, expected one of {', '.join(INPUTS)}")
    if "frames" in paths and "video" in paths:
        raise UserError(f"{where}: both frames and video are given; leave one empty")
    onset, apex, offset = _frame_numbers(row, where, required="frames" in paths or "video" in paths)
    frames: dict[int, Path] | VideoFrames = {}
    if "frames" in paths:
        frames = source.annotated_frames(
            paths["frames"], frame_files.ANY_FRAME, onset, offset, where
        )
        for path in frames.values():
            _check_inside(path.resolve(), manual_dir, "frames", where)
    elif "video" in paths:
        frames = VideoFrames(paths["video"])
    clip = Clip(
        dataset=dataset,
        subject=subject,
        clip=name,
        label=label,
        emotion=emotion,
        onset=onset,
        apex=apex,
        offset=offset,
        frame_rate=_frame_rate(row, where),
        frames=frames,
    )
    return source.Entry(
        clip, where, paths.get("apex_image"), paths.get("adm"), paths.get("flow_map")
    )


def _label(row: dict[str, str], where: str) -> tuple[int, str]:
    """Class and emotion; a label wins over the class of the emotion."""
    label, emotion = row.get("label", ""), row.get("emotion", "")
    if not label:
        # No emotion is left out here: the user lists what counts.
        return source.find_label(emotion, LABEL_RULE, where), emotion
    numbers = {str(number): number for number in range(len(CLASSES))}
    names = {name: number for number, name in enumerate(CLASSES)}
    number = (numbers | names).get(label.casefold())
    if number is None:
        raise UserError(f"{where}: label is {label!r}, expected 0, 1, 2 or {', '.join(CLASSES)}")
    return number, emotion or CLASSES[number]


def _frame_numbers(row: dict[str, str], where: str, *, required: bool) -> tuple[int, int, int]:
    """Onset, apex and offset; -1 where they are unknown."""
    if not required and not any(row.get(column) for column in FRAME_NUMBERS):
        return -1, -1, -1
    onset, apex, offset = (
        source.cell_integer(row.get(column), column, where) for column in FRAME_NUMBERS
    )
    check_apex(onset, apex, offset, where=where)
    return onset, apex, offset


def _frame_rate(row: dict[str, str], where: str) -> float:
    text = row.get("frame_rate") or "0"
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 <= rate < math.inf:
        raise UserError(f"{where}: frame_rate is {text!r}, expected frames per second")
    return rate


def _resolve(text: str, manual_dir: Path, column: str, where: str) -> Path:
    """The file or folder that a cell names, which must lie in the manifest's folder."""
    windows = PureWindowsPath(text)
    if PurePosixPath(text).is_absolute() or windows.drive or windows.root or "\0" in text:
        raise UserError(
            f"{where}: {column} is {text!r}, expected a path relative to the manifest's folder"
        )
    path = (manual_dir / text).resolve()
    _check_inside(path, manual_dir, column, where)
    if not (path.is_dir() if column == "frames" else path.is_file()):
        raise UserError(
            f"{where}: {column}: no {'folder' if column == 'frames' else 'file'} {text!r}"
        )
    return path


def _check_inside(path: Path, manual_dir: Path, column: str, where: str) -> None:
    if not path.is_relative_to(manual_dir.resolve()):
        raise UserError(f"{where}: {column} leads out of the manifest's folder, to {path}")


class Builder(MicroExpressionBuilder):
    """The clips of a manifest."""

    def read_source(self) -> source.Source:
        """See the base class; README.md beside this file tells the columns."""
        errors = source.ErrorList()
        entries = []
        for where, row in read_rows(self.manual_dir / MANIFEST):
            with errors.collect():
                entries.append(read_entry(row, self.manual_dir, where))
        return source.check_source(self.name, source.Source(entries), errors)
