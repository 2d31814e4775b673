"""Results of the paper: Tables II and III, and the composite they were measured on.

Source: "A Novel Apex-Time Network for Cross-Dataset Micro-Expression Recognition" (ACII 2019),
section IV. The paper prints three decimals; every value is copied as printed.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import NamedTuple

DATABASES: Mapping[str, str] = {"casme2": "CASME II", "samm": "SAMM", "smic": "SMIC"}
"""The three databases of the paper, in its order: name in predictions to printed name."""


class ClipCounts(NamedTuple):
    """Numbers of clips and subjects in a database, and of clips per class."""

    clips: int
    subjects: int
    negative: int
    positive: int
    surprise: int


COMPOSITE: Mapping[str, ClipCounts] = {
    "full": ClipCounts(clips=442, subjects=68, negative=250, positive=109, surprise=83),
    "casme2": ClipCounts(clips=145, subjects=24, negative=88, positive=32, surprise=25),
    "samm": ClipCounts(clips=133, subjects=28, negative=92, positive=26, surprise=15),
    "smic": ClipCounts(clips=164, subjects=16, negative=70, positive=51, surprise=43),
}
"""Clips that the paper scores: each database, and the composite of all three ("full")."""


# 26, 32 and 20 people were filmed, of whom some have no clip in the composite.
_SUBJECTS: Mapping[str, re.Pattern[str]] = {
    "casme2": re.compile(r"sub(0[1-9]|1[0-9]|2[0-6])"),
    "samm": re.compile(r"[6-9]|[12][0-9]|3[0-7]"),
    "smic": re.compile(r"s(0[1-9]|1[0-9]|20)"),
}


def has_subject(dataset: str, subject: str) -> bool:
    """Return whether a subject can be one of a database by the form of its name.

    Args:
        dataset: Name of the database. Any name has the right form in databases of other papers.
        subject: Name of the subject.
    """
    return dataset not in _SUBJECTS or _SUBJECTS[dataset].fullmatch(subject) is not None


class CompositeScores(NamedTuple):
    """One cell group of Table II; each score lies between 0 and 1."""

    accuracy: float
    uf1: float
    uar: float


class HeldOutScores(NamedTuple):
    """One cell group of Table III, which contains no accuracy."""

    uf1: float
    uar: float


@dataclasses.dataclass(frozen=True)
class Published:
    """Scores that another publication reports for its method on the composite, under CDE.

    Attributes:
        cde: (UF1, UAR) by "full" or database.
        note: How the scores were obtained, such as the choice of the epoch.
    """

    cde: Mapping[str, tuple[float, float]]
    note: str = ""


def _composite(*scores: float) -> dict[str, CompositeScores]:
    """Return one row of Table II from its cells, left to right."""
    groups = [CompositeScores(*scores[i : i + 3]) for i in range(0, len(scores), 3)]
    return dict(zip(COMPOSITE, groups, strict=True))


def _held_out(*scores: float) -> dict[str, HeldOutScores]:
    """Return one row of Table III from its cells, left to right."""
    groups = [HeldOutScores(*scores[i : i + 2]) for i in range(0, len(scores), 2)]
    return dict(zip(DATABASES, groups, strict=True))


TABLE_II: Mapping[str, Mapping[str, CompositeScores]] = {
    "LBP-TOP {3,3,3,4} TIM 10": _composite(
        0.405, 0.329, 0.335, 0.448, 0.372, 0.391, 0.519, 0.363, 0.361, 0.274, 0.255, 0.257
    ),
    "LBP-TOP {3,3,3,8} TIM 10": _composite(
        0.396, 0.293, 0.294, 0.441, 0.285, 0.288, 0.511, 0.301, 0.302, 0.262, 0.246, 0.246
    ),
    "LBP-TOP {3,3,3,4} TIM 64": _composite(
        0.387, 0.321, 0.328, 0.414, 0.314, 0.321, 0.466, 0.300, 0.299, 0.299, 0.289, 0.301
    ),
    "LBP-TOP {3,3,3,8} TIM 64": _composite(
        0.378, 0.305, 0.305, 0.421, 0.302, 0.302, 0.444, 0.289, 0.288, 0.287, 0.281, 0.279
    ),
    "HOOF N=4 TIM 10": _composite(
        0.396, 0.338, 0.340, 0.386, 0.297, 0.297, 0.451, 0.349, 0.365, 0.360, 0.346, 0.345
    ),
    "HOOF N=8 TIM 10": _composite(
        0.430, 0.350, 0.350, 0.434, 0.361, 0.368, 0.436, 0.295, 0.293, 0.421, 0.367, 0.379
    ),
    "HOOF N=4 TIM 64": _composite(
        0.475, 0.346, 0.350, 0.497, 0.324, 0.331, 0.586, 0.366, 0.366, 0.366, 0.318, 0.330
    ),
    "HOOF N=8 TIM 64": _composite(
        0.475, 0.328, 0.337, 0.559, 0.372, 0.375, 0.602, 0.316, 0.326, 0.299, 0.257, 0.268
    ),
    "Micro-Attention": _composite(
        0.613, 0.508, 0.493, 0.703, 0.539, 0.517, 0.677, 0.403, 0.340, 0.482, 0.473, 0.466
    ),
    "ATNet spatial": _composite(
        0.595, 0.494, 0.484, 0.669, 0.521, 0.501, 0.684, 0.348, 0.366, 0.457, 0.454, 0.455
    ),
    "ATNet temporal": _composite(
        0.624, 0.581, 0.581, 0.724, 0.691, 0.679, 0.632, 0.487, 0.490, 0.530, 0.527, 0.530
    ),
    "ATNet fusion": _composite(
        0.693, 0.631, 0.613, 0.834, 0.798, 0.775, 0.701, 0.496, 0.482, 0.561, 0.553, 0.543
    ),
}
"""Table II, composite database evaluation: `TABLE_II[row]["full" or database]`."""

TABLE_III: Mapping[str, Mapping[str, HeldOutScores]] = {
    "LBP-TOP {3,3,3,4} TIM 10": _held_out(0.295, 0.298, 0.330, 0.360, 0.271, 0.382),
    "LBP-TOP {3,3,3,8} TIM 10": _held_out(0.240, 0.249, 0.335, 0.347, 0.235, 0.315),
    "LBP-TOP {3,3,3,4} TIM 64": _held_out(0.338, 0.339, 0.281, 0.295, 0.275, 0.338),
    "LBP-TOP {3,3,3,8} TIM 64": _held_out(0.313, 0.317, 0.248, 0.263, 0.289, 0.334),
    "HOOF N=4 TIM 10": _held_out(0.355, 0.356, 0.279, 0.281, 0.297, 0.312),
    "HOOF N=8 TIM 10": _held_out(0.329, 0.331, 0.327, 0.351, 0.329, 0.348),
    "HOOF N=4 TIM 64": _held_out(0.332, 0.339, 0.348, 0.351, 0.275, 0.293),
    "HOOF N=8 TIM 64": _held_out(0.328, 0.344, 0.284, 0.292, 0.280, 0.304),
    "Micro-Attention": _held_out(0.338, 0.369, 0.383, 0.380, 0.354, 0.372),
    "ATNet spatial": _held_out(0.318, 0.359, 0.372, 0.375, 0.386, 0.395),
    "ATNet temporal": _held_out(0.631, 0.643, 0.450, 0.458, 0.503, 0.524),
    "ATNet fusion": _held_out(0.523, 0.501, 0.429, 0.427, 0.497, 0.489),
}
"""Table III, holdout-database evaluation: `TABLE_III[row][held-out database]`."""

TABLE_METHODS = (
    "lbp_top_p4_tim10",
    "lbp_top_p8_tim10",
    "lbp_top_p4_tim64",
    "lbp_top_p8_tim64",
    "hoof_n4_tim10",
    "hoof_n8_tim10",
    "hoof_n4_tim64",
    "hoof_n8_tim64",
    "micro_attention",
    "spatial",
    "temporal",
    "fusion",
)
"""Methods of both tables by their names in this package, in the order of the paper's rows."""
