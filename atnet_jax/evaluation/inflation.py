"""What choosing each fold's epoch on its test subject would have added: not a result."""

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

# A clip's scores in the table and those of its epoch, which batches of another size may have given.
_SAME_SCORES = 1e-4
# Softmax in float32 sums to one within a few 1e-7; this finds arrays that are no probabilities.
_SUM_TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True)
class EpochScores:
    """Class probabilities of the tested clips after several epochs of training.

    Attributes:
        epochs: numbers of the epochs, ascending.
        scores: after each of them, the rows in the order of the predictions.
    """

    epochs: Int[np.ndarray, " epoch"]
    scores: Float[np.ndarray, "epoch row 3"]


@dataclasses.dataclass(frozen=True)
class InflatedFigures:
    """What a run would have claimed had its epochs been picked on the test clips. NOT RESULTS.

    Whoever looks at the test labels to choose when to stop reports the luck of the best epoch with
    the method's skill; shuffled labels then score above chance too. These figures are here to be
    shown as that difference, never as a method's.

    Attributes:
        honest: the run's own figures, from epochs that no test label chose (the last one, under a
            fixed schedule); the only ones here that are results.
        picked_by_fold: NOT A RESULT. Every fold stopped at its best epoch on its own test clips:
            most clips right, the earliest such epoch.
        picked_once: NOT A RESULT. All folds stopped at the one epoch of the best UF1 over all test
            clips, the earliest such epoch: a weaker kind of peeking.
        fold_epochs: number of a fold -> the epoch picked for it.
        epoch: the epoch picked for all.
    """

    honest: dict[str, Evaluation]
    picked_by_fold: dict[str, Evaluation]
    picked_once: dict[str, Evaluation]
    fold_epochs: dict[int, int]
    epoch: int


def inflated_figures(
    predictions: Sequence[Prediction], epoch_scores: EpochScores
) -> InflatedFigures:
    """Score a run as it is, and as it would be had epochs been picked on the test clips.

    Args:
        predictions: the tested clips of one run (one seed).
        epoch_scores: scores of the same clips, in the same order; an epoch's answer to a clip is
            the class of its highest score.

    Raises:
        UserError: the scores are not of these predictions: another number of rows, or a fold
            whose scores in the predictions are those of no epoch.
        ValueError: `metrics.evaluate` refuses the predictions.
    """
    honest = metrics.evaluate(predictions)
    epochs, scores = epoch_scores.epochs, epoch_scores.scores
    if scores.shape[1] != len(predictions):
        raise UserError(
            f"the epoch scores are of {scores.shape[1]} clips, but there are {len(predictions)}"
            f" predictions; are predictions.csv and epoch_scores.npz of the same run?"
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
                f"the scores of fold {fold} in the predictions are those of no epoch; are"
                f" predictions.csv and epoch_scores.npz of the same run, with rows in one order?"
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


# What NumPy raises on a missing or damaged archive, or on one that claims to hold petabytes.
_UNREADABLE = (
    *(OSError, EOFError, ValueError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error),
)


def read_epoch_scores(path: Path, rows: int) -> EpochScores:
    """Read the epoch_scores.npz of a workdir whose predictions have so many rows.

    Raises:
        UserError: the file is missing or damaged, lacks "epochs" [epoch] or "scores"
            [epoch, row, 3], or these have another type or shape, do not ascend or are no
            probabilities. The message names the file.
    """
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it is no .npz archive")
        with archive:
            if missing := {"epochs", "scores"}.difference(archive.files):
                raise ValueError(f"it lacks {', '.join(sorted(missing))}")
            epochs, scores = archive["epochs"], archive["scores"]
        _check_epoch_scores(epochs, scores, rows)
    except _UNREADABLE as error:
        raise UserError(
            f"{path}: cannot be read as epoch scores: {error}. Run again in a new workdir."
        ) from error
    return EpochScores(epochs.astype(np.int32), scores.astype(np.float32))


def _check_epoch_scores(epochs: np.ndarray, scores: np.ndarray, rows: int) -> None:
    if epochs.dtype.kind not in "iu" or epochs.ndim != 1 or not epochs.size:
        raise ValueError(
            f"epochs must be whole numbers [epoch], found {epochs.dtype} {list(epochs.shape)}"
        )
    if np.any(epochs[1:] <= epochs[:-1]):
        raise ValueError("epochs must ascend")
    expected = (len(epochs), rows, len(CLASSES))
    if scores.dtype.kind != "f" or scores.shape != expected:
        raise ValueError(
            f"scores must be decimal numbers {list(expected)}: {expected[0]} epochs, {rows} rows of"
            f" the predictions, {expected[2]} classes; found {scores.dtype} {list(scores.shape)}"
        )
    probabilities = (scores >= 0) & (scores <= 1)  # A NaN is neither.
    if not probabilities.all() or np.abs(scores.sum(axis=-1) - 1).max() > _SUM_TOLERANCE:
        raise ValueError("scores must be probabilities that sum to 1 over the classes")


def _evaluate_answers(
    predictions: Sequence[Prediction], answers: Int[np.ndarray, " row"]
) -> dict[str, Evaluation]:
    return metrics.evaluate(
        dataclasses.replace(row, predicted=answer)
        for row, answer in zip(predictions, answers.tolist(), strict=True)
    )
