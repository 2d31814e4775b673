"""Networks as safetensors, written and read back, and their model card."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from atnet_jax import commands
from atnet_jax.config import default_config
from atnet_jax.errors import UserError
from atnet_jax.evaluation.model_card import NOT_FOR
from atnet_jax.experiments.train import train
from atnet_jax.training import trained
from tests.tiny_runs import settings


@pytest.fixture(scope="module")
def run(data_dir, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "cde"
    train(settings(data_dir, seeds=(0, 1)), workdir)
    return workdir


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("exports") / "networks"
    assert commands.run(["export", str(run), "--format=safetensors", f"--out={out}"]) == 0
    return out


@pytest.fixture
def copy(exported, tmp_path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "copy"))


def test_networks_are_read_back_as_they_were(run, exported, tmp_path):
    before, after = trained.load_networks(run), trained.load_networks(exported)
    assert after.digest == before.digest
    assert (after.names, after.face, after.card) == (before.names, before.face, before.card)
    assert after.config.to_json() == before.config.to_json()
    maps = {"flow_map": np.random.default_rng(0).normal(size=(3, 28, 28, 3)).astype(np.float32)}
    np.testing.assert_array_equal(after.scores(maps), before.scores(maps))
    trained.export_safetensors(after, tmp_path / "again")
    for path in sorted(exported.iterdir()):
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_other_programs_read_the_arrays_by_name(run, exported):
    arrays = safetensors.numpy.load_file(exported / "network_000.safetensors")
    kernel = trained.load_networks(run).variables[0]["params"]["classifier"]["kernel"]
    np.testing.assert_array_equal(arrays["params/classifier/kernel"], kernel)


def test_the_card_goes_along(run, exported):
    card = (run / "model_card.md").read_text()
    assert (exported / "README.md").read_text() == card
    for folder in sorted(run.glob("seed_*")):
        metrics = json.loads((folder / "metrics.json").read_text())
        assert f"{metrics['full']['uf1']:.3f} [" in (folder / "model_card.md").read_text()
    assert NOT_FOR in card
    assert "Seeds: 0, 1." in card
    assert "| all tested clips | 36 | 6 |" in card


def test_a_network_of_all_subjects_has_a_card_without_metrics(data_dir, tmp_path):
    assert train(settings(data_dir, task="final"), tmp_path / "final") == ()
    card = (tmp_path / "final" / "model_card.md").read_text()
    assert "there are no metrics" in card
    assert "`atnet train --config=cde:ststnet` measures the same method" in card
    trained.export_safetensors(trained.load_networks(tmp_path / "final"), tmp_path / "out")
    assert trained.load_networks(tmp_path / "out").names == ("all subjects",)


def test_the_card_of_some_folds_says_so(data_dir, tmp_path):
    train(settings(data_dir, folds="0:2"), tmp_path / "run")
    card = (tmp_path / "run" / "model_card.md").read_text()
    assert "The run covers only 2 of 6 folds (0:2), so" in card
    assert "every clip of these folds is tested once, by" in card
    assert "| all tested clips | 12 | 2 |" in card


def _cut(folder: Path) -> None:
    path = folder / "network_001.safetensors"
    path.write_bytes(path.read_bytes()[:-8])


def _outside(folder: Path) -> None:
    described = json.loads((folder / "networks.json").read_text())
    described["networks"][0]["file"] = "../network_000.safetensors"
    (folder / "networks.json").write_text(json.dumps(described))


def _other_method(folder: Path) -> None:
    described = json.loads((folder / "networks.json").read_text())
    described["config"] = json.loads(default_config("temporal").to_json())
    (folder / "networks.json").write_text(json.dumps(described))


def _replace(folder: Path, packed: bytes) -> None:
    """Put other bytes in the place of the first network, with their digest."""
    (folder / "network_000.safetensors").write_bytes(packed)
    described = json.loads((folder / "networks.json").read_text())
    described["networks"][0]["sha256"] = hashlib.sha256(packed).hexdigest()
    (folder / "networks.json").write_text(json.dumps(described))


def _half_precision(folder: Path) -> None:
    arrays = safetensors.numpy.load_file(folder / "network_000.safetensors")
    halves = {name: array.astype(np.float16) for name, array in arrays.items()}
    _replace(folder, safetensors.numpy.save(halves))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_cut, r"network_001\.safetensors: damaged"),
        (lambda folder: (folder / "network_000.safetensors").unlink(), "cannot be read"),
        (lambda folder: (folder / "networks.json").write_text("{}"), "format must be 1"),
        (lambda folder: _replace(folder, b"garbage"), "not the arrays of a network"),
        (_half_precision, "must be finite float32"),
        (_outside, "not the name of a network"),
        (_other_method, "the arrays do not match temporal"),
    ],
)
def test_a_damaged_folder_is_refused(copy, damage, message):
    damage(copy)
    with pytest.raises(UserError, match=message):
        trained.load_networks(copy)


def test_a_folder_that_exists_is_not_overwritten(run, exported):
    with pytest.raises(UserError):
        trained.export_safetensors(trained.load_networks(run), exported)


def test_export_without_a_model_card_says_what_to_do(run, tmp_path):
    copy = Path(shutil.copytree(run / "seed_0", tmp_path / "copy"))
    (copy / "model_card.md").unlink()
    with pytest.raises(UserError, match="Rerun the command of their run"):
        trained.export_safetensors(trained.load_networks(copy), tmp_path / "out")
