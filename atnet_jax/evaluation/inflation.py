"""Inflation: how much choosing the epoch on the test subjects would have raised the scores."""

import dataclasses
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from atnet_jax.errors import UserError
from atnet_jax.evaluation import metrics
from atnet_jax.evaluation.metrics import Evaluation
from atnet_jax.evaluation.predictions import Prediction
from atnet_jax.names import CLASSES

# Scores in predictions.csv and epoch_scores.npz may differ by rounding if batch sizes differed.
_SAME_SCORES = 1e-4
# Softmax in float32 sums to 1 within a few 1e-7; a larger error means other kinds of scores.
_SUM_TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True)
class EpochScores:
    """Class probabilities of the tested clips after several epochs of training.

    Attributes:
        epochs: Numbers of the epochs, ascending.
        scores: Probabilities after each epoch, with rows in the order of the predictions.
    """

    epochs: Int[np.ndarray, " epoch"]
    scores: Float[np.ndarray, "epoch row 3"]


@dataclasses.dataclass(frozen=True)
class InflatedFigures:
    """Scores of a run, and the scores if its epochs were chosen on the test clips. NOT RESULTS.

    Choosing the epoch by the test labels adds the luck of the best epoch to the score. Even models
    trained on shuffled labels then score above chance. The inflated scores serve to show that
    difference and must never be reported as scores of a method.

    Attributes:
        honest: Scores of the run itself, whose epochs were chosen without test labels (the last
            epoch under a fixed schedule). Only these scores are results.
        picked_by_fold: NOT A RESULT. Scores if every fold stopped at the epoch that predicts most
            of its own test clips correctly (the earliest in a tie).
        picked_once: NOT A RESULT. Scores if all folds stopped at the epoch with the best UF1 over
            all test clips (the earliest in a tie), a weaker form of selection.
        fold_epochs: Number of a fold → epoch of `picked_by_fold`.
        epoch: Epoch of `picked_once`.
    """

    honest: dict[str, Evaluation]
    picked_by_fold: dict[str, Evaluation]
    picked_once: dict[str, Evaluation]
    fold_epochs: dict[int, int]
    epoch: int


def inflated_figures(
    predictions: Sequence[Prediction], epoch_scores: EpochScores
) -> InflatedFigures:
    """Score a run as it is, and as if its epochs had been chosen on the test clips.

    Args:
        predictions: The tested clips of one run (one seed).
        epoch_scores: Scores of the same clips in the same order. The predicted class of an epoch
            is the one with the highest score.

    Returns:
        The scores of the run and the inflated scores.

    Raises:
        UserError: The scores do not belong to the predictions: the numbers of rows differ, or the
            scores of a fold in the predictions equal those of no epoch.
        ValueError: `metrics.evaluate` rejects the predictions.
    """
    honest = metrics.evaluate(predictions)
    epochs, scores = epoch_scores.epochs, epoch_scores.scores
    if scores.shape[1] != len(predictions):
        raise UserError(
            f"The epoch scores cover {scores.shape[1]} clips, but there are {len(predictions)}"
            f" predictions. Use predictions.csv and epoch_scores.npz of the same run."
        )
    folds = np.array([row.fold for row in predictions])
    labels = np.array([row.label for row in predictions])
    off = np.abs(scores - np.array([row.scores for row in predictions])).max(axis=-1)
    answers = scores.argmax(axis=-1)
    picked = np.zeros_like(labels)
    fold_epochs = {}
    for fold in np.unique(folds).tolist():
        members = folds == fold
        if off[:, members].max(axis=1).min() > _SAME_SCORES:
            raise UserError(
                f"The scores of fold {fold} in the predictions match no epoch. Use predictions.csv"
                f" and epoch_scores.npz of the same run, with rows in the same order."
            )
        right = np.sum(answers[:, members] == labels[members], axis=1)
        best_of_fold = right.argmax()
        picked[members] = answers[best_of_fold, members]
        fold_epochs[fold] = int(epochs[best_of_fold])

    best = np.argmax([metrics.uf1(metrics.confusion_matrix(labels, each)) for each in answers])

    return InflatedFigures(
        honest=honest,
        picked_by_fold=_evaluate_answers(predictions, picked),
        picked_once=_evaluate_answers(predictions, answers[best]),
        fold_epochs=fold_epochs,
        epoch=int(epochs[best]),
    )


# NumPy raises these for a missing or damaged archive, or one whose header claims petabytes.
_UNREADABLE = (
    *(OSError, EOFError, ValueError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error),
)


def read_epoch_scores(path: Path, rows: int) -> EpochScores:
    """Return the epoch scores in epoch_scores.npz of a workdir.

    Args:
        path: The file.
        rows: Number of rows of the predictions.

    Raises:
        UserError: The file is missing or damaged, or lacks "epochs" [epoch] or "scores"
            [epoch, row, 3]; an array has the wrong type or shape, epochs do not ascend, or scores
            are not probabilities. The message names the file.
    """
    try:
        epochs, scores = _load(path)
        _check_epoch_scores(epochs, scores, rows)
    except _UNREADABLE as error:
        raise UserError(
            f"Cannot read epoch scores from {path}: {error}. Rerun the training in a new --workdir."
        ) from error
    return EpochScores(epochs.astype(np.int32), scores.astype(np.float32))


def _load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    archive = np.load(path, allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise ValueError("it is not an .npz archive")
    with archive:
        if missing := {"epochs", "scores"}.difference(archive.files):
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
        return archive["epochs"], archive["scores"]


def _check_epoch_scores(epochs: np.ndarray, scores: np.ndarray, rows: int) -> None:
    if epochs.dtype.kind not in "iu" or epochs.ndim != 1 or not epochs.size:
        raise ValueError(
            f"epochs must be whole numbers of shape [epoch], found {epochs.dtype}"
            f" {list(epochs.shape)}"
        )
    if np.any(epochs[1:] <= epochs[:-1]):
        raise ValueError("epochs must ascend")
    expected = (len(epochs), rows, len(CLASSES))
    if scores.dtype.kind != "f" or scores.shape != expected:
        raise ValueError(
            f"scores must be decimal numbers of shape {list(expected)} ({expected[0]} epochs,"
            f" {rows} rows of the predictions, {expected[2]} classes), found {scores.dtype}"
            f" {list(scores.shape)}"
        )
    probabilities = (scores >= 0) & (scores <= 1)  # Both are False for NaN.
    if not probabilities.all() or np.abs(scores.sum(axis=-1) - 1).max() > _SUM_TOLERANCE:
        raise ValueError("scores must be probabilities that sum to 1 over the classes")


def _evaluate_answers(
    predictions: Sequence[Prediction], answers: Int[np.ndarray, " row"]
) -> dict[str, Evaluation]:
    return metrics.evaluate(
        dataclasses.replace(row, predicted=answer)
        for row, answer in zip(predictions, answers.tolist(), strict=True)
    )
