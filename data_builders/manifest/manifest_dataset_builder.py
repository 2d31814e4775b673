"""Clips of any origin, listed in manifest.csv: frames, videos, or inputs computed elsewhere."""

import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from atnet_jax.errors import UserError
from atnet_jax.names import CLASSES
from atnet_jax.preprocessing import frame_files
from atnet_jax.preprocessing.annotation import Clip, VideoFrames
from atnet_jax.preprocessing.apex import check_apex
from atnet_jax.system import tables
from data_builders import source
from data_builders.micro_expression import MicroExpressionBuilder

MANIFEST = "manifest.csv"
NAMES = ("dataset", "subject", "clip")
FRAME_NUMBERS = ("onset", "apex", "offset")
INPUTS = ("frames", "video", "apex_image", "adm", "flow_map")
COLUMNS = (*NAMES, "label", "emotion", *FRAME_NUMBERS, "frame_rate", *INPUTS)

# Paper, section IV-A, with contempt and repression as in the other builders.
LABEL_RULE: dict[str, int | None] = {
    **{name: label for label, name in enumerate(CLASSES)},
    "happiness": 1,
    "anger": 0,
    "contempt": 0,
    "disgust": 0,
    "fear": 0,
    "repression": 0,
    "sadness": 0,
    "neutral": None,
}


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the rows of the manifest.

    Args:
        path: The manifest.

    Yields:
        The position of a row, for messages, and its cells by column.

    Raises:
        UserError: The manifest is missing or not a CSV file, or its columns are wrong.
    """
    if not path.is_file():
        raise UserError(
            f"The manifest {path} does not exist. Create it with one row per clip "
            f"(see data_builders/manifest/README.md)."
        )
    table = tables.read_table(path, COLUMNS)
    _check_columns(path, table.columns)
    for row in table.rows:
        yield f"{path.name}, line {row.line}", row.cells


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    known = f"The columns are {', '.join(COLUMNS)}."
    missing = [column for column in NAMES if column not in columns]
    if "label" not in columns and "emotion" not in columns:
        missing.append("label or emotion")
    if not any(column in columns for column in INPUTS):
        missing.append(f"one of {', '.join(INPUTS)}")
    if missing:
        raise UserError(f"{path}: Missing column: {'; '.join(missing)}. {known}")
    # A misspelt column would otherwise be ignored silently.
    unknown = [column for column in columns if column not in COLUMNS]
    if unknown:
        raise UserError(f"{path}: Unknown column: {', '.join(map(repr, unknown))}. {known}")


def read_entry(
    row: dict[str, str], manual_dir: Path, where: str
) -> source.Entry | source.Exclusion:
    """Return the clip of one row, or the exclusion of a neutral one.

    Args:
        row: Cells by column.
        manual_dir: The manifest's folder, to which paths are relative.
        where: The position of the row, for messages.

    Raises:
        UserError: The row cannot be used.
    """
    dataset, subject, name = (source.cell_name(row[column], column, where) for column in NAMES)
    label, emotion = _label(row, where)
    if label is None:
        reason = f"emotion {emotion} does not belong to any of the three classes"
        return source.Exclusion(where, subject, name, reason)
    paths = {
        column: _resolve(row[column], manual_dir, column, where)
        for column in INPUTS
        if row.get(column)
    }
    if not paths:
        raise UserError(
            f"{where}: All inputs are empty. Fill in at least one of {', '.join(INPUTS)}."
        )
    if "frames" in paths and "video" in paths:
        raise UserError(f"{where}: Both frames and video are filled in. Leave one of them empty.")
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


def _label(row: dict[str, str], where: str) -> tuple[int | None, str]:
    """Return class and emotion. A label takes precedence over the class of the emotion."""
    label, emotion = row.get("label", ""), row.get("emotion", "")
    if not label:
        return source.find_label(emotion, LABEL_RULE, where), emotion
    numbers = {str(number): number for number in range(len(CLASSES))}
    names = {name: number for number, name in enumerate(CLASSES)}
    number = (numbers | names).get(re.sub(r"\.0*$", "", label.casefold()))
    if number is None:
        raise UserError(f"{where}: label is {label!r}, expected 0, 1, 2 or {', '.join(CLASSES)}.")
    return number, emotion or CLASSES[number]


def _frame_numbers(row: dict[str, str], where: str, *, required: bool) -> tuple[int, int, int]:
    """Return onset, apex and offset, each -1 if they are unknown."""
    if not required and not any(row.get(column) for column in FRAME_NUMBERS):
        return -1, -1, -1
    onset, apex, offset = (
        source.cell_integer(row.get(column), column, where) for column in FRAME_NUMBERS
    )
    check_apex(onset, apex, offset, where=where)
    return onset, apex, offset


def _frame_rate(row: dict[str, str], where: str) -> float:
    text = row.get("frame_rate") or "0"
    rate = tables.decimal(text)
    if not 0 <= rate < math.inf:
        raise UserError(
            f"{where}: frame_rate is {text!r}, expected frames per second as a number of at least "
            f"0, or an empty cell."
        )
    return rate


def _resolve(text: str, manual_dir: Path, column: str, where: str) -> Path:
    """Return the file or folder that a cell names, which must be in the manifest's folder."""
    windows = PureWindowsPath(text)
    if PurePosixPath(text).is_absolute() or windows.drive or windows.root or "\0" in text:
        raise UserError(
            f"{where}: {column} is {text!r}, expected a path relative to the manifest's folder."
        )
    try:
        if "\\" in text and not (manual_dir / text).exists():
            text = windows.as_posix()
        path = Path(os.path.realpath(manual_dir / text))
        there = path.is_dir() if column == "frames" else path.is_file()
    except OSError as error:  # For example, the name is too long.
        raise UserError(f"{where}: {column} cannot be read ({error.strerror}).") from None
    _check_inside(path, manual_dir, column, where)
    if not there:
        raise UserError(
            f"{where}: {column} is {text!r}, but this "
            f"{'folder' if column == 'frames' else 'file'} does not exist."
        )
    return path


def _check_inside(path: Path, manual_dir: Path, column: str, where: str) -> None:
    if not path.is_relative_to(manual_dir.resolve()):
        raise UserError(
            f"{where}: {column} leads out of the manifest's folder, to {path}. Copy the file there."
        )


class Builder(MicroExpressionBuilder):
    """Builder of the clips of a manifest."""

    def read_source(self) -> source.Source:
        """See the base class. README.md beside this file describes the columns."""
        errors = self.new_errors()
        entries, exclusions = [], []
        for where, row in read_rows(self.manual_dir / MANIFEST):
            if errors.leaves_out(where, *(row[column] for column in NAMES)):
                continue
            with errors.collect():
                found = read_entry(row, self.manual_dir, where)
                (entries if isinstance(found, source.Entry) else exclusions).append(found)
        return source.check_source(self.name, source.Source(entries, exclusions), errors)
