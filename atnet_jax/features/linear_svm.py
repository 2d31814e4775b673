"""The support vector machine of the features of which there are hundreds."""

from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC


def linear_machine() -> Pipeline:
    """A linear one, C = 1, on features standardised by the training clips' means and deviations.

    With n standardised features the kernel (x·y + 1)² of `atnet_jax.features.svm` is about n² for a
    clip with itself and far less between clips: with hundreds every clip is like itself alone, and
    all new ones go to the largest class.
    """
    svm = SVC(C=1.0, kernel="linear", decision_function_shape="ovo")
    return make_pipeline(StandardScaler(), svm)
