"""Runs sorted into methods, and what can be said of methods together."""

import hashlib
import itertools
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from atnet_jax import published
from atnet_jax.errors import UserError
from atnet_jax.evaluation import statistics
from atnet_jax.evaluation.inflation import inflated_figures
from atnet_jax.evaluation.predictions import Prediction
from atnet_jax.evaluation.runs import TABLES, Run
from atnet_jax.evaluation.statistics import PairedTests, Summary

# A label names settings without these groups.
_GROUPS = re.compile(r"^(options|data|recipe)\.")
# A label names so many settings at most.
_NAMED_SETTINGS = 3


LabelledClip: TypeAlias = tuple[str, str, str, int]
"""Database, subject, clip, label."""


@dataclass(frozen=True)
class Method:
    """A method under a protocol, with one or several seeds.

    Attributes:
        label: its name in the report, unlike any other of the protocol.
        variant: the part of the label that tells it from others of the same row.
        runs: one a seed, ascending.
        summary: `statistics.summarise` of all of them.
    """

    label: str
    variant: str
    runs: Sequence[Run]
    summary: Mapping[str, Summary]

    @property
    def protocol(self) -> str:
        """The protocol of all its runs."""
        return self.runs[0].protocol

    @property
    def paper_row(self) -> str | None:
        """Its row in the paper's tables."""
        return self.runs[0].paper_row

    @property
    def base(self) -> str:
        """The name of the row it stands in: the paper's, or else the method's title."""
        return self.runs[0].title

    @property
    def seeds(self) -> list[int]:
        """The seeds of the runs."""
        return [run.seed for run in self.runs]

    @property
    def predictions(self) -> list[Prediction]:
        """The tested clips of all seeds."""
        return [row for run in self.runs for row in run.predictions]

    @property
    def is_control(self) -> bool:
        """Whether its labels were shuffled, which every seed does in another way."""
        return self.runs[0].record.is_control

    @property
    def clips(self) -> frozenset[LabelledClip]:
        """Which clips were tested, with their labels: figures on equal sets may be compared."""
        return frozenset(
            (row.dataset, row.subject, row.clip, row.label) for row in self.runs[0].predictions
        )


class Pair(NamedTuple):
    """Two methods tested against each other on a group of clips, "full" or a database."""

    first: Method
    second: Method
    group: str
    tests: PairedTests


class Inflation(NamedTuple):
    """Mean UF1 and UAR over seeds: of the run, and as they would be by choice of the epoch.

    The last two are no results: see `statistics.InflatedFigures`.
    """

    honest: tuple[float, float]
    picked_once: tuple[float, float]
    picked_by_fold: tuple[float, float]


def sort_into_methods(runs: Iterable[Run]) -> list[Method]:
    """Put runs that differ in nothing but the seed together.

    Returns:
        The methods: CDE before HDE, then in the order of the paper's tables, then by name.

    Raises:
        UserError: two runs are of the same method, settings, data and seed; or the seeds of a
            method differ in their clips.
    """
    found: defaultdict[str, dict[int, Run]] = defaultdict(dict)
    for run in runs:
        seeds = found[_identity(run)]
        if run.seed in seeds:
            raise UserError(
                f"{seeds[run.seed].workdir} and {run.workdir} hold the same run: {run.protocol} of"
                f" {run.model}, seed {run.seed}, with equal settings and data. Give only one."
            )
        seeds[run.seed] = run
    groups = [[seeds[seed] for seed in sorted(seeds)] for _, seeds in sorted(found.items())]
    methods = []
    for group, (label, variant) in zip(
        groups, _labels([group[0] for group in groups]), strict=True
    ):
        rows = [row for run in group for row in run.predictions]
        try:
            summary = statistics.summarise(rows)
        except UserError as error:
            folders = ", ".join(str(run.workdir) for run in group)
            raise UserError(f"{folders}: {error}") from error
        methods.append(Method(label, variant, tuple(group), summary))
    return sorted(methods, key=lambda method: (_place(method.runs[0]), method.label))


def groups_of(protocol: str, methods: Sequence[Method]) -> list[str]:
    """What the figures are of: the composite ("full", CDE only), the paper's databases, others."""
    found = {group for method in methods for group in method.summary}
    known = [name for name in published.DATABASES if name in found]
    full = ["full"] if protocol == "cde" else []
    return [*full, *known, *sorted(found - set(published.COMPOSITE))]


def compare_all(methods: Sequence[Method]) -> tuple[list[Pair], list[str]]:
    """Test all pairs of methods of one protocol that were tested on equal clips.

    Returns:
        The tested pairs (CDE: on all clips pooled; HDE: on each database held out), and why others
        could not be tested.
    """
    pairs: list[Pair] = []
    refused: list[str] = []
    for first, second in itertools.combinations(methods, 2):
        groups = ["full"]
        if first.protocol == "hde":
            groups = groups_of("hde", [first, second])
        for group in groups:
            of_first, of_second = (
                [row for row in method.predictions if group in ("full", row.dataset)]
                for method in (first, second)
            )
            try:
                tests = statistics.compare(of_first, of_second)
            except UserError as error:
                where = "" if group == "full" else f", {published.DATABASES.get(group, group)}"
                refused.append(f"First {first.label}, second {second.label}{where}: {error}")
            else:
                pairs.append(Pair(first, second, group, tests))
    return pairs, refused


def inflation(method: Method, groups: Sequence[str]) -> dict[str, Inflation]:
    """What choosing the epoch on the test clips would have made of a method's figures.

    Returns:
        Nothing unless all of its runs kept what each epoch scored.

    Raises:
        UserError: those scores are not of the run's predictions.
    """
    figures = []
    for run in method.runs:
        if run.epoch_scores is None:
            return {}
        try:
            figures.append(inflated_figures(run.predictions, run.epoch_scores))
        except UserError as error:
            raise UserError(f"{run.workdir}: {error}") from error

    def mean(kind: str, group: str) -> tuple[float, float]:
        scores = [getattr(figure, kind)[group] for figure in figures]
        uf1, uar = (float(np.mean([score[name] for score in scores])) for name in ("uf1", "uar"))
        return uf1, uar

    return {
        group: Inflation(*(mean(kind, group) for kind in Inflation._fields))
        for group in groups
        if group in method.summary
    }


def _settings(run: Run) -> dict[str, str]:
    """All that makes two runs of one method different methods; the seed does not."""
    identity = run.record.identity()
    for name in ("seeds", "data.clips", "data.sha256", "init_from"):
        identity.pop(name, None)
    # A control's labels, and with them the digest, follow from the seed; its clips do not.
    names = sorted((row.dataset, row.subject, row.clip) for row in run.predictions)
    data = hashlib.sha256(repr(names).encode("utf-8", "backslashreplace")).hexdigest()
    return {
        **identity,
        "data": (data if run.record.is_control else run.record.data.sha256)[:12],
        "weights": (run.record.init_from or "random")[:12],
    }


def _identity(run: Run) -> str:
    return json.dumps([run.protocol, run.model, sorted(_settings(run).items())])


def _place(run: Run) -> tuple[str, int, str]:
    rows = list(TABLES[run.protocol])
    place = rows.index(run.paper_row) if run.paper_row is not None else len(rows)
    return run.protocol, place, run.model


def _labels(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """A label for each method, and the part of it that tells it from others of the same row."""
    alike: defaultdict[tuple[str, str, bool], list[Run]] = defaultdict(list)
    for run in runs:
        alike[run.protocol, run.title, run.record.is_control].append(run)
    labels: list[tuple[str, str]] = []
    taken: set[tuple[str, str]] = set()
    for run in runs:
        base = run.title
        parts = ["control with shuffled labels"] if run.record.is_control else []
        if run.record.is_partial:
            parts.append(f"only folds {run.record.selection}")
        others = [_settings(other) for other in alike[run.protocol, base, run.record.is_control]]
        mine = _settings(run)
        differing = [
            name
            for name in dict.fromkeys(itertools.chain.from_iterable(others))
            if name not in ("shuffle_labels", "folds")
            and len({other.get(name) for other in others}) > 1
        ]
        parts += [
            f"{_GROUPS.sub('', name)}={mine.get(name, 'unset')}"
            for name in differing[:_NAMED_SETTINGS]
        ]
        if len(differing) > _NAMED_SETTINGS:
            parts.append(f"and {len(differing) - _NAMED_SETTINGS} more settings")
        variant = ", ".join(parts)
        number = 1
        while (run.protocol, _joined(base, variant)) in taken:
            number += 1
            variant = ", ".join([*parts, f"number {number}"])
        taken.add((run.protocol, _joined(base, variant)))
        labels.append((_joined(base, variant), variant))
    return labels


def _joined(base: str, variant: str) -> str:
    return f"{base} ({variant})" if variant else base
