"""The table of predictions that every method produces: a CSV file with one row per tested clip.

Metrics are computed from this table alone, independent of the method.
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
from atnet_jax.system.tables import quoted, unquoted

# Softmax in float32 sums to 1 within a few 1e-7; a larger error means other kinds of scores.
_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Prediction:
    """The prediction of a method for one test clip.

    Attributes:
        protocol: Evaluation protocol, e.g. "cde" or "hde".
        fold: Index of the fold that tests the clip, from 0.
        dataset: Database of the clip, e.g. "casme2".
        subject: Subject of the clip; text, as in the annotation ("01" is not "1").
        clip: Name of the clip within its subject.
        label: True class, an index into `CLASSES`.
        predicted: Predicted class, an index into `CLASSES`. It is usually the class with the
            highest score, but the method decides (a one-vs-one SVM votes).
        score_negative: Probability of "negative", rounded to float32.
        score_positive: Probability of "positive", rounded to float32.
        score_surprise: Probability of "surprise", rounded to float32.
        seed: Seed of the run.

    Raises:
        ValueError: A value is out of its range, or the scores do not sum to 1.
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
        for name in _NAMES:
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
            if not 0 <= score <= 1:  # This also rejects NaN.
                raise ValueError(f"{name} must be a probability from 0 to 1, found {score}")
            # The file stores float32. Rounding makes a row equal to itself when read back.
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
_NAMES = ("protocol", "dataset", "subject", "clip")
_INTEGERS = ("fold", "label", "predicted", "seed")
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]{1,3})?", re.IGNORECASE)


def write(path: Path, rows: Iterable[Prediction]) -> None:
    """Write the rows as CSV (UTF-8, LF), atomically, sorted by seed, fold, dataset, subject, clip.

    Scores have nine significant digits, from which `read` restores the same float32. A name that a
    spreadsheet program would read as a formula, such as "=1+1", gets a leading ', which `read`
    removes.

    Args:
        path: The file; an existing file is replaced.
        rows: The predictions, in any order.

    Raises:
        ValueError: There are no rows, or a clip is predicted twice under one protocol and seed.
        OSError: The folder does not exist or is not writable.
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
            ",".join(
                f"{v:.9g}" if name in _SCORES else _quote(quoted(v) if name in _NAMES else str(v))
                for name, v in cells
            )
        )
    write_text_atomically(path, "\n".join(lines) + "\n")


def read(path: Path) -> list[Prediction]:
    """Return the predictions in a file of `write`, in the order of its rows.

    Args:
        path: The file, as `write` writes it. A byte order mark is ignored.

    Raises:
        UserError: The file is missing or is not UTF-8 CSV, its columns differ, a value has the
            wrong type or is out of range, a clip occurs twice under one protocol and seed, or the
            file has no rows. The message names the file and the row; the header is row 1.
    """
    try:
        # Spreadsheet programs add a byte order mark, which -sig removes.
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"Cannot read the predictions in {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 text (byte {error.start}). Pass a CSV file of predictions."
        ) from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[Prediction] = []
    first_row_of: dict[tuple[str, ...], int] = {}
    number = 0
    try:
        for number, cells in enumerate(reader, start=1):
            if number == 1:
                _check_header(cells)
                continue
            row = _parse(cells)
            _check_new(row, first_row_of.setdefault(_key(row), number), number)
            rows.append(row)
    except csv.Error as error:
        raise UserError(f"{path}, row {number + 1}: invalid CSV: {error}.") from error
    except ValueError as error:
        raise UserError(f"{path}, row {number}: {error}.") from error
    if not rows:
        raise UserError(f"{path} contains no predictions. Expected a header and at least one row.")
    return rows


def columns(rows: Iterable[Prediction]) -> dict[str, list[Any]]:
    """Return predictions as columns: field name → values in the order of `rows`."""
    found: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    for row in rows:
        for name, value in zip(_COLUMNS, astuple(row), strict=True):
            found[name].append(value)
    return found


def _key(row: Prediction) -> tuple[str, ...]:
    """Return the key of a row: a clip is tested once under one protocol and seed."""
    return row.protocol, str(row.seed), row.dataset, row.subject, row.clip


def _check_header(cells: list[str]) -> None:
    if tuple(cells) != _COLUMNS:
        raise ValueError(f"expected the columns {','.join(_COLUMNS)}, found {','.join(cells)}")


def _check_new(row: Prediction, first: int, number: int) -> None:
    if first != number:
        raise ValueError(f"clip {'/'.join(_key(row)[2:])} is already in row {first}")


def _quote(cell: str) -> str:
    # Before Python 3.13, csv.writer does not quote a lone carriage return.
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
            values[name] = unquoted(cell)
    return Prediction(**values)  # pyright: ignore[reportArgumentType]
