"""Table of content digests, with which two labs compare their copies."""

import csv
import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from atnet_jax.errors import UserError
from atnet_jax.system.tables import quoted, unquoted
from atnet_jax.words import meant
from data_builders.doctor.findings import CheckedClip, Checkup

DIGESTS = ("sha256", "apex_sha256", "adm_sha256", "flow_map_sha256")
NUMBERS = ("onset", "apex", "offset", "frames")
COLUMNS = ("dataset", "subject", "clip", "label", *NUMBERS, *DIGESTS)


def to_csv(clips: Iterable[CheckedClip]) -> str:
    """Return the table as sorted CSV. Unknown values are empty.

    The column `sha256` is the digest of the raw frames. The other digests are those of the decoded
    apex picture, the ADM and the flow map of prepared data. Names may begin with any sign. If a
    spreadsheet program would read a name as a formula, `to_csv` adds a leading ', which `read`
    removes.

    Args:
        clips: The clips in any order.
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    for clip in sorted(clips, key=lambda clip: (clip.dataset, clip.subject, clip.clip)):
        names = (clip.dataset, clip.subject, clip.clip)
        writer.writerow([*map(quoted, names), *_values(clip).values()])
    return table.getvalue()


def _values(clip: CheckedClip) -> dict[str, str]:
    """Return all values except the names, by column."""
    numbers = (clip.onset, clip.apex, clip.offset, clip.frames)
    values = {"label": str(clip.label)}
    for column, number in zip(NUMBERS, numbers, strict=True):
        values[column] = "" if number is None else str(number)
    return values | {column: clip.digests.get(column, "") for column in DIGESTS}


def read(path: Path, *, raw: bool) -> dict[str, dict[str, str]]:
    """Read a table written by `to_csv`.

    Args:
        path: The CSV file.
        raw: Whether the table is compared with raw frames, or else with prepared data.

    Returns:
        Clip key → column → value, without the columns of the names.

    Raises:
        UserError: The file cannot be read, is not such a table, or has only digests of the other
            kind.
    """
    rows: dict[str, dict[str, str]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            if tuple(next(reader, ())) != COLUMNS:
                raise UserError(
                    f"{path} is not a digests.csv of `atnet doctor`. Expected the columns "
                    f"{','.join(COLUMNS)}."
                )
            for cells in reader:
                where = f"{path}, row {reader.line_num}"
                if len(cells) != len(COLUMNS):
                    raise UserError(f"{where}: Found {len(cells)} cells, expected {len(COLUMNS)}.")
                row: dict[str, str] = dict(zip(COLUMNS, cells, strict=True))
                key = "/".join(unquoted(row.pop(name)) for name in COLUMNS[:3])
                for column in DIGESTS:
                    if not re.fullmatch(r"([0-9a-f]{64})?", row[column]):
                        raise UserError(
                            f"{where}: {column} is {row[column]!r}, expected a SHA-256 of 64 "
                            f"hexadecimal digits or an empty cell."
                        )
                if key in rows:
                    raise UserError(f"{where}: {key} is listed twice. Remove one row.")
                rows[key] = row
    except OSError as error:
        raise UserError(f"{path}: The digests cannot be read ({error.strerror}).") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a CSV file in UTF-8 ({error}).") from None
    wanted = DIGESTS[:1] if raw else DIGESTS[1:]
    if not any(row[column] for row in rows.values() for column in wanted):
        raise UserError(
            f"{path} has no digests of {'raw frames' if raw else 'prepared data'}. Compare copies "
            f"(--manual_dir) with copies, and prepared data (--data_dir) with prepared data."
        )
    return rows


def compare(checkup: Checkup, other: Mapping[str, Mapping[str, str]]) -> None:
    """Add a finding for each clip that differs or that only one copy has.

    A note states how many are equal.

    Databases that were not checked are ignored.

    Args:
        checkup: The check of this copy, which receives the findings.
        other: The table of the other copy, as returned by `read`.
    """
    here = {clip.key: _values(clip) for clip in checkup.clips}
    names = meant(other, here)
    other = {names.get(key, key): values for key, values in other.items()}
    equal = 0
    for key, values in here.items():
        if key not in other:
            checkup.add("only_here", key, "the other copy does not contain it")
        elif different := [name for name in values if values[name] != other[key][name]]:
            shown = (_tell(name, values[name], other[key][name]) for name in different)
            checkup.add("differs", key, "; ".join(shown))
        else:
            equal += 1
    checkup.notes.append(f"clips equal to those of the other copy: {equal} of {len(here)}")
    databases = {*checkup.databases, *(clip.dataset for clip in checkup.clips)}
    for key in other:
        if key not in here and key.split("/")[0] in databases:
            checkup.add("only_there", key, "this copy does not contain it")


def _tell(column: str, here: str, there: str) -> str:
    if column in DIGESTS:
        here, there = here[:8], there[:8]
    return f"{column} {here or 'unknown'} here, {there or 'unknown'} there"
