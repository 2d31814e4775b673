"""Accuracy, UF1 and UAR of a predictions table (paper, section IV-A).

A class that no clip has cannot be recalled, and one that is in neither the labels nor the
predictions has no F1, so such a class is left out of the mean. This is what scikit-learn's
`balanced_accuracy_score` and `f1_score(average="macro", zero_division=0)` do. A class that is
predicted though no clip has it, or never predicted though clips have it, has an F1 of 0, which
counts. Folds are pooled before they are scored, so what one fold lacks matters only if all do.
"""

from collections.abc import Iterable
from typing import TypedDict

import numpy as np
from jaxtyping import Float, Int, Real
from numpy.typing import ArrayLike

from atnet_jax.errors import UserError
from atnet_jax.evaluation.predictions import Prediction
from atnet_jax.names import CLASSES, RESERVED_NAMES

METRICS = ("accuracy", "uf1", "uar")


class Evaluation(TypedDict):
    """Scores of a set of clips; `confusion[true][predicted]` and `counts` are of the labels."""

    accuracy: float
    uf1: float
    uar: float
    confusion: list[list[int]]
    counts: dict[str, int]
    clips: int
    subjects: int


def confusion_matrix(
    labels: Int[np.ndarray, " clip"], predicted: Int[np.ndarray, " clip"]
) -> Int[np.ndarray, "3 3"]:
    """Count the clips by true class (row) and predicted class (column).

    Raises:
        ValueError: the two differ in length, or a value is not an index into `CLASSES`.
    """
    if labels.shape != predicted.shape:
        raise ValueError(f"{len(labels)} labels but {len(predicted)} predictions")
    for name, values in (("label", labels), ("predicted class", predicted)):
        outside = values[(values < 0) | (values >= len(CLASSES))]
        if outside.size:
            raise ValueError(f"{name} {outside[0]} is not one of 0 to {len(CLASSES) - 1}")
    matrix = np.zeros((len(CLASSES), len(CLASSES)), dtype=np.int64)
    np.add.at(matrix, (labels, predicted), 1)
    return matrix


def scores(confusion: Real[np.ndarray, "*batch 3 3"]) -> Float[np.ndarray, "*batch metric"]:
    """Accuracy, UF1 and UAR, the `METRICS` in their order, of one or many confusion matrices.

    Accuracy is the share of the clips that were predicted right. UF1 is the mean over classes of
    2TP / (2TP + FP + FN) (paper, eq. 8). UAR is the mean over classes of TP_c / N_c, N_c clips
    being of class c (eq. 9; the paper's eq. 10 prints the number of classes for N_c, a misprint).

    Raises:
        ValueError: a matrix holds no clip.
    """
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    true, said = confusion.sum(axis=-1), confusion.sum(axis=-2)
    clips = true.sum(axis=-1)
    if not np.all(clips):
        raise ValueError("a confusion matrix without clips has no score")
    # TP + FN is a class's row, TP + FP its column.
    f1, recall = _mean_where_present(2 * right, true + said), _mean_where_present(right, true)
    return np.stack([right.sum(axis=-1) / clips, f1, recall], axis=-1)


def score(labels: ArrayLike, predicted: ArrayLike) -> dict[str, float]:
    """Score predicted classes against true ones, all clips pooled.

    Args:
        labels: True classes `[clip]`, indices into `CLASSES`.
        predicted: Predicted classes `[clip]`.

    Returns:
        "accuracy", "uf1" and "uar", each from 0 to 1; see `scores` for their definitions.

    Raises:
        ValueError: The two differ in length, are empty, or hold a value that is not a class.
    """
    confusion = confusion_matrix(np.asarray(labels), np.asarray(predicted))
    return dict(zip(METRICS, scores(confusion).tolist(), strict=True))


def uf1(confusion: Real[np.ndarray, "3 3"]) -> float:
    """The UF1 of one confusion matrix; see `scores`."""
    return scores(confusion).tolist()[1]


def evaluate(predictions: Iterable[Prediction]) -> dict[str, Evaluation]:
    """Score the predictions of one run: all clips pooled ("full"), then each database alone.

    Args:
        predictions: the tested clips of all folds, each clip once.

    Returns:
        "full" and then the databases in alphabetical order, each with its `Evaluation`; plain
        Python values that go into JSON as they are.

    Raises:
        ValueError: there are no predictions, or a clip occurs twice (score one seed at a time).
        UserError: a database has a name that the result needs for itself.
    """
    rows = list(predictions)
    if not rows:
        raise ValueError("no predictions to score")
    keys = {(row.dataset, row.subject, row.clip) for row in rows}
    if len(keys) != len(rows):
        raise ValueError(
            "a clip is predicted more than once; score one protocol and seed at a time"
        )
    databases = sorted({row.dataset for row in rows})
    if taken := RESERVED_NAMES.intersection(databases):
        raise UserError(
            f"dataset name {min(taken)!r} is reserved in the results; rename it in the data"
        )
    evaluations = {"full": _evaluate(rows)}
    for database in databases:
        evaluations[database] = _evaluate([row for row in rows if row.dataset == database])
    return evaluations


def _evaluate(rows: list[Prediction]) -> Evaluation:
    confusion = confusion_matrix(
        np.array([row.label for row in rows]), np.array([row.predicted for row in rows])
    )
    right, f1, recall = scores(confusion).tolist()
    return Evaluation(
        accuracy=right,
        uf1=f1,
        uar=recall,
        confusion=confusion.tolist(),
        counts=dict(zip(CLASSES, confusion.sum(axis=1).tolist(), strict=True)),
        clips=len(rows),
        subjects=len({(row.dataset, row.subject) for row in rows}),
    )


def _mean_where_present(
    numerator: Real[np.ndarray, "*batch 3"], denominator: Real[np.ndarray, "*batch 3"]
) -> np.ndarray:
    """The mean `[*batch]` of the ratios over the classes whose denominator is not zero."""
    present = denominator > 0
    ratios = np.divide(numerator, denominator, out=np.zeros(present.shape), where=present)
    return np.asarray(ratios.sum(axis=-1) / present.sum(axis=-1))
