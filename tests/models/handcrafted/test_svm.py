import csv

import numpy as np
import pytest
from sklearn.svm import SVC

from atnet_jax import published
from atnet_jax.data.composite import Composite
from atnet_jax.data.folds import make_folds
from atnet_jax.evaluation import metrics
from atnet_jax.evaluation.predictions import Prediction
from atnet_jax.models import fdm, lbp_sip, riesz
from atnet_jax.models.handcrafted.svm import fit_predict, linear_machine


@pytest.fixture
def clips() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training features, labels and test features; the classes overlap, scales differ."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 90)
    scale = 10.0 ** random.integers(-3, 3, 12)
    train = (random.normal(size=(90, 12)) + 0.4 * labels[:, None]) * scale
    test = (random.normal(size=(400, 12)) + 0.4) * scale
    return train, labels, test


def standardised(train: np.ndarray, test: np.ndarray) -> list[np.ndarray]:
    return [(side - train.mean(axis=0)) / train.std(axis=0) for side in (train, test)]


def reference(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """The SVC's own decisions from a kernel written out."""
    train, test = standardised(train, test)
    machine = SVC(C=1, kernel="precomputed", decision_function_shape="ovo")
    machine.fit((train @ train.T + 1) ** 2, labels)
    return machine.predict((test @ train.T + 1) ** 2)


def test_decides_as_the_svc(clips):
    scores = fit_predict(*clips)
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores.argmax(axis=1), reference(*clips))
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-6)
    # The clips must contain the hard cases: circular votes, and every class.
    circle = np.isclose(scores, 1 / 3).all(axis=1)
    assert circle.any()
    assert set(scores[~circle].argmax(axis=1)) == {0, 1, 2}
    np.testing.assert_allclose(
        np.sort(scores[~circle], axis=1), [[0, 1 / 3, 2 / 3]] * (~circle).sum(), rtol=1e-6
    )


@pytest.mark.parametrize("absent", [0, 1, 2])
def test_an_absent_class_scores_zero(clips, absent):
    train, labels, test = clips
    train, labels = train[labels != absent], labels[labels != absent]
    scores = fit_predict(train, labels, test)
    np.testing.assert_array_equal(scores[:, absent], 0)
    np.testing.assert_array_equal(scores.argmax(axis=1), reference(train, labels, test))
    np.testing.assert_array_equal(np.unique(scores), [0, 1])


def test_a_single_class(clips):
    train, labels, test = clips
    scores = fit_predict(train[labels == 2], labels[labels == 2], test)
    np.testing.assert_array_equal(scores, [[0, 0, 1]] * len(test))


def test_a_test_clip_is_judged_alone(clips):
    """No statistics of the test clips go into the decision."""
    train, labels, test = clips
    together = fit_predict(train, labels, test)
    alone = np.concatenate([fit_predict(train, labels, test[k : k + 1]) for k in range(30)])
    np.testing.assert_array_equal(together[:30], alone)
    moved = fit_predict(train, labels, np.concatenate([test[:30], 50 * test[30:]]))
    np.testing.assert_array_equal(together[:30], moved[:30])


def test_units_do_not_matter(clips):
    train, labels, test = clips
    unit = 10.0 ** np.arange(-3, 9)
    scores = fit_predict(train * unit, labels, test * unit)
    np.testing.assert_array_equal(scores, fit_predict(train, labels, test))


def test_a_feature_that_never_changes(clips):
    """With 4 points, 47 of the 59 bins of LBP-TOP are always zero."""
    train, labels, test = clips
    padded = [np.pad(side, ((0, 0), (0, 5))) for side in (train, test)]
    np.testing.assert_array_equal(
        fit_predict(padded[0], labels, padded[1]), fit_predict(train, labels, test)
    )


def test_the_same_twice(clips):
    np.testing.assert_array_equal(fit_predict(*clips), fit_predict(*clips))


def test_published_rows_of_hoof_from_the_released_features(real_data):
    """Features of the authors, our protocols, SVM and metrics: Tables II and III."""
    with (real_data / "composite442.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = ("dataset", "subject", "clip")
    dataset, subject, clip = ([row[name] for row in rows] for name in names)
    labels = np.array([int(row["label"]) for row in rows], np.int32)
    composite = Composite({}, labels, dataset, subject, clip)
    with np.load(real_data / "hoof_released.npz", allow_pickle=False) as arrays:
        released = dict(arrays)

    differences: dict[str, dict[str, float]] = {"cde": {}, "hde": {}}
    for tim in (10, 64):
        for bins in (4, 8):
            features, row = released[f"hoof_tim{tim}_{bins}"], f"HOOF N={bins} TIM {tim}"
            for protocol, table in (("cde", published.TABLE_II), ("hde", published.TABLE_III)):
                found = metrics.evaluate(
                    Prediction(
                        protocol, fold.number, dataset[k], subject[k], clip[k],
                        int(labels[k]), int(scores.argmax()), *map(float, scores), 0,
                    )
                    for fold in make_folds(protocol, composite)
                    for k, scores in zip(
                        fold.test,
                        fit_predict(features[fold.train], labels[fold.train], features[fold.test]),
                        strict=True,
                    )
                )  # fmt: skip
                for database, cells in table[row].items():
                    for metric, value in cells._asdict().items():
                        difference = abs(found[database][metric] - value)
                        differences[protocol][f"{row}, {database}, {metric}"] = difference
    assert {protocol: len(cells) for protocol, cells in differences.items()} == {
        "cde": 4 * 12,
        "hde": 4 * 6,
    }
    assert np.mean(list(differences["cde"].values())) < 0.013, differences["cde"]
    assert np.mean(list(differences["hde"].values())) < 0.021, differences["hde"]


def many_features(features: int) -> tuple[np.ndarray, np.ndarray]:
    """60 clips of three classes, half of them of the first, in differing units."""
    random = np.random.default_rng(0)
    labels = np.repeat([0, 0, 1, 2], 15)
    means = random.normal(0, 0.4, (3, features))
    units = 10.0 ** random.integers(-3, 3, features)
    return (means[labels] + random.normal(size=(60, features))) * units, labels


def test_linear_on_standardised_features():
    train, labels = many_features(5)
    scaled = (train - train.mean(axis=0)) / train.std(axis=0)
    expected = SVC(kernel="linear", C=1, decision_function_shape="ovo").fit(scaled, labels)
    found = linear_machine().fit(train, labels).decision_function(train)
    np.testing.assert_allclose(found, expected.decision_function(scaled), atol=1e-6)


def test_many_features_are_not_too_many():
    """Where the quadratic kernel gives all new clips to the largest class."""
    features, labels = many_features(1500)
    train, test = np.arange(60) % 3 > 0, np.arange(60) % 3 == 0
    quadratic = fit_predict(features[train], labels[train], features[test]).argmax(axis=1)
    assert set(quadratic) == {0}
    for method in (fdm, lbp_sip, riesz):
        machine = method.Features().machine()
        linear = fit_predict(features[train], labels[train], features[test], machine).argmax(axis=1)
        assert (linear == labels[test]).mean() > 0.9
