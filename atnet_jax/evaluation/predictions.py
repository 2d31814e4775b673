"""The table every method ends in: one row a tested clip, kept as a CSV file.

Metrics and reports are computed from this table alone; they never know which model ran.
"""

import csv
import io
import math
import re
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from atnet_jax.errors import UserError
from atnet_jax.names import CLASSES
from atnet_jax.system.files import write_text_atomically

# Softmax in float32 sums to one within a few 1e-7; this finds columns that are no probabilities.
_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Prediction:
    """What a method said of one clip when the clip was on the test side.

    Attributes:
        protocol: the evaluation protocol, e.g. "cde" or "hde".
        fold: index of the fold the clip was tested in, from 0.
        dataset: database of the clip, e.g. "casme2".
        subject: subject of the clip; text, as in the annotation ("01" is not "1").
        clip: name of the clip within its subject.
        label: true class, an index into `CLASSES`.
        predicted: the method's decision, an index into `CLASSES`. It is nearly always the class
            of the highest score, but that is left to the method (a one-vs-one SVM votes).
        score_negative: probability of "negative", rounded to float32.
        score_positive: probability of "positive", rounded to float32.
        score_surprise: probability of "surprise", rounded to float32.
        seed: seed of the run.

    Raises:
        ValueError: a value is out of its range, or the scores do not sum to one.
    """

    protocol: str
    fold: int
    dataset: str
    subject: str
    clip: str
    label: int
    predicted: int
    score_negative: float
    score_positive: float
    score_surprise: float
    seed: int

    def __post_init__(self):
        for name in ("protocol", "dataset", "subject", "clip"):
            if not getattr(self, name).strip():
                raise ValueError(f"{name} is empty")
        for name in ("fold", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, found {getattr(self, name)}")
        for name in ("label", "predicted"):
            if not 0 <= getattr(self, name) < len(CLASSES):
                choices = ", ".join(f"{index} ({cls})" for index, cls in enumerate(CLASSES))
                raise ValueError(f"{name} must be one of {choices}, found {getattr(self, name)}")
        for name in _SCORES:
            score = getattr(self, name)
            if not 0 <= score <= 1:  # a NaN fails this too
                raise ValueError(f"{name} must be a probability from 0 to 1, found {score}")
            # The file holds float32; rounding here makes a row equal to what is read back.
            object.__setattr__(self, name, float(np.float32(score)))
        total = math.fsum(self.scores)
        if abs(total - 1) > _SUM_TOLERANCE:
            raise ValueError(f"the three scores must sum to 1, found {total:.6g}")

    @property
    def scores(self) -> tuple[float, float, float]:
        """The probabilities in the order of `CLASSES`."""
        return self.score_negative, self.score_positive, self.score_surprise


_SCORES = tuple(f"score_{cls}" for cls in CLASSES)
_COLUMNS = tuple(field.name for field in fields(Prediction))
_INTEGERS = ("fold", "label", "predicted", "seed")
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]{1,3})?", re.IGNORECASE)


def write(path: Path, rows: Iterable[Prediction]) -> None:
    """Write the rows as CSV (UTF-8, LF), atomically, sorted by seed, fold, dataset, subject, clip.

    Scores have nine significant digits, which `read` turns back into the same float32. Names are
    written as they are, so a name that begins with "=" is a formula to a spreadsheet program.

    Raises:
        ValueError: there are no rows, or a clip is predicted twice under one protocol and seed.
        OSError: the folder does not exist or cannot be written to.
    """
    ordered = sorted(rows, key=lambda p: (p.seed, p.fold, p.dataset, p.subject, p.clip))
    if not ordered:
        raise ValueError("no predictions to write")
    seen: set[tuple[str, ...]] = set()
    lines = [",".join(_COLUMNS)]
    for row in ordered:
        if _key(row) in seen:
            raise ValueError(f"clip {'/'.join(_key(row)[2:])} is predicted twice")
        seen.add(_key(row))
        cells = zip(_COLUMNS, astuple(row), strict=True)
        lines.append(
            ",".join(f"{v:.9g}" if name in _SCORES else _quote(str(v)) for name, v in cells)
        )
    write_text_atomically(path, "\n".join(lines) + "\n")


def read(path: Path) -> list[Prediction]:
    """Read what `write` wrote, in the file's order, checking every cell.

    Raises:
        UserError: the file is missing or is not such a table: other columns, a cell of another
            type or out of range, a clip twice under one protocol and seed, no rows. The message
            names the file and the row, counted as a spreadsheet does (the header is row 1).
    """
    try:
        # Spreadsheet programs add a byte order mark; -sig drops it.
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot read the predictions: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: not UTF-8 text (byte {error.start}); is it a CSV file?"
        ) from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[Prediction] = []
    first_row_of: dict[tuple[str, ...], int] = {}
    number = 0
    try:
        for number, cells in enumerate(reader, start=1):
            if number == 1:
                if tuple(cells) != _COLUMNS:
                    expected = ",".join(_COLUMNS)
                    raise ValueError(f"expected the columns {expected}, found {','.join(cells)}")
                continue
            row = _parse(cells)
            first = first_row_of.setdefault(_key(row), number)
            if first != number:
                raise ValueError(f"clip {'/'.join(_key(row)[2:])} is already in row {first}")
            rows.append(row)
    except csv.Error as error:
        raise UserError(f"{path}, row {number + 1}: not valid CSV: {error}") from error
    except ValueError as error:
        raise UserError(f"{path}, row {number}: {error}") from error
    if not rows:
        raise UserError(f"{path}: no predictions in this file; expected a header and rows")
    return rows


def columns(rows: Iterable[Prediction]) -> dict[str, list[Any]]:
    """Return predictions as columns: name of the field → its values, in the order of the rows."""
    found: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    for row in rows:
        for name, value in zip(_COLUMNS, astuple(row), strict=True):
            found[name].append(value)
    return found


def _key(row: Prediction) -> tuple[str, ...]:
    """What may occur once: a clip is tested once under a protocol and seed."""
    return row.protocol, str(row.seed), row.dataset, row.subject, row.clip


def _quote(cell: str) -> str:
    # csv.writer leaves a lone carriage return unquoted before Python 3.13.
    if any(sign in cell for sign in ',"\r\n'):
        return '"' + cell.replace('"', '""') + '"'
    return cell


def _parse(cells: list[str]) -> Prediction:
    if len(cells) != len(_COLUMNS):
        raise ValueError(f"expected {len(_COLUMNS)} cells, found {len(cells)}")
    values: dict[str, str | int | float] = {}
    for name, cell in zip(_COLUMNS, cells, strict=True):
        if name in _INTEGERS:
            if not _INTEGER.fullmatch(cell):
                raise ValueError(f"{name} must be a whole number, found {cell!r}")
            values[name] = int(cell)
        elif name in _SCORES:
            if not _DECIMAL.fullmatch(cell):
                raise ValueError(f"{name} must be a decimal number, found {cell!r}")
            values[name] = float(cell)
        else:
            values[name] = cell
    return Prediction(**values)  # pyright: ignore[reportArgumentType]
