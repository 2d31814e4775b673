"""The manifest of content digests, by which two labs compare their copies."""

import csv
import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from atnet_jax.errors import UserError
from data_builders.doctor.findings import CheckedClip, Checkup

DIGESTS = ("sha256", "apex_sha256", "adm_sha256", "flow_map_sha256")
NUMBERS = ("onset", "apex", "offset", "frames")
COLUMNS = ("dataset", "subject", "clip", "label", *NUMBERS, *DIGESTS)

# What a spreadsheet program takes for a formula; and the quote itself, so that `read` can undo it.
_FORMULA = ("=", "+", "-", "@", "'")


def to_csv(clips: Iterable[CheckedClip]) -> str:
    """The manifest as CSV, sorted; what is unknown is empty.

    `sha256` is of the raw frames, the others are of the decoded apex picture, the ADM and the flow
    map of prepared data. A name that a spreadsheet program would take for a formula, as the
    builders let names begin with any sign, gets a ' before it, which `read` takes off.
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    for clip in sorted(clips, key=lambda clip: (clip.dataset, clip.subject, clip.clip)):
        names = (clip.dataset, clip.subject, clip.clip)
        writer.writerow([f"'{name}" if name.startswith(_FORMULA) else name for name in names]
                        + list(_values(clip).values()))  # fmt: skip
    return table.getvalue()


def _values(clip: CheckedClip) -> dict[str, str]:
    """All but the names, by column."""
    numbers = (clip.onset, clip.apex, clip.offset, clip.frames)
    values = {"label": str(clip.label)}
    for column, number in zip(NUMBERS, numbers, strict=True):
        values[column] = "" if number is None else str(number)
    return values | {column: clip.digests.get(column, "") for column in DIGESTS}


def read(path: Path, *, raw: bool) -> dict[str, dict[str, str]]:
    """Reads what `to_csv` wrote, to be compared with raw frames or else with prepared data.

    Returns:
        All but the names, by column, of each clip's key.

    Raises:
        UserError: It cannot be read, is no such table, or has only digests of the other kind.
    """
    rows: dict[str, dict[str, str]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            if tuple(next(reader, ())) != COLUMNS:
                raise UserError(f"{path}: not the doctor's digests; expected {','.join(COLUMNS)}")
            for cells in reader:
                where = f"{path}, row {reader.line_num}"
                if len(cells) != len(COLUMNS):
                    raise UserError(f"{where}: {len(cells)} cells, expected {len(COLUMNS)}")
                row: dict[str, str] = dict(zip(COLUMNS, cells, strict=True))
                key = "/".join(row.pop(name).removeprefix("'") for name in COLUMNS[:3])
                for column in DIGESTS:
                    if not re.fullmatch(r"([0-9a-f]{64})?", row[column]):
                        raise UserError(f"{where}: {column} is {row[column]!r}, no SHA-256")
                if key in rows:
                    raise UserError(f"{where}: {key} is there twice")
                rows[key] = row
    except OSError as error:
        raise UserError(f"{path}: cannot read the digests ({error.strerror})") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a CSV file in UTF-8 ({error})") from None
    wanted = DIGESTS[:1] if raw else DIGESTS[1:]
    if not any(row[column] for row in rows.values() for column in wanted):
        raise UserError(
            f"{path}: no digests of {'raw frames' if raw else 'prepared data'} in it; compare "
            f"copies (--manual_dir) with copies, and prepared data (--data_dir) with such"
        )
    return rows


def compare(checkup: Checkup, other: Mapping[str, Mapping[str, str]]) -> None:
    """Adds the clips that differ from the other copy, or that only one of the two has.

    Databases that were not looked at are left out.
    """
    here = {clip.key: _values(clip) for clip in checkup.clips}
    for key, values in here.items():
        if key not in other:
            checkup.add("only_here", key, "not in the other copy")
        elif different := [name for name in values if values[name] != other[key][name]]:
            shown = (_tell(name, values[name], other[key][name]) for name in different)
            checkup.add("differs", key, "; ".join(shown))
    databases = {*checkup.databases, *(clip.dataset for clip in checkup.clips)}
    for key in other:
        if key not in here and key.split("/")[0] in databases:
            checkup.add("only_there", key, "not in this copy")


def _tell(column: str, here: str, there: str) -> str:
    if column in DIGESTS:
        here, there = here[:8], there[:8]
    return f"{column} {here or 'unknown'} here, {there or 'unknown'} there"
