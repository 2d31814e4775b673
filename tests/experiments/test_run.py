"""Whole runs on a tiny manifest of flow maps; `test_durability` starts them as commands."""

import errno
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from atnet_jax.config import default_config
from atnet_jax.data.composite import load_composite
from atnet_jax.data.folds import Unit, make_folds
from atnet_jax.errors import UserError
from atnet_jax.evaluation import predictions
from atnet_jax.evaluation.runs import load_run
from atnet_jax.experiments import results
from atnet_jax.experiments import run as experiment
from atnet_jax.training import loop as fold_training
from atnet_jax.training.checkpoint import FoldCheckpoints
from atnet_jax.training.engine import make_trainer
from atnet_jax.training.feed import InMemory
from atnet_jax.training.loop import read_network, train_units
from atnet_jax.weights import folder as weights
from tests.settings import change
from tests.tiny_runs import run_main, settings


@pytest.fixture(scope="module")
def finished(data_dir, tmp_path_factory) -> Path:
    """A whole run in this process, whose program later tests use too."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    experiment.train_and_evaluate(settings(data_dir), workdir)
    return workdir


def test_a_run_leaves_everything(finished):
    rows = predictions.read(finished / "predictions.csv")
    assert len(rows) == 36
    assert {row.fold for row in rows} == set(range(6))
    scores = json.loads((finished / "metrics.json").read_text())
    assert {"full", "casme2", "samm", "smic"} <= scores.keys()
    assert scores["full"]["clips"] == 36
    record = json.loads((finished / "config.json").read_text())
    assert record["config"]["model"] == "ststnet"
    assert record["environment"]["versions"].keys() >= {"jax", "flax", "numpy", "python"}
    assert len(record["data"]["sha256"]) == 64
    assert "this run" in (finished / "table.md").read_text()
    page = (finished / "report.html").read_text()
    assert "casme2/s1" in page
    assert sorted(p.name for p in (finished / "checkpoints").iterdir()) == [
        f"fold_{k:03d}" for k in range(6)
    ]


def test_a_finished_run_can_be_started_again(finished, data_dir, capsys):
    before = (finished / "predictions.csv").read_bytes()
    experiment.train_and_evaluate(settings(data_dir), finished)
    assert "Resuming: all folds are finished.\n" in capsys.readouterr().out
    assert (finished / "predictions.csv").read_bytes() == before


def test_grouping_of_folds_does_not_change_the_scores(finished, data_dir, tmp_path):
    experiment.train_and_evaluate(settings(data_dir, folds_per_batch=4), tmp_path / "grouped")
    alone = predictions.read(finished / "predictions.csv")
    grouped = predictions.read(tmp_path / "grouped" / "predictions.csv")
    for a, b in zip(alone, grouped, strict=True):
        assert (a.fold, a.subject, a.clip, a.label) == (b.fold, b.subject, b.clip, b.label)
        np.testing.assert_allclose(a.scores, b.scores, atol=2e-4)


def test_a_selection_of_folds_is_the_same_folds(finished, data_dir, tmp_path):
    # Five folds in groups of three: the second group is filled up behind its own two.
    config = settings(data_dir, folds="0,2:6", folds_per_batch=3)
    experiment.train_and_evaluate(config, tmp_path / "some")
    some = predictions.read(tmp_path / "some" / "predictions.csv")
    whole = predictions.read(finished / "predictions.csv")
    whole = [row for row in whole if row.fold != 1]
    assert [row.clip for row in some] == [row.clip for row in whole]
    # A group of another size is another program: equal within rounding.
    np.testing.assert_allclose(
        [row.scores for row in some], [row.scores for row in whole], atol=1e-4
    )
    assert (
        "The run covers only 5 of 6 folds (0,2:6) and"
        in (tmp_path / "some" / "table.md").read_text()
    )


def test_labels_of_test_clips_never_reach_training(data_dir, tmp_path):
    config = settings(data_dir)
    composite = load_composite(data_dir, ("manifest",), config.data.flow, ("flow_map",))
    folds = make_folds("cde", composite)
    labels = composite.labels

    def train(labels, name):
        # All folds in one group, as in `finished`: the others train on the clips of this test.
        units = [Unit(0, fold, labels) for fold in folds]
        folder = {0: tmp_path / name}
        return train_units(config, InMemory(composite.inputs), units, units, folder)[0, 0]

    def changed(clips):
        wrong = labels.copy()
        wrong[clips] = (wrong[clips] + 1) % 3
        return wrong

    honest = train(labels, "a")
    lied_to = train(changed(folds[0].test), "b")
    assert np.array_equal(honest.scores, lied_to.scores)
    assert np.array_equal(honest.loss, lied_to.loss)
    retrained = train(changed(folds[0].train), "c")
    assert not np.array_equal(honest.scores, retrained.scores)


def test_shuffled_labels_are_the_same_labels_elsewhere(data_dir):
    composite = load_composite(data_dir, ("manifest",), "spatiotemporal", ("flow_map",))
    shuffled = composite.with_shuffled_labels(seed=0)
    assert np.bincount(shuffled.labels).tolist() == np.bincount(composite.labels).tolist()
    assert 0.4 < np.mean(shuffled.labels != composite.labels) < 0.95
    assert np.array_equal(shuffled.labels, composite.with_shuffled_labels(seed=0).labels)
    assert shuffled.digest() != composite.digest()


def test_scores_of_every_epoch_are_kept(finished):
    with np.load(finished / "epoch_scores.npz", allow_pickle=False) as kept:
        assert kept["epochs"].tolist() == [1, 2, 3, 4, 5, 6]
        scores = kept["scores"]
    assert scores.shape == (6, 36, 3)
    rows = predictions.read(finished / "predictions.csv")
    np.testing.assert_allclose(scores[-1], [row.scores for row in rows], atol=1e-5)
    assert np.abs(scores[0] - scores[-1]).max() > 0.01
    curves = json.loads((finished / "curves.json").read_text())
    assert curves["4"]["name"] == "smic/s1"
    assert curves["4"]["kept_epoch"] == 6
    assert len(curves["4"]["loss"]) == 6


class Clock:
    """Clock that advances by these seconds at each call and stops the training at the last."""

    def __init__(self, step: float, looks: int = 1000):
        self._now, self._step, self._looks = 0.0, step, looks

    def __call__(self) -> float:
        self._looks -= 1
        if not self._looks:
            raise KeyboardInterrupt
        self._now += self._step
        return self._now


def test_the_seconds_of_an_epoch_are_shared_and_outlive_a_kill(
    finished, data_dir, tmp_path, monkeypatch
):
    # Groups of three and of two folds, the second filled up; a checkpoint every second epoch.
    config = settings(data_dir, folds="0:5", folds_per_batch=3)
    monkeypatch.setattr(fold_training, "monotonic", Clock(6.0, looks=10))
    with pytest.raises(KeyboardInterrupt):
        experiment.train_and_evaluate(config, tmp_path / "run")
    monkeypatch.setattr(fold_training, "monotonic", Clock(60.0))
    experiment.train_and_evaluate(config, tmp_path / "run")
    curves = json.loads((tmp_path / "run" / "curves.json").read_text())
    assert {fold: curve["seconds"] for fold, curve in curves.items()} == {
        **{fold: [2, 2, 2, 2, 20, 20] for fold in "012"},
        **{fold: [30] * 6 for fold in "34"},
    }
    # Each fold of a group goes on from its own state; a group of another size rounds differently.
    resumed = predictions.read(tmp_path / "run" / "predictions.csv")
    whole = [row for row in predictions.read(finished / "predictions.csv") if row.fold != 5]
    np.testing.assert_allclose(
        [row.scores for row in resumed], [row.scores for row in whole], atol=1e-4
    )


def test_a_training_that_is_not_the_published_one_is_said(finished):
    table = (finished / "table.md").read_text().replace("\\", "")
    assert (
        "Training differs from the publication: batch_size 16 (published: 256), learning_rate"
        in table
    )
    assert "num_epochs 6 (published: 800)." in table
    assert "momentum" not in table


def test_only_the_last_epoch_is_scored_if_one_wants(data_dir, tmp_path):
    config = settings(data_dir, score_every=0)
    experiment.train_and_evaluate(config, tmp_path / "run")
    with np.load(tmp_path / "run" / "epoch_scores.npz", allow_pickle=False) as kept:
        assert kept["epochs"].tolist() == [6]


def nested_folds(config, composite):
    return make_folds("hde", composite, config.validation_share, config.seeds[0])


def test_nested_selection_looks_at_subjects_held_back_and_at_no_test_label(data_dir, tmp_path):
    config = settings(data_dir, selection="nested", validation_share=0.5, num_epochs=8)
    composite = load_composite(data_dir, ("manifest",), config.data.flow, ("flow_map",))
    folds = nested_folds(config, composite)
    labels = composite.labels

    def train(name):
        units = [Unit(0, fold, labels) for fold in folds]
        folder = {0: tmp_path / name}
        return train_units(config, InMemory(composite.inputs), units, units[:1], folder)[0, 0]

    honest = train("a")
    labels[folds[0].test] = (labels[folds[0].test] + 1) % 3
    lied_to = train("b")
    assert honest.epoch == lied_to.epoch
    assert np.array_equal(honest.scores, lied_to.scores)
    assert np.array_equal(honest.scores, honest.epoch_scores[honest.epoch - 1])
    # The same scores, judged by other labels of the subjects held back, choose by these.
    labels[folds[0].validation] = (labels[folds[0].validation] + 1) % 3
    judged = train("a")
    assert np.array_equal(judged.epoch_scores, honest.epoch_scores)
    assert judged.epoch != honest.epoch


def test_nested_selection_is_said(data_dir, tmp_path):
    config = settings(data_dir, selection="nested", validation_share=0.5, protocol="hde", folds="0")
    experiment.train_and_evaluate(config, tmp_path / "run")
    assert "chosen on validation subjects" in (tmp_path / "run" / "table.md").read_text()
    config.selection = "best"
    with pytest.raises(UserError, match="selection is 'best', expected last or nested"):
        experiment.train_and_evaluate(config, tmp_path / "other")


def network_of(workdir: Path, data_dir: Path, fold: int):
    """The variables of a fold's last checkpoint."""
    config = settings(data_dir)
    composite = load_composite(data_dir, ("manifest",), config.data.flow, ("flow_map",))
    shapes = make_trainer(config, composite.inputs).unit_shapes()
    return read_network(FoldCheckpoints(workdir / "checkpoints"), fold, shapes)


@pytest.fixture(scope="module")
def learnt(finished, data_dir, tmp_path_factory) -> Path:
    """Weights of STSTNet's streams after a training."""
    network = network_of(finished, data_dir, 3)
    folder = tmp_path_factory.mktemp("learnt") / "weights"
    weights.save(
        folder,
        weights.Weights(
            {"streams": network["params"]["streams"]},
            network["batch_stats"],
            {"source": "a test", "model": "ststnet"},
        ),
    )
    return folder


def test_every_fold_starts_from_the_weights_given(learnt, data_dir, tmp_path):
    config = settings(data_dir, init_from=str(learnt), num_epochs=1, learning_rate=0.0)
    experiment.train_and_evaluate(config, tmp_path / "run")
    given = weights.load(learnt)
    networks = [network_of(tmp_path / "run", data_dir, fold) for fold in (0, 3)]
    for network in networks:
        # A learning rate of 0 leaves the parameters where they started.
        for name, array in given.params["streams"].items():
            assert np.array_equal(network["params"]["streams"][name], array)
    fresh = [network["params"]["classifier"]["kernel"] for network in networks]
    assert not np.array_equal(*fresh)
    table = (tmp_path / "run" / "table.md").read_text()
    assert f"starts from the weights in {learnt} (source: a test)." in table
    assert "Randomly initialised layers: classifier" in table


def test_a_good_start_lowers_the_loss_of_the_first_epoch(learnt, data_dir, tmp_path):
    losses = []
    for start in ("", str(learnt)):
        config = settings(data_dir, init_from=start, num_epochs=1)
        composite = load_composite(data_dir, ("manifest",), config.data.flow, ("flow_map",))
        units = [Unit(0, fold, composite.labels) for fold in make_folds("cde", composite)]
        results = train_units(
            config, InMemory(composite.inputs), units, units,
            {0: tmp_path / f"from{bool(start)}"},
            weights.load(Path(start)) if start else None,
        )  # fmt: skip
        losses.append(results[0, 0].loss[0])
    assert losses[1] < 0.8 * losses[0]


def test_a_resumed_run_wants_the_weights_it_started_from(learnt, data_dir, tmp_path):
    moved = shutil.copytree(learnt, tmp_path / "moved")
    config = settings(data_dir, init_from=str(learnt), num_epochs=1)
    experiment.train_and_evaluate(config, tmp_path / "run")
    config.init_from = str(moved)
    experiment.train_and_evaluate(config, tmp_path / "run")
    given = weights.load(learnt)
    other = tmp_path / "other"
    doubled = jax.tree.map(lambda leaf: 2 * leaf, given.params)
    weights.save(other, weights.Weights(doubled, given.batch_stats, given.about))
    for start in (str(other), ""):
        config.init_from = start
        with pytest.raises(UserError, match=r"holds another run.*init_from"):
            experiment.train_and_evaluate(config, tmp_path / "run")


def test_weights_of_another_network_are_refused_before_anything_is_written(data_dir, tmp_path):
    weights.save(
        tmp_path / "weights",
        weights.Weights({"streams": {"kernel": np.zeros((27, 5))}}, {}, {"model": "other"}),
    )
    config = settings(data_dir, init_from=str(tmp_path / "weights"))
    with pytest.raises(UserError, match=r"streams/kernel has the shape \(27, 5\).*\(27, 16\)"):
        experiment.train_and_evaluate(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_another_run_in_the_same_workdir_is_refused(finished, data_dir):
    config = settings(data_dir)
    config.recipe.learning_rate = 0.5
    with pytest.raises(UserError, match=r"holds another run.*recipe\.learning_rate: 0\.01 → 0\.5"):
        experiment.train_and_evaluate(config, finished)


def test_folds_are_added_to_a_finished_run(finished, data_dir, tmp_path, capsys, monkeypatch):
    experiment.train_and_evaluate(settings(data_dir, folds="2"), tmp_path)
    before = predictions.read(tmp_path / "predictions.csv")
    more = settings(data_dir, folds="1:3")

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(experiment, "train_units", fail)
        experiment.train_and_evaluate(more, tmp_path)
    with pytest.raises(UserError, match=r"not finished: it has the results of the folds 2 of 1:3"):
        load_run(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(results, "write_curves", fail)  # After predictions.csv and metrics.json.
        experiment.train_and_evaluate(more, tmp_path)
    assert load_run(tmp_path).curves == {}
    experiment.train_and_evaluate(more, tmp_path)
    assert [*load_run(tmp_path).curves] == [1, 2]
    assert [
        row for row in predictions.read(tmp_path / "predictions.csv") if row.fold == 2
    ] == before
    assert "Resuming: 1 of 2 folds are finished and 0 begun, 6 of 12 epochs in all." in (
        capsys.readouterr().out
    )
    whole = predictions.read(finished / "predictions.csv")
    rows = predictions.read(tmp_path / "predictions.csv")
    for row, other in zip(rows, [r for r in whole if r.fold in (1, 2)], strict=True):
        assert (row.fold, row.clip) == (other.fold, other.clip)
        np.testing.assert_allclose(row.scores, other.scores, atol=2e-4)


def test_other_files_in_the_workdir_are_left_alone(data_dir, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="contains other files but no run"):
        experiment.train_and_evaluate(settings(data_dir), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_divergence_stops_with_the_name_of_the_fold(data_dir, tmp_path):
    config = settings(data_dir, folds="1")
    config.recipe.learning_rate = 1e38
    with pytest.raises(UserError, match=r"Fold 1 \(casme2/s2\), seed 0: the training loss is nan"):
        experiment.train_and_evaluate(config, tmp_path / "run")


def test_data_that_are_not_prepared_name_the_command(tmp_path):
    done = run_main(tmp_path, tmp_path / "run")
    assert done.returncode == 1
    assert "atnet prepare --dataset=manifest --flow=spatiotemporal" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_an_input_that_the_data_lack_is_named(data_dir, tmp_path):
    config = default_config("temporal")
    change(config, datasets=("manifest",), dir=str(data_dir))
    with pytest.raises(UserError, match="casme2/s1/c0 in the data set manifest has no adm"):
        experiment.train_and_evaluate(config, tmp_path / "run")


def test_invalid_settings_are_rejected_before_the_folder_is_locked(data_dir, tmp_path):
    """The same folder then takes the mended settings."""
    config = settings(data_dir, steps_per_epoch=1, num_epochs=1, folds="0")
    with pytest.raises(UserError, match=r"steps_per_epoch is 1, but shared batches \(part of"):
        experiment.train_and_evaluate(config, tmp_path / "run")
    config.recipe.shared_batches = False
    experiment.train_and_evaluate(config, tmp_path / "run")
    assert (tmp_path / "run" / "predictions.csv").exists()
