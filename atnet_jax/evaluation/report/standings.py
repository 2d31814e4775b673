"""The scores of each method in the folders of a leaderboard, and methods that failed."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from atnet_jax import models, published
from atnet_jax.errors import UserError
from atnet_jax.evaluation.metrics import Evaluation
from atnet_jax.evaluation.record import FILE
from atnet_jax.evaluation.report.study import (
    LabelledClip,
    Method,
    groups_of,
    inflation,
    sort_into_methods,
)
from atnet_jax.evaluation.runs import TABLES, Run, load_run
from atnet_jax.evaluation.statistics import Figure, Summary

FAILED = "failed.txt"
"""The file PROTOCOL/METHOD/failed.txt of a leaderboard contains the error of a failed method."""

_UNFINISHED = "unfinished. Rerun the same command to resume."


class Scores(NamedTuple):
    """UF1 and UAR."""

    uf1: float
    uar: float


class Published(NamedTuple):
    """The published scores of a method under a protocol.

    Attributes:
        scores: Scores by "full" or database; empty if none are published.
        note: Sentences on how they were measured.
    """

    scores: Mapping[str, Scores]
    note: str


class Missing(NamedTuple):
    """A method without scores for some or all of its seeds, and the reason."""

    protocol: str
    title: str
    name: str
    reason: str


@dataclass(frozen=True)
class Standing:
    """A method under a protocol.

    Attributes:
        protocol: "cde" or "hde".
        name: Name of its folder: a method or a preset.
        title: Name in tables.
        summary: `statistics.summarise` of its seeds.
        published: Published scores.
        inflated: NOT RESULTS: scores with each fold's epoch chosen on its test clips, by "full" or
            database; empty if scores of single epochs were not saved.
        size: "parameters" or "features" → their number.
        seconds: Mean training time of a fold in seconds; None if it was not recorded.
        devices: Devices of its runs.
        differences: Sentences on differences from the published method and training.
        clips: The tested clips with their labels.
        results: `metrics.evaluate` of its first seed, for the numbers of clips.
    """

    protocol: str
    name: str
    title: str
    summary: Mapping[str, Summary]
    published: Published
    inflated: Mapping[str, Scores]
    size: Mapping[str, int]
    seconds: float | None
    devices: Sequence[str]
    differences: Sequence[str]
    clips: frozenset[LabelledClip]
    results: Mapping[str, Evaluation]

    @property
    def uf1(self) -> Figure:
        """UF1 over all clips pooled, which determines the place on the leaderboard."""
        return self.summary["full"].uf1


def read(workdir: Path) -> tuple[dict[str, list[Standing]], list[Missing]]:
    """Read the finished runs in `workdir`/PROTOCOL/METHOD/seed_N.

    Args:
        workdir: Folder of the leaderboard.

    Returns:
        Protocol → its methods, sorted by descending UF1; and the methods and seeds that failed,
        are unfinished or cannot be read.
    """
    standings: dict[str, list[Standing]] = {}
    missing = []
    for protocol in TABLES:
        found: list[Standing] = []
        for folder in sorted(path for path in (workdir / protocol).glob("*") if path.is_dir()):
            # Epoch scores take much memory, so only one method is loaded at a time.
            seeds = sorted(path.parent for path in folder.glob(f"seed_*/{FILE}"))
            finished = [seed for seed in seeds if (seed / "report.html").is_file()]
            reasons = []
            if (folder / FAILED).is_file():
                note = (folder / FAILED).read_text(encoding="utf-8", errors="replace")
                reasons.append(note.strip())
            elif unfinished := [seed.name for seed in seeds if seed not in finished]:
                reasons.append(f"{', '.join(unfinished)}: {_UNFINISHED}")
            try:
                found += _standings(folder.name, [load_run(seed) for seed in finished])
            except UserError as error:
                reasons.append(str(error))
            title = _title(folder.name)
            missing += [Missing(protocol, title, folder.name, reason) for reason in reasons]
        if found:
            standings[protocol] = sorted(found, key=lambda s: (-s.uf1.mean, s.title))
    return standings, missing


def overlapping(standings: Sequence[Standing]) -> list[list[int]]:
    """Return, for each method, the places from 1 of the others whose UF1 intervals overlap its."""

    def overlap(first: Figure, second: Figure) -> bool:
        if first.interval is None or second.interval is None:
            return False
        return max(first.interval[0], second.interval[0]) <= min(
            first.interval[1], second.interval[1]
        )

    return [
        [
            place
            for place, other in enumerate(standings, start=1)
            if other is not one and overlap(one.uf1, other.uf1)
        ]
        for one in standings
    ]


def groups(standings: Sequence[Standing]) -> list[str]:
    """Return the databases of a leaderboard: those of the paper first, then others."""
    found = {group for standing in standings for group in standing.summary} - {"full"}
    known = [name for name in published.DATABASES if name in found]
    return [*known, *sorted(found - set(known))]


def _standings(name: str, runs: Sequence[Run]) -> list[Standing]:
    """Return the runs in one folder as one method, or several if their settings differ."""
    return [_standing(name, method) for method in sort_into_methods(runs)]


def _standing(name: str, method: Method) -> Standing:
    first = method.runs[0]
    inflated = inflation(method, ["full", *groups_of("hde", [method])])
    return Standing(
        protocol=first.protocol,
        name=name,
        title=method.label,
        summary=method.summary,
        published=_published(first),
        inflated={group: Scores(*kinds.picked_by_fold) for group, kinds in inflated.items()},
        size=first.record.size,
        seconds=_seconds(method.runs),
        devices=sorted({run.record.environment.device for run in method.runs}),
        differences=_differences(method.runs),
        clips=method.clips,
        results=first.metrics,
    )


def _published(run: Run) -> Published:
    """Return the scores of the method's publication or of the paper's tables, none for controls."""
    own = models.find(run.model).published if run.model in models.names() else None
    if run.record.is_control:
        return Published({}, "")
    if own is not None and run.protocol == "cde":
        scores = {group: Scores(uf1, uar) for group, (uf1, uar) in own.cde.items()}
        return Published(scores, own.note)
    if run.paper_row is not None:
        row = TABLES[run.protocol][run.paper_row]
        return Published({group: Scores(s.uf1, s.uar) for group, s in row.items()}, "")
    return Published({}, "")


def _differences(runs: Iterable[Run]) -> list[str]:
    """Return the known deviations of the method and the notes of its runs."""
    runs = list(runs)
    model = runs[0].model
    own = models.find(model).deviations if model in models.names() else ()
    return list(dict.fromkeys([*own, *(note for run in runs for note in run.notes)]))


def _seconds(runs: Iterable[Run]) -> float | None:
    folds = [math.fsum(curve.seconds) for run in runs for curve in run.curves.values()]
    return float(np.mean(folds)) if folds else None


def _title(name: str) -> str:
    """Return the name in tables of the method or preset of a folder."""
    if name in models.names():
        return models.find(name).title_of()
    if name in models.presets():
        model, chosen = models.presets()[name]
        method = models.find(model)
        return method.title_of({**method.options, **chosen})
    return name
