import json

import numpy as np
import pytest
import sklearn.metrics

from atnet_jax.errors import UserError
from atnet_jax.evaluation import metrics
from atnet_jax.evaluation.predictions import Prediction


def prediction(dataset, subject, clip, label, predicted, seed=0):
    scores = [1.0 if i == predicted else 0.0 for i in range(3)]
    return Prediction("cde", 0, dataset, subject, clip, label, predicted, *scores, seed)


def assert_equals_scikit_learn(labels, predicted):
    confusion = metrics.confusion_matrix(labels, predicted)
    reference = sklearn.metrics.confusion_matrix(labels, predicted, labels=[0, 1, 2])
    np.testing.assert_array_equal(confusion, reference)
    assert metrics.scores(confusion)[0] == pytest.approx(
        sklearn.metrics.accuracy_score(labels, predicted), abs=1e-12
    )
    assert metrics.uf1(confusion) == pytest.approx(
        sklearn.metrics.f1_score(labels, predicted, average="macro", zero_division=0), abs=1e-12
    )
    assert metrics.scores(confusion)[2] == pytest.approx(
        sklearn.metrics.balanced_accuracy_score(labels, predicted), abs=1e-12
    )


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.filterwarnings("ignore:A single label was found")
@pytest.mark.parametrize("label_classes", [[0, 1, 2], [0, 2], [1]])
@pytest.mark.parametrize("predicted_classes", [[0, 1, 2], [0, 1], [1, 2], [2]])
@pytest.mark.parametrize("clips", [1, 7, 164])
def test_scores_equal_scikit_learn(label_classes, predicted_classes, clips):
    rng = np.random.default_rng(clips)
    assert_equals_scikit_learn(
        rng.choice(label_classes, clips), rng.choice(predicted_classes, clips)
    )


@pytest.mark.parametrize("seed", range(5))
def test_folds_that_lack_classes_are_scored_as_scikit_learn_does(seed):
    """Alone and pooled; scikit-learn leaves out what zero_division makes a NaN."""
    rng = np.random.default_rng(seed)
    rows, lacking = [], 0
    for subject in range(12):
        labels = rng.choice(rng.choice(3, rng.integers(1, 4), replace=False), 6)
        predicted = rng.choice(rng.choice(3, rng.integers(1, 4), replace=False), 6)
        fold = [
            prediction("smic", f"s{subject}", f"c{i}", int(label), int(answer))
            for i, (label, answer) in enumerate(zip(labels, predicted, strict=True))
        ]
        assert_evaluated_as_scikit_learn_does(fold)
        lacking += len({*labels, *predicted}) < 3
        rows += fold
    assert lacking > 0
    assert_evaluated_as_scikit_learn_does(rows)


def assert_evaluated_as_scikit_learn_does(rows):
    labels, predicted = [row.label for row in rows], [row.predicted for row in rows]
    averaged = {"labels": [0, 1, 2], "average": "macro", "zero_division": np.nan}
    full = metrics.evaluate(rows)["full"]
    assert full["uf1"] == pytest.approx(sklearn.metrics.f1_score(labels, predicted, **averaged))
    assert full["uar"] == pytest.approx(sklearn.metrics.recall_score(labels, predicted, **averaged))
    assert full["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(labels, predicted))


@pytest.mark.parametrize(
    ("labels", "predicted", "uf1", "uar"),
    [
        # Neither true nor predicted: left out of both.
        ([0, 0, 1, 1], [0, 1, 1, 1], (2 / 3 + 4 / 5) / 2, (1 / 2 + 1) / 2),
        # Predicted but never true: F1 is 0, and there is nothing to recall.
        ([0, 0, 1, 1], [0, 2, 1, 1], (2 / 3 + 1 + 0) / 3, (1 / 2 + 1) / 2),
        # True but never predicted: 0 in both.
        ([0, 0, 1, 2], [0, 0, 1, 1], (1 + 2 / 3 + 0) / 3, (1 + 1 + 0) / 3),
    ],
)
def test_scores_with_absent_classes(labels, predicted, uf1, uar):
    confusion = metrics.confusion_matrix(np.array(labels), np.array(predicted))
    assert metrics.uf1(confusion) == pytest.approx(uf1)
    assert metrics.scores(confusion)[2] == pytest.approx(uar)


def test_scores_of_a_matrix_computed_by_hand():
    confusion = np.array([[6, 2, 0], [1, 1, 0], [0, 1, 1]])
    assert metrics.scores(confusion)[0] == pytest.approx(8 / 12)
    assert metrics.scores(confusion)[2] == pytest.approx((6 / 8 + 1 / 2 + 1 / 2) / 3)
    assert metrics.uf1(confusion) == pytest.approx((12 / 15 + 2 / 6 + 2 / 3) / 3)


def test_many_matrices_are_scored_as_each_alone():
    rng = np.random.default_rng(0)
    matrices = rng.integers(0, 5, (20, 2, 3, 3)) * rng.integers(0, 2, (20, 2, 3, 3))
    matrices[..., 1, 2] += 1
    found = metrics.scores(matrices)
    assert found.shape == (20, 2, len(metrics.METRICS))
    for place in np.ndindex(20, 2):
        np.testing.assert_array_equal(metrics.scores(matrices[place]), found[place])
    matrices[3, 1] = 0
    with pytest.raises(ValueError, match="without clips"):
        metrics.scores(matrices)


def test_a_row_is_a_true_class():
    confusion = metrics.confusion_matrix(np.array([0, 0, 2]), np.array([1, 1, 0]))
    np.testing.assert_array_equal(confusion, [[0, 2, 0], [0, 0, 0], [1, 0, 0]])


def test_labels_that_are_no_class_are_refused():
    with pytest.raises(UserError, match="labels contain 3, expected 0 to 2"):
        metrics.confusion_matrix(np.array([0, 3]), np.array([0, 0]))
    with pytest.raises(UserError, match="predicted classes contain -1"):
        metrics.confusion_matrix(np.array([0, 1]), np.array([0, -1]))


@pytest.mark.parametrize(
    ("labels", "predicted", "message"),
    [
        ([], [], "no labels"),
        ([0, 1], [0], "2 labels but 1 predicted"),
        ([0.0, 1.0], [0, 1], "labels are float64"),
        (["a", "b"], [0, 1], "expected whole numbers"),
        ([0, 1], [[0.1, 0.2, 0.7], [1, 0, 0]], r"predicted classes are float64 \(2, 3\)"),
    ],
)
def test_what_is_no_list_of_classes_is_refused(labels, predicted, message):
    with pytest.raises(UserError, match=message):
        metrics.score(labels, predicted)


@pytest.mark.parametrize("score", [metrics.scores, metrics.uf1])
def test_no_clips_have_no_score(score):
    with pytest.raises(ValueError, match="without clips"):
        score(np.zeros((3, 3), dtype=np.int64))


def test_evaluate_scores_all_clips_and_each_database():
    rows = [
        prediction("smic", "s01", "a", 0, 0),
        prediction("smic", "s01", "b", 1, 0),
        prediction("smic", "s02", "a", 2, 2),
        prediction("casme2", "s01", "a", 0, 0),  # another person than SMIC's s01
        prediction("casme2", "s01", "c", 0, 1),
    ]
    scores = metrics.evaluate(rows)
    assert list(scores) == ["full", "casme2", "smic"]
    assert scores["full"]["clips"] == 5
    assert scores["full"]["subjects"] == 3
    assert scores["full"]["counts"] == {"negative": 3, "positive": 1, "surprise": 1}
    assert scores["full"]["confusion"] == [[2, 1, 0], [1, 0, 0], [0, 0, 1]]
    assert scores["full"]["accuracy"] == pytest.approx(3 / 5)
    assert scores["smic"] == {
        "accuracy": pytest.approx(2 / 3),
        "uf1": pytest.approx((2 / 3 + 0 + 1) / 3),
        "uar": pytest.approx(2 / 3),
        "confusion": [[1, 0, 0], [1, 0, 0], [0, 0, 1]],
        "counts": {"negative": 1, "positive": 1, "surprise": 1},
        "clips": 3,
        "subjects": 2,
    }
    assert scores["casme2"]["uar"] == pytest.approx(1 / 2)
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores


def test_evaluate_rejects_duplicates_and_reserved_names():
    row = prediction("smic", "s01", "a", 0, 0)
    with pytest.raises(ValueError, match="no predictions"):
        metrics.evaluate([])
    with pytest.raises(ValueError, match="one protocol and seed at a time"):
        metrics.evaluate([row, prediction("smic", "s01", "a", 0, 0, seed=1)])
    with pytest.raises(UserError, match="'full' is reserved"):
        metrics.evaluate([prediction("full", "s01", "a", 0, 0)])
