"""Accuracy, UF1 and UAR of a table of predictions (paper, section IV-A).

The recall of a class is undefined if no clip has that label. Its F1 is undefined if it occurs
neither in the labels nor in the predictions. Undefined values are left out of the mean, as in
scikit-learn's `balanced_accuracy_score` and `f1_score(average="macro", zero_division=0)`. A class
that occurs only in the labels or only in the predictions has an F1 of 0, which enters the mean.
Folds are pooled before scoring, so a class that one fold lacks has no effect.
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
    """Scores of a set of clips; `confusion[true][predicted]` and `counts` are numbers of clips."""

    accuracy: float
    uf1: float
    uar: float
    confusion: list[list[int]]
    counts: dict[str, int]
    clips: int
    subjects: int


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray) -> Int[np.ndarray, "3 3"]:
    """Count the clips by true class (row) and predicted class (column).

    Args:
        labels: True classes `[clip]`, indices into `CLASSES`.
        predicted: Predicted classes `[clip]`, indices into `CLASSES`.

    Returns:
        The numbers of clips, int64.

    Raises:
        UserError: The arguments are not whole numbers, differ in length, or contain a value that
            is not an index into `CLASSES`.
    """
    for name, values in (("labels", labels), ("predicted classes", predicted)):
        if values.ndim != 1 or values.dtype.kind not in "iu":
            raise UserError(
                f"The {name} are {values.dtype} {values.shape}, expected whole numbers [clip]."
            )
        outside = values[(values < 0) | (values >= len(CLASSES))]
        if outside.size:
            raise UserError(f"The {name} contain {outside[0]}, expected 0 to {len(CLASSES) - 1}.")
    if len(labels) != len(predicted):
        raise UserError(f"There are {len(labels)} labels but {len(predicted)} predicted classes.")
    matrix = np.zeros((len(CLASSES), len(CLASSES)), dtype=np.int64)
    np.add.at(matrix, (labels, predicted), 1)
    return matrix


def scores(confusion: Real[np.ndarray, "*batch 3 3"]) -> Float[np.ndarray, "*batch metric"]:
    """Return the accuracy, UF1 and UAR, in the order of `METRICS`, of each confusion matrix.

    Accuracy is the fraction of correctly predicted clips. UF1 is the mean over classes of
    2TP / (2TP + FP + FN) (paper, eq. 8). UAR is the mean over classes of TP_c / N_c, where N_c is
    the number of clips of class c (eq. 9). The paper's eq. 10 gives the number of classes for N_c,
    a misprint.

    Args:
        confusion: Numbers of clips by true class (row) and predicted class (column).

    Raises:
        ValueError: A matrix holds no clip.
    """
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    true, said = confusion.sum(axis=-1), confusion.sum(axis=-2)
    clips = true.sum(axis=-1)
    if not np.all(clips):
        raise ValueError("a confusion matrix without clips has no score")
    # TP + FN is the sum of a class's row, TP + FP the sum of its column.
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
        UserError: The arguments are not whole numbers, differ in length, are empty, or contain a
            value that is not a class.
    """
    true, said = np.asarray(labels), np.asarray(predicted)
    if not true.size:
        raise UserError("There are no labels to score.")
    confusion = confusion_matrix(true, said)
    return dict(zip(METRICS, scores(confusion).tolist(), strict=True))


def uf1(confusion: Real[np.ndarray, "3 3"]) -> float:
    """Return the UF1 of one confusion matrix; see `scores`."""
    return scores(confusion).tolist()[1]


def evaluate(predictions: Iterable[Prediction]) -> dict[str, Evaluation]:
    """Score the predictions of one run: all clips pooled ("full"), then each database alone.

    Args:
        predictions: The tested clips of all folds, each clip once.

    Returns:
        The scores of "full" and then of each database in alphabetical order, as plain Python
        values that JSON can store.

    Raises:
        ValueError: `predictions` is empty, or holds a clip twice (score one seed at a time).
        UserError: A database has a reserved name, such as "full".
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
            f"The dataset name {min(taken)!r} is reserved for the results. Rename the dataset in"
            f" the data."
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
    """Return the mean `[*batch]` of the ratios over the classes with a non-zero denominator."""
    present = denominator > 0
    ratios = np.divide(numerator, denominator, out=np.zeros(present.shape), where=present)
    return np.asarray(ratios.sum(axis=-1) / present.sum(axis=-1))
