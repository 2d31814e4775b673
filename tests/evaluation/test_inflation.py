"""Scores that choosing the best epoch on the test clips would have claimed."""

import dataclasses
import json
import zipfile

import numpy as np
import pytest

from atnet_jax.errors import UserError
from atnet_jax.evaluation import inflation, metrics
from atnet_jax.evaluation.inflation import EpochScores
from atnet_jax.evaluation.predictions import Prediction
from tests.evaluation.test_statistics import scores_of


def run_of(labels, folds, scores, dataset="smic"):
    """A run's predictions as its last epoch's scores give them; [epoch, row, 3]."""
    return [
        Prediction(
            "cde", int(f), dataset, f"s{f:02d}", f"c{i:03d}", int(label),
            int(s.argmax()), *map(float, s), 0,
        )
        for i, (label, f, s) in enumerate(zip(labels, folds, scores[-1], strict=True))
    ]  # fmt: skip


def random_scores(rng, epochs, rows):
    scores = rng.dirichlet([1, 1, 1], size=(epochs, rows)).astype(np.float32)
    return scores / scores.sum(axis=-1, keepdims=True)


def one_hot(answers):
    return np.eye(3, dtype=np.float32)[np.array(answers)]


def test_epochs_are_picked_as_a_plain_loop_picks_them():
    rng = np.random.default_rng(28)
    epochs, clips = np.array([10, 20, 30, 40], np.int32), 40
    folds = rng.permutation(np.arange(clips) % 7)  # rows of a fold need not be neighbours
    labels = rng.integers(3, size=clips)
    scores = random_scores(rng, 4, clips)
    rows = run_of(labels, folds, scores)
    figures = inflation.inflated_figures(rows, EpochScores(epochs, scores))
    assert figures.honest == metrics.evaluate(rows)

    picked, ties = list(rows), 0
    for fold in range(7):
        members = [i for i in range(clips) if folds[i] == fold]
        right = [sum(scores[e, i].argmax() == labels[i] for i in members) for e in range(4)]
        best = right.index(max(right))
        ties += right.count(max(right)) > 1
        assert figures.fold_epochs[fold] == epochs[best]
        for i in members:
            picked[i] = dataclasses.replace(rows[i], predicted=int(scores[best, i].argmax()))
    assert ties > 0
    assert figures.picked_by_fold == metrics.evaluate(picked)

    at_epoch = [
        [
            dataclasses.replace(row, predicted=int(s.argmax()))
            for row, s in zip(rows, scores[e], strict=True)
        ]
        for e in range(4)
    ]
    accuracy, uf1, _ = zip(*map(scores_of, at_epoch), strict=True)
    best = uf1.index(max(uf1))
    assert best != accuracy.index(max(accuracy))
    assert figures.epoch == epochs[best]
    assert figures.picked_once == metrics.evaluate(at_epoch[best])
    assert uf1[-1] < max(uf1)
    json.dumps(dataclasses.asdict(figures), allow_nan=False)


def test_of_equally_good_epochs_the_earliest_is_picked():
    labels, folds = np.array([0, 1, 2, 0]), np.array([0, 0, 1, 1])
    scores = one_hot([[0, 0, 0, 1], [0, 2, 2, 1], [1, 2, 2, 0], [1, 2, 2, 0]])
    figures = inflation.inflated_figures(
        run_of(labels, folds, scores), EpochScores(np.array([5, 6, 7, 8]), scores)
    )
    assert figures.fold_epochs == {0: 5, 1: 7}
    assert figures.epoch == 6


def test_one_scored_epoch_leaves_nothing_to_pick():
    rng = np.random.default_rng(0)
    labels, folds = rng.integers(3, size=20), np.arange(20) % 4
    scores = random_scores(rng, 1, 20)
    figures = inflation.inflated_figures(
        run_of(labels, folds, scores), EpochScores(np.array([50]), scores)
    )
    assert figures.honest == figures.picked_by_fold == figures.picked_once


def test_the_honest_figure_is_that_of_the_predictions():
    """A method's own decision counts, and an honest choice of epochs is not undone."""
    rng = np.random.default_rng(1)
    labels, folds = rng.integers(3, size=20), np.arange(20) % 4
    scores = random_scores(rng, 3, 20)
    rows = run_of(labels, folds, scores[:2])
    rows[0] = dataclasses.replace(rows[0], predicted=(rows[0].predicted + 1) % 3)
    figures = inflation.inflated_figures(rows, EpochScores(np.array([1, 2, 3]), scores))
    assert figures.honest == metrics.evaluate(rows)
    assert figures.honest != metrics.evaluate(run_of(labels, folds, scores))


def test_random_answers_are_at_chance_and_inflated_above_it():
    """A run on shuffled labels: 66 folds and 50 epochs at chance level."""
    rng = np.random.default_rng(0)
    folds = np.repeat(np.arange(66), 6)
    labels = rng.integers(3, size=len(folds))
    scores = random_scores(rng, 50, len(folds))
    figures = inflation.inflated_figures(
        run_of(labels, folds, scores), EpochScores(np.arange(1, 51), scores)
    )
    honest, by_fold, once = (
        f["full"]["uf1"] for f in (figures.honest, figures.picked_by_fold, figures.picked_once)
    )
    assert honest == pytest.approx(1 / 3, abs=0.06)
    assert by_fold > 0.6
    assert honest < once < by_fold


def test_scores_of_other_predictions_are_refused():
    rng = np.random.default_rng(0)
    labels, folds = rng.integers(3, size=20), np.arange(20) % 4
    scores = random_scores(rng, 3, 20)
    rows, epochs = run_of(labels, folds, scores), np.array([1, 2, 3])
    with pytest.raises(UserError, match="cover 19 clips, but there are 20 predictions"):
        inflation.inflated_figures(rows, EpochScores(epochs, scores[:, 1:]))
    exchanged = scores.copy()
    exchanged[:, [3, 7]] = scores[:, [7, 3]]  # both of fold 3
    with pytest.raises(UserError, match="fold 3 in the predictions match no epoch"):
        inflation.inflated_figures(rows, EpochScores(epochs, exchanged))
    with pytest.raises(ValueError, match="one protocol and seed at a time"):
        other = [dataclasses.replace(row, seed=1) for row in rows]
        inflation.inflated_figures(
            rows + other, EpochScores(epochs, np.concatenate([scores, scores], axis=1))
        )


def test_epoch_scores_are_read_as_written(tmp_path):
    scores = random_scores(np.random.default_rng(0), 3, 5)
    np.savez_compressed(tmp_path / "e.npz", epochs=np.array([1, 5, 9], np.int32), scores=scores)
    read = inflation.read_epoch_scores(tmp_path / "e.npz", rows=5)
    np.testing.assert_array_equal(read.epochs, [1, 5, 9])
    np.testing.assert_array_equal(read.scores, scores)


SCORES = np.full((2, 4, 3), 1 / 3, np.float32)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"epochs": np.array([1, 2])}, "lacks scores"),
        ({"scores": SCORES}, "lacks epochs"),
        ({"epochs": np.array([[1], [2]]), "scores": SCORES}, r"epochs must be .* \[2, 1\]"),
        ({"epochs": np.array([1.0, 2.0]), "scores": SCORES}, "whole numbers"),
        ({"epochs": np.zeros(0, int), "scores": SCORES[:0]}, "whole numbers"),
        ({"epochs": np.array([2, 1]), "scores": SCORES}, "ascend"),
        ({"epochs": np.array([1, 1]), "scores": SCORES}, "ascend"),
        ({"epochs": np.array([1, 2, 3]), "scores": SCORES}, r"\[3, 4, 3\].*\[2, 4, 3\]"),
        ({"epochs": np.array([1, 2]), "scores": SCORES[:, :3]}, r"4 rows.*\[2, 3, 3\]"),
        ({"epochs": np.array([1, 2]), "scores": SCORES[..., :2]}, r"found float32 \[2, 4, 2\]"),
        ({"epochs": np.array([1, 2]), "scores": SCORES[0]}, r"found float32 \[4, 3\]"),
        ({"epochs": np.array([1, 2]), "scores": SCORES.astype(int)}, "decimal numbers"),
        ({"epochs": np.array([1, 2]), "scores": SCORES * 2}, "sum to 1"),
        ({"epochs": np.array([1, 2]), "scores": SCORES * np.nan}, "probabilities"),
        (
            {"epochs": np.array([1, 2]), "scores": SCORES + np.array([-1.0, 1.0, 0.0])},
            "probabilities",
        ),
        ({"epochs": np.array([1, 2]), "scores": np.full(3, {}, object)}, "allow_pickle"),
    ],
)
def test_epoch_scores_of_another_form_are_refused(tmp_path, arrays, message):
    path = tmp_path / "epoch_scores.npz"
    np.savez(path, **arrays)
    with pytest.raises(
        UserError, match=f"(?s)Cannot read epoch scores from .*epoch_scores.npz: .*{message}"
    ):
        inflation.read_epoch_scores(path, rows=4)


def test_damaged_epoch_scores_are_refused(tmp_path):
    path = tmp_path / "epoch_scores.npz"
    with pytest.raises(UserError, match=r"Cannot read epoch scores from .*epoch_scores\.npz: "):
        inflation.read_epoch_scores(path, rows=4)
    np.savez_compressed(path, epochs=np.array([1, 2]), scores=SCORES)
    good = path.read_bytes()
    np.save(tmp_path / "array.npy", SCORES)
    whole = (tmp_path / "array.npy").read_bytes()
    for data in (b"", b"no archive", whole, *(good[:n] for n in range(0, len(good), 7))):
        path.write_bytes(data)
        with pytest.raises(UserError, match=r"Cannot read epoch scores from .*epoch_scores\.npz: "):
            inflation.read_epoch_scores(path, rows=4)
    with zipfile.ZipFile(path, "w") as archive, archive.open("epochs.npy", "w") as file:
        header = {"descr": "<i4", "fortran_order": False, "shape": (10**15,)}
        np.lib.format.write_array_header_1_0(file, header)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("scores.npy", b"")
    with pytest.raises(UserError, match=r"Cannot read.*allocate"):
        inflation.read_epoch_scores(path, rows=4)
    # Any byte changed: refused, or in a part that does not matter.
    for position in range(len(good)):
        path.write_bytes(good[:position] + bytes([good[position] ^ 0x41]) + good[position + 1 :])
        try:
            read = inflation.read_epoch_scores(path, rows=4)
        except UserError:
            continue
        np.testing.assert_array_equal(read.scores, SCORES)
