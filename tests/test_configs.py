"""Every configuration with every method, on synthetic databases that walked the real builders."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from ml_collections import config_flags

from atnet_jax import experiment, models, predictions
from atnet_jax.data import load_composite
from atnet_jax.errors import UserError
from atnet_jax.prepare import prepare
from atnet_jax.synthetic import generate

REPOSITORY = Path(__file__).resolve().parents[1]
DATABASES = ("casme2", "samm", "smic")


def load(name: str):
    """The configuration as the command line loads it."""
    values = flags.FlagValues()
    config = config_flags.DEFINE_config_file(
        "config", str(REPOSITORY / "configs" / name), flag_values=values
    )
    values(["test"])
    return config.value


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("synthetic")
    generate(root / "raw", datasets=DATABASES, subjects=2, clips=3, seed=0, progress=False)
    for name in DATABASES:
        prepare(name, root / "raw" / name, root / "data")
    return root / "data"


def test_the_composite_is_what_was_rendered(data_dir):
    composite = load_composite(data_dir, DATABASES, "farneback", ("apex", "adm", "flow_map"))
    assert [composite.dataset.count(name) for name in DATABASES] == [6, 6, 6]
    assert np.bincount(composite.labels).tolist() == [6, 6, 6]
    assert composite.inputs["apex"].shape == (18, 224, 224, 1)
    assert composite.inputs["apex"].dtype == np.uint8
    assert composite.inputs["adm"].shape == (18, 64, 128)
    # The odd rows of CASME II's sheet: others, no apex, apex = onset, sadness.
    assert {row[0] for row in composite.excluded} == {"casme2", "samm"}
    assert len(composite.excluded) >= 4
    smaller = load_composite(data_dir, DATABASES, "farneback", ("apex",), image_size=56)
    means = composite.inputs["apex"].reshape(18, 56, 4, 56, 4).mean((2, 4))
    assert np.abs(smaller.inputs["apex"][..., 0] - means).max() <= 1


@pytest.mark.parametrize("model", models.names())
@pytest.mark.parametrize("name", ["cde", "hde", "demo"])
def test_every_configuration_loads(name, model):
    config = load(f"{name}.py:{model}")
    assert (config.protocol, config.model) == ("hde" if name == "hde" else "cde", model)


@pytest.mark.parametrize(
    ("name", "model"),
    [("demo", "fusion"), ("cde", "spatial"), ("hde", "temporal"), ("hde", "ststnet")],
)
def test_every_method_trains(name, model, data_dir, tmp_path):
    config = load(f"{name}.py:{model}")
    config.update(data_dir=str(data_dir), image_size=32, num_epochs=1, folds="0")
    if config.steps_per_epoch:
        config.steps_per_epoch = 1
    report = experiment.train_and_evaluate(config, tmp_path / "run")
    assert report.read_text().startswith("<!DOCTYPE html>")
    rows = predictions.read(tmp_path / "run" / "predictions.csv")
    assert {row.dataset for row in rows} == {"casme2"}
    assert len(rows) == (6 if name == "hde" else 3)


def test_fusion_at_full_size_from_the_command_line(data_dir, tmp_path):
    done = subprocess.run(
        [
            sys.executable, "-m", "atnet_jax.main", "--config=configs/cde.py",
            f"--config.data_dir={data_dir}", f"--workdir={tmp_path / 'run'}",
            "--config.num_epochs=1", "--config.steps_per_epoch=1", "--config.folds=5",
        ],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "paper: ATNet fusion" in done.stdout
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    assert record["config"]["image_size"] == 224
    assert "configs/cde.py" in record["command"]


def test_an_unknown_model_is_refused(tmp_path):
    with pytest.raises(UserError, match="No model is called 'resnet'"):
        experiment.train_and_evaluate(load("cde.py:resnet"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
