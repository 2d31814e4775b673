"""Data and wording that several sections of a report share."""

import itertools
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from atnet_jax import published
from atnet_jax.evaluation import metrics
from atnet_jax.evaluation.metrics import Evaluation
from atnet_jax.evaluation.report.blocks import Cell
from atnet_jax.evaluation.report.study import (
    Inflation,
    LabelledClip,
    Method,
    Pair,
    compare_all,
    groups_of,
    inflation,
    sort_into_methods,
)
from atnet_jax.evaluation.runs import Run
from atnet_jax.evaluation.statistics import Figure
from atnet_jax.names import CLASSES
from atnet_jax.words import numbered


class Protocol(NamedTuple):
    """A protocol in words, and the columns of its table in the paper.

    Attributes:
        name: Name of the protocol.
        meaning: Sentence that explains the protocol.
        table: Table of the paper.
        metrics: Key of each metric in the table → its name. Table III has no accuracy.
    """

    name: str
    meaning: str
    table: str
    metrics: Mapping[str, str]


PROTOCOLS = {
    "cde": Protocol(
        name="Composite database evaluation (CDE)",
        meaning="Each fold tests one subject with a model trained on all other subjects of all"
        " databases (leave-one-subject-out). The predictions of all folds are pooled and scored"
        " together.",
        table="Table II",
        metrics={"accuracy": "Acc", "uf1": "UF1", "uar": "UAR"},
    ),
    "hde": Protocol(
        name="Holdout-database evaluation (HDE)",
        meaning="Each database is tested with a model trained on the other databases.",
        table="Table III",
        metrics={"uf1": "UF1", "uar": "UAR"},
    ),
}


class Study(NamedTuple):
    """The methods of one protocol and their comparison.

    Attributes:
        protocol: "cde" or "hde".
        methods: The methods.
        groups: Groups of clips with scores: "full" (CDE only) and databases.
        pairs: Paired tests.
        refused: Reasons why pairs could not be tested.
        inflation: Inflated scores by label of the method and group, without methods that saved no
            scores of single epochs.
    """

    protocol: str
    methods: list[Method]
    groups: list[str]
    pairs: list[Pair]
    refused: list[str]
    inflation: dict[str, dict[str, Inflation]]


class Overview:
    """The runs of a report, sorted into methods and protocols."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self.methods = sort_into_methods(runs)
        self.studies = [
            _study(protocol, list(methods))
            for protocol, methods in itertools.groupby(self.methods, key=lambda m: m.protocol)
        ]
        # Set of clips with labels → its letter, in the order of the methods.
        self._letters: dict[frozenset[LabelledClip], str] = {}
        for method in self.methods:
            self._letters.setdefault(self._list_of(method), _letter(len(self._letters)))

    @property
    def is_single(self) -> bool:
        """True if the report covers one method under one protocol."""
        return len(self.methods) == 1

    def name(self, method: Method) -> str:
        """Return a method's label, with its protocol if the report covers both protocols."""
        return (
            method.label if len(self.studies) == 1 else f"{method.protocol.upper()} {method.label}"
        )

    def data(self, method: Method) -> str:
        """Return the letter of the set of clips that a method was tested on."""
        return self._letters[self._list_of(method)]

    def _list_of(self, control: Method) -> frozenset[LabelledClip]:
        """Return the tested clips; a control shares the set of a method with the same clips."""
        if control.is_control:
            for method in self.methods:
                if not method.is_control and _names(method.clips) == _names(control.clips):
                    return method.clips
        return control.clips

    def lists_of_clips(self) -> dict[str, Method]:
        """Return each letter with the first method that was tested on its set of clips."""
        return {
            letter: min(
                (method for method in self.methods if self.data(method) == letter),
                key=lambda method: method.is_control,
            )
            for letter in self._letters.values()
        }


def _study(protocol: str, methods: list[Method]) -> Study:
    groups = groups_of(protocol, methods)
    pairs, refused = compare_all(methods)
    inflated = {method.label: inflation(method, groups) for method in methods}
    return Study(
        protocol, methods, groups, pairs, refused, {k: v for k, v in inflated.items() if v}
    )


def _names(clips: frozenset[LabelledClip]) -> frozenset[tuple[str, ...]]:
    return frozenset(clip[:3] for clip in clips)


def _letter(number: int) -> str:
    """Return the letter of an index from 0: A, B, … Z, AA, AB and so on."""
    first, last = divmod(number, 26)
    return (_letter(first - 1) if first else "") + chr(ord("A") + last)


def group_title(group: str) -> str:
    """Return the name of a group of clips, "full" or a database, in a column header."""
    return "Full" if group == "full" else published.DATABASES.get(group, group)


def group_in_words(group: str) -> str:
    """Return the name of a group of clips, "full" or a database, in a sentence."""
    return "all databases" if group == "full" else group_title(group)


def rounded(value: float) -> str:
    """Format a score with three decimals, as in the paper."""
    return f"{value:.3f}"


def listed(names: Iterable[object]) -> str:
    """Join names with commas."""
    return ", ".join(map(str, names))


def with_sd(figure: Figure) -> Cell:
    """Format a mean, with the standard deviation if there are several seeds."""
    return Cell(rounded(figure.mean), "" if figure.sd is None else f"± {figure.sd:.3f}")


def with_interval(figure: Figure) -> Cell:
    """Format a mean with its confidence interval over subjects."""
    if figure.interval is None:
        return Cell(rounded(figure.mean), "[–]")
    low, high = figure.interval
    return Cell(rounded(figure.mean), f"[{low:.2f}, {high:.2f}]")


def chance_scores(counts: Mapping[str, int], answer: int) -> dict[str, float]:
    """Compute the scores of always predicting one class.

    Args:
        counts: Class name → number of clips.
        answer: The predicted class, an index into `CLASSES`.

    Returns:
        "accuracy", "uf1" and "uar".
    """
    guess = np.zeros((len(CLASSES), len(CLASSES)), dtype=np.int64)
    guess[:, answer] = [counts[name] for name in CLASSES]
    return dict(zip(metrics.METRICS, metrics.scores(guess).tolist(), strict=True))


def most_frequent(results: Mapping[str, Evaluation]) -> int:
    """Return the most frequent class, an index into `CLASSES`."""
    return int(np.argmax([results["full"]["counts"][name] for name in CLASSES]))


def is_composite(results: Mapping[str, Evaluation]) -> bool:
    """Return whether the numbers of clips, subjects and classes equal those of the paper."""
    counts = {
        group: (scores["clips"], scores["subjects"], *(scores["counts"][name] for name in CLASSES))
        for group, scores in results.items()
    }
    return counts == dict(published.COMPOSITE)


def data_note(results: Mapping[str, Evaluation]) -> str:
    """Return a sentence on whether scores on these clips are comparable with the paper's."""
    paper, ours = published.COMPOSITE["full"], results["full"]
    if is_composite(results):
        return (
            f"The numbers of clips equal the paper's in every database and class: {paper.clips}"
            f" clips of {paper.subjects} subjects."
        )
    return (
        f"The scores cover {numbered(ours['clips'], 'clip')} of"
        f" {numbered(ours['subjects'], 'subject')}, not the paper's {paper.clips} clips of"
        f" {paper.subjects} subjects. They are not comparable with published scores."
    )


DIGESTS = (
    "A digest covers the names, the labels and the method's inputs of all clips. Methods with"
    " different inputs therefore have different digests, even on the same copy of the data. Clips"
    " and labels are compared one by one; pictures are compared only by their digests."
)
"""Explanation of data digests."""
