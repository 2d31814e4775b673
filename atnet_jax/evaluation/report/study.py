"""Runs sorted into methods, and comparisons of methods."""

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

# Labels omit these groups in the names of settings.
_GROUPS = re.compile(r"^(options|data|recipe)\.")
# A label names at most this many settings.
_NAMED_SETTINGS = 3


LabelledClip: TypeAlias = tuple[str, str, str, int]
"""Database, subject, clip, label."""


@dataclass(frozen=True)
class Method:
    """A method under a protocol, with one or several seeds.

    Attributes:
        label: Name in the report, unique within the protocol.
        variant: Part of the label that distinguishes it from other methods in the same row.
        runs: One run per seed, sorted by seed.
        summary: `statistics.summarise` of all runs.
    """

    label: str
    variant: str
    runs: Sequence[Run]
    summary: Mapping[str, Summary]

    @property
    def protocol(self) -> str:
        """The protocol: "cde" or "hde"."""
        return self.runs[0].protocol

    @property
    def paper_row(self) -> str | None:
        """Row in the paper's tables; None if the paper does not report the method."""
        return self.runs[0].paper_row

    @property
    def base(self) -> str:
        """Name of its row in the results table: the paper's row or the method's title."""
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
        """True if the labels were shuffled, differently for every seed."""
        return self.runs[0].record.is_control

    @property
    def clips(self) -> frozenset[LabelledClip]:
        """The tested clips with their labels; scores on equal sets are comparable."""
        return frozenset(
            (row.dataset, row.subject, row.clip, row.label) for row in self.runs[0].predictions
        )


class Pair(NamedTuple):
    """The paired tests of two methods on a group of clips, "full" or a database."""

    first: Method
    second: Method
    group: str
    tests: PairedTests


class Inflation(NamedTuple):
    """Mean UF1 and UAR over seeds: of the runs, and with epochs chosen on the test clips.

    `picked_once` and `picked_by_fold` are NOT results: see `inflation.InflatedFigures`.
    """

    honest: tuple[float, float]
    picked_once: tuple[float, float]
    picked_by_fold: tuple[float, float]


def sort_into_methods(runs: Iterable[Run]) -> list[Method]:
    """Group runs that differ only in the seed into methods.

    Args:
        runs: The runs, in any order.

    Returns:
        The methods: CDE before HDE, then in the order of the paper's tables, then by name.

    Raises:
        UserError: Two runs have the same method, settings, data and seed, or the seeds of a method
            differ in their clips.
    """
    found: defaultdict[str, dict[int, Run]] = defaultdict(dict)
    for run in runs:
        seeds = found[_identity(run)]
        if run.seed in seeds:
            raise UserError(
                f"{seeds[run.seed].workdir} and {run.workdir} hold the same run: {run.protocol} of"
                f" {run.model}, seed {run.seed}, with equal settings and data. Pass only one of"
                f" them."
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
    """Return the groups with scores: "full" (CDE only), the paper's databases, other databases."""
    found = {group for method in methods for group in method.summary}
    known = [name for name in published.DATABASES if name in found]
    full = ["full"] if protocol == "cde" else []
    return [*full, *known, *sorted(found - set(published.COMPOSITE))]


def compare_all(methods: Sequence[Method]) -> tuple[list[Pair], list[str]]:
    """Test all pairs of methods that were tested on the same clips.

    Args:
        methods: The methods of one protocol.

    Returns:
        The tested pairs (CDE: on all clips pooled; HDE: on each held-out database), and the reasons
        why other pairs could not be tested.
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
    """Compute a method's scores with epochs chosen on the test clips, which are NOT results.

    Args:
        method: The method.
        groups: Groups of clips to score, "full" or databases.

    Returns:
        Group → scores; empty unless all runs of the method saved scores of single epochs.

    Raises:
        UserError: The scores of the epochs do not belong to the run's predictions.
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
    """Return everything but the seed that distinguishes methods: settings, data and weights."""
    identity = run.record.identity()
    for name in ("seeds", "data.clips", "data.sha256", "init_from"):
        identity.pop(name, None)
    # The labels of a control, and so its digest, depend on the seed; its clips do not.
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
    """Return the label of each run, and the part that distinguishes it within the same row."""
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
