"""Compares a copy with the paper's composite: by numbers, and by names where a list is given.

The composite's clips come from licence-gated annotation files, so no list of them is in here: only
the numbers that the paper prints. Who has such a list gives it as a CSV file.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from atnet_jax.errors import UserError
from atnet_jax.names import CLASSES
from atnet_jax.published import COMPOSITE, DATABASES
from data_builders.doctor.findings import CheckedClip, Checkup

COLUMNS = ("dataset", "subject", "clip", "label")
APEX_COLUMN = "apex_frame_file"

# So the database itself names them; the other two number theirs with gaps known from their sheets.
_SMIC_SUBJECTS = frozenset(
    f"s{number:02d}" for number in (*range(1, 7), 8, 9, *range(11, 16), 18, 19, 20)
)
_APEX = re.compile(r".*?([0-9]{1,9})\.[A-Za-z]+")


def read_list(path: Path) -> list[CheckedClip]:
    """Reads a list of clips.

    Args:
        path: CSV file (UTF-8) with the columns dataset, subject, clip, label (0, 1, 2) and, if
            wanted, apex_frame_file: the name of the apex frame's file, which ends in its number.

    Raises:
        UserError: The file or one of its rows cannot be used.
    """
    rows: dict[str, CheckedClip] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True, restval="")
            columns = reader.fieldnames or ()
            missing = [name for name in COLUMNS if name not in columns]
            if missing:
                raise UserError(
                    f"{path}: no column {', '.join(missing)}; expected {','.join(COLUMNS)} and, "
                    f"if wanted, {APEX_COLUMN}"
                )
            for row in reader:
                where = f"{path}, row {reader.line_num}"
                listed = _listed({name: row.get(name) or "" for name in columns}, where)
                if listed.key in rows:
                    raise UserError(f"{where}: {listed.key} is listed twice; keep one")
                rows[listed.key] = listed
    except OSError as error:
        raise UserError(f"{path}: cannot read the list ({error.strerror})") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a CSV file in UTF-8 ({error})") from None
    if not rows:
        raise UserError(f"{path}: the list has no clips")
    return list(rows.values())


def _listed(row: dict[str, str], where: str) -> CheckedClip:
    for name in COLUMNS:
        if not row[name].strip():
            raise UserError(f"{where}: {name} is empty")
    labels = [str(label) for label in range(len(CLASSES))]
    if row["label"] not in labels:
        raise UserError(f"{where}: label is {row['label']!r}, expected {', '.join(labels)}")
    apex = None
    if name := row.get(APEX_COLUMN, ""):
        match = _APEX.fullmatch(name)
        if match is None:
            raise UserError(
                f"{where}: {APEX_COLUMN} is {name!r}, expected a frame's name (img59.jpg)"
            )
        apex = int(match[1])
    return CheckedClip(row["dataset"], row["subject"], row["clip"], int(row["label"]), apex=apex)


@dataclass(frozen=True)
class Verdict:
    """Whether a database gives its part of the composite.

    Attributes:
        line: The answer, in words.
        can: The answer; None for a database that was not looked at.
        usable: How many of its clips can be used.
    """

    line: str
    can: bool | None
    usable: int


def judge(checkup: Checkup, listed: Sequence[CheckedClip] | None) -> dict[str, Verdict]:
    """Compares with the composite, adds what differs to the findings, and says what it means.

    Args:
        checkup: What was looked at; a clip with errors cannot be used and does not count.
        listed: The clips of the composite, if they are known.

    Returns:
        The verdict for each database of the paper, and for the composite as "full".
    """
    spoiled = {finding.clip for finding in checkup.findings if finding.is_error}
    if listed is not None:
        _compare(checkup, listed)
    verdicts = {}
    for database in DATABASES:
        if database not in checkup.databases:
            verdicts[database] = Verdict(f"{DATABASES[database]}: not checked", None, 0)
            continue
        clips = [clip for clip in checkup.clips if clip.dataset == database]
        usable = [clip for clip in clips if clip.key not in spoiled]
        # Not of single clips: what the builder refuses, a set that is absent or damaged.
        whole = sum(f.is_error and f.clip == database for f in checkup.findings)
        reasons = _count(checkup, database, usable)
        if whole:
            reasons.append(f"{whole} error{'s' * (whole > 1)} of the database")
        if len(clips) > len(usable):
            reasons.append(f"{len(clips) - len(usable)} with errors")
        by_name = any(row.dataset == database for row in listed or ())
        if by_name:
            reasons += _listed_reasons(checkup, database)
        answer = "yes" if by_name else "yes, by numbers (no list of names was given)"
        if reasons:
            answer = f"cannot: {'; '.join(reasons)}"
        line = (
            f"{DATABASES[database]}: {len(usable)} of {COMPOSITE[database].clips} clips: {answer}"
        )
        verdicts[database] = Verdict(line, not reasons, len(usable))
    verdicts["full"] = _all(verdicts, {row.dataset for row in listed or ()} >= set(DATABASES))
    return verdicts


def _compare(checkup: Checkup, listed: Sequence[CheckedClip]) -> None:
    looked_at = {*checkup.databases, *(clip.dataset for clip in checkup.clips)}
    wanted = {row.key: row for row in listed if row.dataset in looked_at}
    if not wanted:
        checkup.add("other_list", "list", f"names no clip of {', '.join(sorted(looked_at))}")
    found = {clip.key: clip for clip in checkup.clips}
    listed_databases = {row.dataset for row in wanted.values()}
    for key, row in wanted.items():
        clip = found.get(key)
        if clip is None:
            checkup.add("missing", key, f"listed as {CLASSES[row.label]}")
            continue
        if clip.label != row.label:
            checkup.add("other_label", key, f"label {clip.label}, listed as {row.label}")
        if row.apex is not None and clip.apex != row.apex:
            checkup.add("other_apex", key, f"apex {clip.apex}, listed as {row.apex}")
    for key, clip in found.items():
        if key not in wanted and clip.dataset in listed_databases:
            checkup.add("extra", key, "not listed")


def _listed_reasons(checkup: Checkup, database: str) -> list[str]:
    kinds = {"missing": "missing", "extra": "extra", "other_label": "with another label"}
    counts = Counter(
        finding.kind for finding in checkup.findings if finding.clip.startswith(f"{database}/")
    )
    parts = [f"{counts[kind]} {words}" for kind, words in kinds.items() if counts[kind]]
    return [f"by the list {', '.join(parts)}"] if parts else []


def _count(checkup: Checkup, database: str, usable: Iterable[CheckedClip]) -> list[str]:
    """How the numbers differ from the paper's; also added to the findings."""
    usable = list(usable)
    expected = COMPOSITE[database]
    labels = Counter(clip.label for clip in usable)
    different = [
        f"{name} {labels[label]} of {getattr(expected, name)}"
        for label, name in enumerate(CLASSES)
        if labels[label] != getattr(expected, name)
    ]
    reasons = []
    short = expected.clips - len(usable)
    if short or different:
        what = "clips of other classes"
        if short:
            what = (
                f"{abs(short)} clip{'s' * (abs(short) > 1)} {'short' if short > 0 else 'too many'}"
            )
        reasons.append(f"{what} ({', '.join(different)})" if different else what)
    subjects = {clip.subject for clip in usable}
    if len(subjects) != expected.subjects:
        reasons.append(f"{len(subjects)} of {expected.subjects} subjects")
    if reasons:
        found = "; ".join(reasons)
        if database == "smic" and (absent := sorted(_SMIC_SUBJECTS - subjects)):
            found += f"; no clip of {', '.join(absent)}"
        checkup.add("counts", database, found)
    return reasons


def _all(verdicts: dict[str, Verdict], by_name: bool) -> Verdict:
    """The verdict on the whole composite."""
    usable = sum(verdict.usable for verdict in verdicts.values())
    total = COMPOSITE["full"].clips
    failed = [DATABASES[name] for name, verdict in verdicts.items() if verdict.can is False]
    unseen = [DATABASES[name] for name, verdict in verdicts.items() if verdict.can is None]
    line, can = f"The paper's {total}: ", not failed
    if failed:
        line += f"cannot: {usable} of {total} clips; see {', '.join(failed)}"
    elif unseen:
        line += f"{usable} clips are here; {', '.join(unseen)} not checked"
        can = None
    else:
        line += "yes" if by_name else "yes, by numbers"
    return Verdict(line, can, usable)
