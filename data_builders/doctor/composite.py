"""Comparison of a copy with the paper's composite, by counts and, given a list, by clip names.

The names of the composite's clips come from licence-gated annotation files, so this project does
not contain them. It contains only the counts printed in the paper. Users who have a list of the
clips pass it as a CSV file.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from atnet_jax.errors import UserError
from atnet_jax.names import CLASSES
from atnet_jax.published import COMPOSITE, DATABASES, has_subject
from atnet_jax.system import tables
from atnet_jax.words import meant, numbered
from data_builders.doctor.findings import CheckedClip, Checkup

COLUMNS = ("dataset", "subject", "clip", "label")
APEX_COLUMN = "apex_frame_file"

# These are the database's own names. For the other two databases, the spreadsheets list them.
_SMIC_SUBJECTS = frozenset(
    f"s{number:02d}" for number in (*range(1, 7), 8, 9, *range(11, 16), 18, 19, 20)
)
_APEX = re.compile(r".*?([0-9]{1,9})\.[A-Za-z]+")


def read_list(path: Path) -> list[CheckedClip]:
    """Return the clips of a list.

    Args:
        path: CSV file (UTF-8) with the columns dataset, subject, clip, label (0, 1, 2) and
            optionally apex_frame_file, the name of the apex frame's file, which ends in its number.

    Raises:
        UserError: The file or one of its rows cannot be used.
    """
    rows: dict[str, CheckedClip] = {}
    for row in tables.read_table(path, (*COLUMNS, APEX_COLUMN), required=COLUMNS).rows:
        where = f"{path}, row {row.line}"
        listed = _listed(row.cells, where)
        if listed.key in rows:
            raise UserError(f"{where}: {listed.key} is listed twice. Remove one row.")
        rows[listed.key] = listed
    if not rows:
        raise UserError(f"{path}: The list has no clips.")
    return list(rows.values())


def _listed(row: dict[str, str], where: str) -> CheckedClip:
    for name in COLUMNS:
        if not row[name]:
            raise UserError(f"{where}: {name} is empty, expected a value.")
    labels = [str(label) for label in range(len(CLASSES))]
    label = re.sub(r"\.0*$", "", row["label"])  # Some programs write 1 as 1.0.
    if label not in labels:
        raise UserError(f"{where}: label is {row['label']!r}, expected {', '.join(labels)}.")
    apex = None
    if name := row.get(APEX_COLUMN, ""):
        match = _APEX.fullmatch(name)
        if match is None:
            raise UserError(
                f"{where}: {APEX_COLUMN} is {name!r}, expected a frame's name such as img59.jpg."
            )
        apex = int(match[1])
    return CheckedClip(row["dataset"], row["subject"], row["clip"], int(label), apex=apex)


@dataclass(frozen=True)
class Verdict:
    """Answer to the question whether a copy reproduces a database's part of the composite.

    Attributes:
        line: The answer in words.
        can: The answer, or None for a database that was not checked.
        usable: Number of usable clips.
    """

    line: str
    can: bool | None
    usable: int


def judge(checkup: Checkup, listed: Sequence[CheckedClip] | None) -> dict[str, Verdict]:
    """Compare the copy with the composite and add the differences to the findings.

    Args:
        checkup: The checked clips and the findings. Clips with errors are not usable.
        listed: The clips of the composite, if they are known.

    Returns:
        The verdict for each database of the paper, and for the composite as "full".
    """
    for clip in checkup.clips:
        if not has_subject(clip.dataset, clip.subject):
            checkup.add("foreign", clip.key, "the database has no such subject")
    spoiled = {finding.clip for finding in checkup.findings if finding.is_error}
    if listed is not None:
        _compare(checkup, listed)
    verdicts = {}
    for database in DATABASES:
        if database not in checkup.databases:
            verdicts[database] = Verdict(f"{DATABASES[database]} was not checked.", None, 0)
            continue
        clips = [clip for clip in checkup.clips if clip.dataset == database]
        usable = [clip for clip in clips if clip.key not in spoiled]
        # These findings concern no single clip, for example a missing or damaged set.
        whole = sum(f.is_error and f.clip == database for f in checkup.findings)
        reasons = _count(checkup, database, usable)
        if whole:
            reasons.append(f"{numbered(whole, 'error')} in the database")
        if len(clips) > len(usable):
            reasons.append(f"{numbered(len(clips) - len(usable), 'clip')} with errors")
        by_name = any(row.dataset == database for row in listed or ())
        if by_name:
            reasons += _listed_reasons(checkup, database)
        answer = "The clips match the composite's list."
        if reasons:
            answer = f"The clips do not match the composite: {'; '.join(reasons)}."
        elif not by_name:
            answer = "The clip counts match the composite. No list of clips was passed."
        line = (
            f"{DATABASES[database]}: {numbered(len(usable), 'usable clip')}, "
            f"{COMPOSITE[database].clips} expected. {answer}"
        )
        verdicts[database] = Verdict(line, not reasons, len(usable))
    verdicts["full"] = _all(verdicts, {row.dataset for row in listed or ()} >= set(DATABASES))
    return verdicts


def _compare(checkup: Checkup, listed: Sequence[CheckedClip]) -> None:
    looked_at = {*checkup.databases, *(clip.dataset for clip in checkup.clips)}
    wanted = {row.key: row for row in listed if row.dataset in looked_at}
    if not wanted:
        checkup.add("other_list", "list", f"it has no clips of {', '.join(sorted(looked_at))}")
    found = {clip.key: clip for clip in checkup.clips}
    names = meant(wanted, found)
    wanted = {names.get(key, key): row for key, row in wanted.items()}
    listed_databases = {row.dataset for row in wanted.values()}
    for key, row in wanted.items():
        clip = found.get(key)
        if clip is None:
            checkup.add("missing", key, f"its class in the list is {CLASSES[row.label]}")
            continue
        if clip.label != row.label:
            checkup.add("other_label", key, f"label {clip.label}, expected {row.label}")
        if row.apex is not None and clip.apex != row.apex:
            checkup.add("other_apex", key, f"apex {clip.apex}, expected {row.apex}")
    for key, clip in found.items():
        if key not in wanted and clip.dataset in listed_databases:
            checkup.add("extra", key, "the list does not contain it")


def _listed_reasons(checkup: Checkup, database: str) -> list[str]:
    kinds = {"missing": "missing", "extra": "extra", "other_label": "with a different label"}
    counts = Counter(
        finding.kind for finding in checkup.findings if finding.clip.startswith(f"{database}/")
    )
    parts = [f"{counts[kind]} {words}" for kind, words in kinds.items() if counts[kind]]
    return [f"compared with the list: {', '.join(parts)}"] if parts else []


def _count(checkup: Checkup, database: str, usable: Iterable[CheckedClip]) -> list[str]:
    """Return the differences from the paper's counts, and add them to the findings."""
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
        what = "different class counts"
        if short:
            few = "too few" if short > 0 else "too many"
            what = f"{numbered(abs(short), 'clip')} {few}"
        reasons.append(f"{what} ({', '.join(different)})" if different else what)
    subjects = {clip.subject for clip in usable}
    if len(subjects) != expected.subjects:
        reasons.append(f"{len(subjects)} of {numbered(expected.subjects, 'subject')}")
    if reasons:
        found = "; ".join(reasons)
        if database == "smic" and (absent := sorted(_SMIC_SUBJECTS - subjects)):
            found += f"; subjects without clips: {', '.join(absent)}"
        checkup.add("counts", database, found)
    return reasons


def _all(verdicts: dict[str, Verdict], by_name: bool) -> Verdict:
    """Return the verdict on the whole composite."""
    usable = sum(verdict.usable for verdict in verdicts.values())
    total = COMPOSITE["full"].clips
    failed = [DATABASES[name] for name, verdict in verdicts.items() if verdict.can is False]
    unseen = [DATABASES[name] for name, verdict in verdicts.items() if verdict.can is None]
    line = f"The paper's composite: {numbered(usable, 'usable clip')}, {total} expected. "
    can = not failed
    if failed:
        line += f"It cannot be reproduced because of {', '.join(failed)}."
    elif unseen:
        line += f"Not checked: {', '.join(unseen)}."
        can = None
    else:
        line += "The clips match the list." if by_name else "The clip counts match."
    return Verdict(line, can, usable)
