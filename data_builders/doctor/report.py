"""Report of a check: text for the terminal, and doctor.json with every finding."""

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import atnet_jax
from atnet_jax.names import CLASSES
from atnet_jax.published import COMPOSITE, DATABASES
from atnet_jax.words import numbered
from data_builders.doctor.composite import Verdict
from data_builders.doctor.findings import KINDS, CheckedClip, Checkup, Finding

WRITTEN_BY = "atnet doctor"

_WIDTH = 100
_SHOWN = 5


def to_text(checkup: Checkup, verdicts: Mapping[str, Verdict]) -> str:
    """Return the report for the terminal, 100 columns wide, with one line per verdict at the end.

    There are no verdicts on clips of other databases.

    Args:
        checkup: The checked clips and the findings.
        verdicts: The return value of `composite.judge`.
    """
    lines: list[str] = []
    for dataset, clips in _by_dataset(checkup).items():
        lines += _database(dataset, clips, checkup)
    for note in checkup.notes:
        lines += _wrap(note)
    for level in ("error", "warning"):
        for kind, findings in _by_kind(checkup, level).items():
            lines += ["", *_wrap(f"{level.upper()}: {KINDS[kind].title}: {len(findings)}")]
            for finding in findings[:_SHOWN]:
                lines += _wrap(f"- {finding.clip}: {finding.found}", "  ")
            if len(findings) > _SHOWN:
                rest = len(findings) - _SHOWN
                lines.append(f"  … and {rest} more. doctor.json (--out=FOLDER) lists all of them.")
            lines += _wrap(f"Recommended action: {KINDS[kind].advice}.", "  ")
    errors = sum(finding.is_error for finding in checkup.findings)
    warnings = len(checkup.findings) - errors
    lines += ["", f"Errors: {errors}. Warnings: {warnings}."]
    if checkup.databases:  # A manifest may hold no clips of the paper's databases.
        lines += ["", *(verdict.line for verdict in verdicts.values())]
    return "\n".join(_printable(line) for line in lines)


def _printable(line: str) -> str:
    """Replace control characters, because names come from users' files."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in line)


def _wrap(text: str, indent: str = "") -> list[str]:
    # Paths are not broken, even if longer than the line, so that users can copy them.
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _by_dataset(checkup: Checkup) -> dict[str, list[CheckedClip]]:
    datasets: dict[str, list[CheckedClip]] = {name: [] for name in checkup.databases}
    for clip in checkup.clips:
        datasets.setdefault(clip.dataset, []).append(clip)
    return datasets


def _by_kind(checkup: Checkup, level: str) -> dict[str, list[Finding]]:
    """Return the findings of a level by kind, in the order of `KINDS`."""
    return {
        kind: [finding for finding in checkup.findings if finding.kind == kind]
        for kind, about in KINDS.items()
        if about.level == level and any(finding.kind == kind for finding in checkup.findings)
    }


def _classes(clips: list[CheckedClip]) -> dict[str, int]:
    counts = Counter(clip.label for clip in clips)
    return {name: counts[label] for label, name in enumerate(CLASSES)}


def _subjects(clips: list[CheckedClip]) -> dict[str, dict[str, int]]:
    subjects: dict[str, list[CheckedClip]] = {}
    for clip in clips:
        subjects.setdefault(clip.subject, []).append(clip)
    return {subject: _classes(group) for subject, group in sorted(subjects.items())}


def _database(dataset: str, clips: list[CheckedClip], checkup: Checkup) -> Iterator[str]:
    subjects = _subjects(clips)
    shown = {name: str(count) for name, count in _classes(clips).items()}
    name = f"{DATABASES[dataset]} ({dataset})" if dataset in DATABASES else dataset
    if dataset in DATABASES:
        shown = {n: f"{count} of {getattr(COMPOSITE[dataset], n)}" for n, count in shown.items()}
    else:
        name += ", which is not part of the paper's composite"
    yield from _wrap(
        f"{name}: {numbered(len(clips), 'clip')} of {numbered(len(subjects), 'subject')}; "
        + ", ".join(f"{n} {count}" for n, count in shown.items())
    )
    if subjects:
        by_subject = (f"{s} {'/'.join(map(str, c.values()))}" for s, c in subjects.items())
        yield from _wrap(f"by subject ({'/'.join(CLASSES)}): {', '.join(by_subject)}", "  ")
    left_out: dict[str, list[str]] = {}
    for other, clip, reason in checkup.left_out:
        if other == dataset:
            left_out.setdefault(reason, []).append(clip)
    for reason, excluded in sorted(left_out.items()):
        listed = f": {', '.join(excluded)}" if len(excluded) <= 3 else ""
        yield from _wrap(f"excluded: {len(excluded)} ({reason}){listed}", "  ")


def to_json(
    checkup: Checkup, verdicts: Mapping[str, Verdict], about: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the content of doctor.json.

    Args:
        checkup: The checked clips and the findings.
        verdicts: The return value of `composite.judge`.
        about: Further entries.
    """
    return {
        "written_by": WRITTEN_BY,
        "atnet_jax_version": atnet_jax.__version__,
        "databases": {
            dataset: {"clips": len(clips), "classes": _classes(clips), "subjects": _subjects(clips)}
            for dataset, clips in _by_dataset(checkup).items()
        },
        "verdicts": {name: vars(verdict) for name, verdict in verdicts.items()},
        "findings": [
            {"level": KINDS[finding.kind].level, **vars(finding)} for finding in checkup.findings
        ],
        "left_out": [
            {"dataset": dataset, "clip": clip, "reason": reason}
            for dataset, clip, reason in checkup.left_out
        ],
        "notes": checkup.notes,
        **about,
    }
