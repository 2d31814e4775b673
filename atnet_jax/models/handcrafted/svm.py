"""The support vector machines that classify hand-crafted features."""

import itertools
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from atnet_jax.names import CLASSES


def machine() -> Pipeline:
    """The paper's support vector machine.

    The paper (section IV-A) names a polynomial SVM of degree 2. The rest of the setting is the one
    that gives its published figures from its released features: every feature is standardised by
    its mean and deviation over the training clips, the kernel is (x·y + 1)² and C = 1.
    """
    return make_pipeline(
        StandardScaler(),
        SVC(
            C=1.0,
            kernel="poly",
            degree=2,
            gamma=1.0,  # pyright: ignore[reportArgumentType] (the stubs know only its names)
            coef0=1.0,
            decision_function_shape="ovo",
        ),
    )


def linear_machine() -> Pipeline:
    """A linear one for features of which there are hundreds, C = 1, standardised likewise.

    With n standardised features the kernel (x·y + 1)² of `machine` is about n² for a clip with
    itself and far less between clips: with hundreds every clip is like itself alone, and all new
    ones go to the largest class.
    """
    svm = SVC(C=1.0, kernel="linear", decision_function_shape="ovo")
    return make_pipeline(StandardScaler(), svm)


def fit_predict(
    train: Float[np.ndarray, "train feature"],
    labels: Int[np.ndarray, " train"],
    test: Float[np.ndarray, "test feature"],
    unfitted: Any = None,
) -> Float32[np.ndarray, "test 3"]:
    """Train on one fold's training clips and classify its test clips.

    The classes are told apart pair by pair (one-vs-one). Nothing is random.

    Args:
        train: Features of the training clips.
        labels: Their classes, indices into `CLASSES`.
        test: Features of the test clips.
        unfitted: A scikit-learn estimator that ends in an `SVC` with the decision function shape
            "ovo"; None for that of `machine`.

    Returns:
        For each test clip and class its share of the votes: each pair of classes that occur in
        training casts one. Rows sum to 1. With three classes they are thirds, (2/3, 1/3, 0) in some
        order or, where the votes go in a circle, 1/3 each. The first highest score
        (`scores.argmax()`) is the SVM's own decision, also in that case. They are no calibrated
        probabilities. A class without a training clip scores 0.
    """
    scores = np.zeros((len(test), len(CLASSES)), np.float32)
    classes = np.unique(labels)
    if len(classes) == 1:  # nothing to tell apart
        scores[:, classes[0]] = 1
        return scores
    fitted = (machine() if unfitted is None else unfitted).fit(train, labels)
    decisions = fitted.decision_function(test).reshape(len(test), -1)
    if len(classes) == 2:  # scikit-learn's sign is the other way round for a single pair
        decisions = -decisions
    for (first, second), decision in zip(
        itertools.combinations(classes, 2), decisions.T, strict=True
    ):
        scores[np.arange(len(test)), np.where(decision > 0, first, second)] += 1
    return scores / decisions.shape[1]
