import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from atnet_jax.data.composite import load_composite
from atnet_jax.data.folds import make_folds
from atnet_jax.errors import UserError
from atnet_jax.evaluation import predictions
from atnet_jax.experiments import run as experiment
from atnet_jax.training import trained
from tests.tiny_runs import settings


@pytest.fixture(scope="module")
def run(data_dir, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "cde"
    experiment.train_and_evaluate(settings(data_dir), workdir)
    return workdir


@pytest.fixture(scope="module")
def final(data_dir, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "final"
    assert experiment.train_and_evaluate(settings(data_dir, task="final"), workdir) is None
    return workdir


@pytest.fixture
def copy(run, tmp_path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "copy"))


def assert_scores_of(run: Path, networks: trained.Networks) -> None:
    config = networks.config
    composite = load_composite(
        config.data.dir, config.data.datasets, config.data.flow, networks.inputs
    )
    rows = predictions.read(run / "predictions.csv")
    folds = make_folds("cde", composite)
    assert networks.names == tuple(f"fold {fold.number} ({fold.name})" for fold in folds)
    for fold in folds:
        tested = {name: array[fold.test] for name, array in composite.inputs.items()}
        scores = networks.scores(tested)[fold.number]
        told = [row.scores for row in rows if row.fold == fold.number]
        np.testing.assert_allclose(scores, told, atol=1e-6)
    first, second = networks.scores(composite.inputs)[:2]
    assert np.abs(first - second).max() > 1e-3


def test_scores_are_those_of_the_run(run):
    assert_scores_of(run, trained.load_networks(run))


def test_where_epochs_were_chosen_the_networks_are_theirs(data_dir, tmp_path):
    config = settings(data_dir, selection="nested", validation_share=0.5, num_epochs=8)
    experiment.train_and_evaluate(config, tmp_path)
    curves = json.loads((tmp_path / "curves.json").read_text())
    assert min(curve["kept_epoch"] for curve in curves.values()) < 8
    assert_scores_of(tmp_path, trained.load_networks(tmp_path))


def test_settings_are_those_of_the_run(run, data_dir):
    config = trained.load_networks(run).config
    assert config == settings(data_dir)
    assert isinstance(config.data.datasets, tuple)


def test_final_trains_on_everybody_and_scores_nobody(final, data_dir, capsys):
    assert sorted(path.name for path in final.iterdir()) == [
        "checkpoints", "config.json", "curves.json", "model_card.md", "tensorboard",
    ]  # fmt: skip
    record = json.loads((final / "config.json").read_text())
    assert record["folds"] == {"names": ["all subjects"], "run": [0]}
    networks = trained.load_networks(final)
    assert networks.names == ("all subjects",)
    # A rerun finds the run finished, and prints its purpose instead of a score.
    experiment.train_and_evaluate(settings(data_dir, task="final"), final)
    said = capsys.readouterr().out
    assert "no accuracy" in said
    assert f"atnet predict {final} CLIP" in said


def test_final_differs_from_every_fold(run, final, data_dir):
    composite = load_composite(
        data_dir, settings(data_dir).data.datasets, "spatiotemporal", ("flow_map",)
    )
    whole = trained.load_networks(final).scores(composite.inputs)[0]
    for scores in trained.load_networks(run).scores(composite.inputs):
        assert np.abs(whole - scores).max() > 1e-4


def test_final_of_an_svm_and_with_nested_subjects_is_refused(data_dir, tmp_path):
    from atnet_jax.config import default_config

    config = default_config("hoof_n4_tim10")
    config.task = "final"
    with pytest.raises(UserError, match="Choose a neural network"):
        experiment.train_and_evaluate(config, tmp_path / "svm")
    nested = settings(data_dir, task="final", selection="nested")
    with pytest.raises(UserError, match="holds none back"):
        experiment.train_and_evaluate(nested, tmp_path / "nested")


def test_different_networks_have_different_digests(run, final):
    networks = trained.load_networks(run)
    assert networks.digest == trained.load_networks(run).digest
    assert networks.digest != trained.load_networks(final).digest
    fewer = dataclasses.replace(
        networks, names=networks.names[:1], variables=networks.variables[:1]
    )
    assert fewer.digest != networks.digest


def test_several_seeds_are_one_ensemble(run, copy, tmp_path):
    both = tmp_path / "both"
    both.mkdir()
    for seed in (0, 1):
        folder = Path(shutil.copytree(run, both / f"seed_{seed}"))
        record = json.loads((folder / "config.json").read_text())
        record["config"]["seeds"] = [seed]
        (folder / "config.json").write_text(json.dumps(record))
    names = trained.load_networks(both).names
    assert len(names) == 2 * len(trained.load_networks(run).names)
    assert names[0].startswith("seed 0, fold 0") and names[-1].startswith("seed 1, fold 5")


def test_the_note_of_a_control(copy):
    record = json.loads((copy / "config.json").read_text())
    record["config"] |= {"shuffle_labels": True}
    (copy / "config.json").write_text(json.dumps(record))
    (note,) = trained.load_networks(copy).notes
    assert "permuted labels" in note


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: shutil.rmtree(run), "no such folder"),
        (lambda run: (run / "config.json").unlink(), "holds no run"),
        (lambda run: (run / "config.json").write_text("{"), "is not the record of a run"),
        (lambda run: shutil.rmtree(run / "checkpoints"), "Merged runs have no checkpoints"),
        (lambda run: shutil.rmtree(run / "checkpoints" / "fold_002"), r"fold 2 \(.*0 of 6 epochs"),
    ],
)
def test_unfinished_runs_are_rejected(copy, spoil, message):
    spoil(copy)
    with pytest.raises(UserError, match=message):
        trained.load_networks(copy)


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("model", "lbp_top", "an SVM and keeps no trained network"),
        ("model", "lenet", "'lenet', expected one of bi_woof"),
        ("directions", "circular", "another version"),
        ("task", "pretrain", r"Train a run with --config\.init_from=.*/weights"),
        ("recipe", {"num_epochs": 60}, "Rerun the command of the run, which resumes"),
    ],
)
def test_other_settings(copy, setting, value, message):
    record = json.loads((copy / "config.json").read_text())
    if setting == "recipe":
        value = {**record["config"]["recipe"], **value}
    record["config"][setting] = value
    (copy / "config.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=message):
        trained.load_networks(copy)


def test_a_damaged_checkpoint_is_reported_and_left_unchanged(copy):
    path = next((copy / "checkpoints" / "fold_001").glob("*/tree.npz"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"Fold 1: the checkpoint .* is damaged"):
        trained.load_networks(copy)
    assert path.exists()


def test_face_detector_of_the_training_data(copy):
    assert trained.load_networks(copy).face == "mtcnn"
    record = json.loads((copy / "config.json").read_text())
    record["preparation"] = {"casme2": {"face": "none"}, "samm": {"face": "mtcnn"}}
    (copy / "config.json").write_text(json.dumps(record))
    assert trained.load_networks(copy).face == ""


def test_a_run_need_not_keep_its_networks(run, data_dir, tmp_path, capsys):
    """The results are equal, a rerun finds the run finished, and loading it is an error."""
    workdir = tmp_path / "run"
    config = settings(data_dir, keep_networks=False)
    experiment.train_and_evaluate(config, workdir)
    kept, left = list(run.rglob("tree.npz")), list(workdir.rglob("tree.npz"))
    assert len(left) == len(kept) == 6
    assert sum(p.stat().st_size for p in left) < sum(p.stat().st_size for p in kept) / 5
    for path in left:
        with np.load(path, allow_pickle=False) as arrays:
            assert all(name.startswith("['history']") for name in arrays)
    (workdir / "predictions.csv").unlink()
    capsys.readouterr()
    experiment.train_and_evaluate(config, workdir)
    assert "loss" not in capsys.readouterr().err, "it was trained again"
    for name in ("predictions.csv", "metrics.json"):
        assert (workdir / name).read_bytes() == (run / name).read_bytes()
    with pytest.raises(UserError, match="keep_networks=False, which keeps no trained network"):
        trained.load_networks(workdir)
