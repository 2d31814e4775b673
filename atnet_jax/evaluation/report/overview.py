"""What several sections of a report need: its methods, what they were tested on, and words."""

import itertools
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from atnet_jax import published
from atnet_jax.evaluation import metrics
from atnet_jax.evaluation.metrics import Evaluation
from atnet_jax.evaluation.report.blocks import Cell, numbered
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


class Protocol(NamedTuple):
    """A protocol in words, and the columns of its table in the paper.

    `metrics` are the columns of a group: key of a metric -> its name. Table III has no accuracy.
    """

    name: str
    meaning: str
    table: str
    metrics: Mapping[str, str]


PROTOCOLS = {
    "cde": Protocol(
        name="Composite database evaluation (CDE)",
        meaning="Leave-one-subject-out over all databases together; the predictions of all folds"
        " are pooled, then scored.",
        table="Table II",
        metrics={"accuracy": "Acc", "uf1": "UF1", "uar": "UAR"},
    ),
    "hde": Protocol(
        name="Holdout-database evaluation (HDE)",
        meaning="Each database is tested by a model trained on the other ones.",
        table="Table III",
        metrics={"uf1": "UF1", "uar": "UAR"},
    ),
}


class Study(NamedTuple):
    """The methods of one protocol, what their figures are of, and their comparison.

    `inflation` is by label and group, without the methods that kept no scores of single epochs.
    """

    protocol: str
    methods: list[Method]
    groups: list[str]
    pairs: list[Pair]
    refused: list[str]
    inflation: dict[str, dict[str, Inflation]]


class Overview:
    """What several sections need to know of all runs."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self.methods = sort_into_methods(runs)
        self.studies = [
            _study(protocol, list(methods))
            for protocol, methods in itertools.groupby(self.methods, key=lambda m: m.protocol)
        ]
        # Clips with their labels -> a letter, in the order of the methods.
        self._letters: dict[frozenset[LabelledClip], str] = {}
        for method in self.methods:
            self._letters.setdefault(self._list_of(method), _letter(len(self._letters)))

    @property
    def is_single(self) -> bool:
        """Whether it is about one method under one protocol."""
        return len(self.methods) == 1

    def name(self, method: Method) -> str:
        """A method's label, with its protocol where the report has both."""
        return (
            method.label if len(self.studies) == 1 else f"{method.protocol.upper()} {method.label}"
        )

    def data(self, method: Method) -> str:
        """The letter of the clips that a method was tested on."""
        return self._letters[self._list_of(method)]

    def _list_of(self, control: Method) -> frozenset[LabelledClip]:
        """The clips of a method; a control shares the list of those who have its clips."""
        if control.is_control:
            for method in self.methods:
                if not method.is_control and _names(method.clips) == _names(control.clips):
                    return method.clips
        return control.clips

    def lists_of_clips(self) -> dict[str, Method]:
        """Each letter, with the first method that was tested on those clips."""
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
    """The letters A, B, … Z, AA, AB and so on."""
    first, last = divmod(number, 26)
    return (_letter(first - 1) if first else "") + chr(ord("A") + last)


def group_title(group: str) -> str:
    """What a group of clips, "full" or a database, is called at the head of a column."""
    return "Full" if group == "full" else published.DATABASES.get(group, group)


def group_in_words(group: str) -> str:
    """What a group of clips is called in a sentence."""
    return "all databases" if group == "full" else group_title(group)


def rounded(value: float) -> str:
    """A figure with the three decimals that the paper prints."""
    return f"{value:.3f}"


def listed(names: Iterable[object]) -> str:
    """Names with commas between them."""
    return ", ".join(map(str, names))


def with_sd(figure: Figure) -> Cell:
    """A mean, with the standard deviation if there are several seeds."""
    return Cell(rounded(figure.mean), "" if figure.sd is None else f"± {figure.sd:.3f}")


def with_interval(figure: Figure) -> Cell:
    """A mean, with its interval over subjects."""
    if figure.interval is None:
        return Cell(rounded(figure.mean), "[–]")
    low, high = figure.interval
    return Cell(rounded(figure.mean), f"[{low:.2f}, {high:.2f}]")


def chance_scores(counts: Mapping[str, int], answer: int) -> dict[str, float]:
    """The scores of always giving one answer."""
    guess = np.zeros((len(CLASSES), len(CLASSES)), dtype=np.int64)
    guess[:, answer] = [counts[name] for name in CLASSES]
    return dict(zip(metrics.METRICS, metrics.scores(guess).tolist(), strict=True))


def most_frequent(results: Mapping[str, Evaluation]) -> int:
    """The class that most clips have."""
    return int(np.argmax([results["full"]["counts"][name] for name in CLASSES]))


def is_composite(results: Mapping[str, Evaluation]) -> bool:
    """Whether a run scored as many clips and subjects of every class as the paper did."""
    counts = {
        group: (scores["clips"], scores["subjects"], *(scores["counts"][name] for name in CLASSES))
        for group, scores in results.items()
    }
    return counts == dict(published.COMPOSITE)


def data_note(results: Mapping[str, Evaluation]) -> str:
    """Whether figures on these clips can be those of the paper, in words."""
    paper, ours = published.COMPOSITE["full"], results["full"]
    if is_composite(results):
        return (
            f"The clips are as many as the paper's, in every database and class: {paper.clips}"
            f" clips of {paper.subjects} subjects."
        )
    return (
        f"These are not the paper's {paper.clips} clips of {paper.subjects} subjects:"
        f" {numbered(ours['clips'], 'clip')} of {numbered(ours['subjects'], 'subject')} were"
        " scored, so the figures cannot be compared with published ones."
    )


DIGESTS = (
    "A digest covers the clips' names, their labels and all that the method reads of them, so"
    " methods that read different inputs have different digests on the same copy of the data;"
    " equal clips and labels are checked one by one, but equal pictures only by equal digests."
)
