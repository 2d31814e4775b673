"""The support vector machines that classify hand-crafted features."""

import itertools
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int

from atnet_jax.names import CLASSES

# Functions import scikit-learn, which takes longer than JAX, so that networks do without it.


def machine() -> Any:
    """Return the paper's support vector machine, an unfitted scikit-learn estimator.

    The paper (section IV-A) specifies a polynomial SVM of degree 2. The other settings are those
    that reproduce its published figures from its released features. Every feature is standardised
    by its mean and standard deviation over the training clips, the kernel is (x·y + 1)² and C = 1.
    """
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

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


def linear_machine() -> Any:
    """Return an unfitted linear SVM, C = 1, on standardised features, for hundreds of features.

    With n standardised features, the kernel (x·y + 1)² of `machine` is about n² for a clip with
    itself and far smaller between clips. With hundreds of features every clip is similar only to
    itself, and the SVM assigns all new clips to the largest class.
    """
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    svm = SVC(C=1.0, kernel="linear", decision_function_shape="ovo")
    return make_pipeline(StandardScaler(), svm)


def fit_predict(
    train: Float[np.ndarray, "train feature"],
    labels: Int[np.ndarray, " train"],
    test: Float[np.ndarray, "test feature"],
    unfitted: Any = None,
) -> Float32[np.ndarray, "test 3"]:
    """Train on one fold's training clips and classify its test clips.

    The SVM separates each pair of classes (one-vs-one). The result is deterministic.

    Args:
        train: Features of the training clips.
        labels: Classes of the training clips, indices into `CLASSES`.
        test: Features of the test clips.
        unfitted: A scikit-learn estimator that ends in an `SVC` with the decision function shape
            "ovo"; None for the estimator of `machine`.

    Returns:
        The share of votes of each test clip and class. Each pair of classes that occur in training
        casts one vote, and rows sum to 1. With three classes, a row is (2/3, 1/3, 0) in some order
        or, if the votes are cyclic, 1/3 each. The first highest score (`scores.argmax()`) is the
        SVM's own decision, also if the votes are cyclic. The scores are not calibrated
        probabilities. A class without a training clip scores 0.
    """
    scores = np.zeros((len(test), len(CLASSES)), np.float32)
    classes = np.unique(labels)
    if len(classes) == 1:  # scikit-learn cannot fit a single class.
        scores[:, classes[0]] = 1
        return scores
    fitted = (machine() if unfitted is None else unfitted).fit(train, labels)
    decisions = fitted.decision_function(test).reshape(len(test), -1)
    if len(classes) == 2:  # scikit-learn reverses the sign for a single pair.
        decisions = -decisions
    for (first, second), decision in zip(
        itertools.combinations(classes, 2), decisions.T, strict=True
    ):
        scores[np.arange(len(test)), np.where(decision > 0, first, second)] += 1
    return scores / decisions.shape[1]
