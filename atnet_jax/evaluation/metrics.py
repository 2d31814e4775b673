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
from jaxtyping import Int

from atnet_jax.errors import UserError
from atnet_jax.evaluation.predictions import Prediction
from atnet_jax.names import CLASSES, RESERVED_NAMES


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


def accuracy(confusion: Int[np.ndarray, "3 3"]) -> float:
    """Share of the clips that were predicted right.

    Raises:
        ValueError: the matrix holds no clip.
    """
    _check_not_empty(confusion)
    return float(np.trace(confusion) / confusion.sum())


def uf1(confusion: Int[np.ndarray, "3 3"]) -> float:
    """Unweighted F1: the mean over classes of 2TP / (2TP + FP + FN) (paper, eq. 8).

    A class absent from both labels and predictions is left out of the mean.

    Raises:
        ValueError: the matrix holds no clip.
    """
    _check_not_empty(confusion)
    # FP + TP is the column's sum, FN + TP the row's.
    denominator = confusion.sum(axis=0) + confusion.sum(axis=1)
    present = denominator > 0
    return float(np.mean(2 * np.diag(confusion)[present] / denominator[present]))


def uar(confusion: Int[np.ndarray, "3 3"]) -> float:
    """Unweighted average recall: the mean over classes of TP_c / N_c, N_c clips being of class c.

    The paper's eq. 9; its eq. 10 prints the number of classes for N_c, a misprint. A class absent
    from the labels is left out of the mean.

    Raises:
        ValueError: the matrix holds no clip.
    """
    _check_not_empty(confusion)
    clips = confusion.sum(axis=1)
    present = clips > 0
    return float(np.mean(np.diag(confusion)[present] / clips[present]))


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
    scores = {"full": _evaluate(rows)}
    for database in databases:
        scores[database] = _evaluate([row for row in rows if row.dataset == database])
    return scores


def _evaluate(rows: list[Prediction]) -> Evaluation:
    confusion = confusion_matrix(
        np.array([row.label for row in rows]), np.array([row.predicted for row in rows])
    )
    return Evaluation(
        accuracy=accuracy(confusion),
        uf1=uf1(confusion),
        uar=uar(confusion),
        confusion=confusion.tolist(),
        counts=dict(zip(CLASSES, confusion.sum(axis=1).tolist(), strict=True)),
        clips=len(rows),
        subjects=len({(row.dataset, row.subject) for row in rows}),
    )


def _check_not_empty(confusion: np.ndarray) -> None:
    if confusion.sum() == 0:
        raise ValueError("a confusion matrix without clips has no score")
