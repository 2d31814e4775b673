import numpy as np
from sklearn.svm import SVC

from atnet_jax.features.linear_svm import linear_machine
from atnet_jax.features.svm import fit_predict
from atnet_jax.models import fdm, lbp_sip, riesz


def clips(features: int) -> tuple[np.ndarray, np.ndarray]:
    """60 clips of three classes, half of them of the first, in differing units."""
    random = np.random.default_rng(0)
    labels = np.repeat([0, 0, 1, 2], 15)
    means = random.normal(0, 0.4, (3, features))
    units = 10.0 ** random.integers(-3, 3, features)
    return (means[labels] + random.normal(size=(60, features))) * units, labels


def test_linear_on_standardised_features():
    train, labels = clips(5)
    scaled = (train - train.mean(axis=0)) / train.std(axis=0)
    expected = SVC(kernel="linear", C=1, decision_function_shape="ovo").fit(scaled, labels)
    found = linear_machine().fit(train, labels).decision_function(train)
    np.testing.assert_allclose(found, expected.decision_function(scaled), atol=1e-6)


def test_many_features_are_not_too_many():
    """Where the quadratic kernel gives all new clips to the largest class."""
    features, labels = clips(1500)
    train, test = np.arange(60) % 3 > 0, np.arange(60) % 3 == 0
    quadratic = fit_predict(features[train], labels[train], features[test]).argmax(axis=1)
    assert set(quadratic) == {0}
    for method in (fdm, lbp_sip, riesz):
        machine = method.Features().machine()
        linear = fit_predict(features[train], labels[train], features[test], machine).argmax(axis=1)
        assert (linear == labels[test]).mean() > 0.9
