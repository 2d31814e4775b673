"""Every configuration with every method, on synthetic databases prepared by the real builders."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from atnet_jax import models
from atnet_jax.config import check, method_config
from atnet_jax.data.composite import load_composite, resize
from atnet_jax.data.record import from_record, prepared, read_records
from atnet_jax.errors import UserError
from atnet_jax.evaluation import predictions
from atnet_jax.experiments import run as experiment
from atnet_jax.experiments import suite
from atnet_jax.experiments.config_file import read_config
from atnet_jax.preprocessing.magnification import magnify
from atnet_jax.preprocessing.optical_flow import flow_method
from atnet_jax.published import TABLE_II
from atnet_jax.training.batches import Batches
from atnet_jax.training.engine import make_trainer
from atnet_jax.training.method_inputs import load_inputs
from data_builders.prepare import prepare
from data_builders.synthetic import generate
from tests.settings import change

REPOSITORY = Path(__file__).resolve().parents[1]
DATABASES = ("casme2", "samm", "smic")
# The fastest; the notebooks take the default one.
FLOW = "farneback"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("synthetic")
    # In one process: a second one would paint the same faces and load the detector again.
    generate(root / "raw", datasets=DATABASES, subjects=1, clips=3, seed=0, num_workers=1)
    for name in DATABASES:
        prepare(name, root / "raw" / name, root / "data", flow=FLOW, num_workers=1)
    return root / "data"


def of(data_dir: Path) -> dict[str, str]:
    """The settings that name these data."""
    return {"dir": str(data_dir), "flow": FLOW}


def test_the_composite_matches_the_rendered_clips(data_dir):
    composite = load_composite(data_dir, DATABASES, FLOW, ("apex", "adm", "flow_map"))
    assert [composite.dataset.count(name) for name in DATABASES] == [3, 3, 3]
    assert np.bincount(composite.labels).tolist() == [3, 3, 3]
    assert composite.inputs["apex"].shape == (9, 224, 224, 1)
    assert composite.inputs["apex"].dtype == np.uint8
    assert composite.inputs["adm"].shape == (9, 64, 128)
    # The odd rows of the sheets: others, no apex.
    assert sorted(row.dataset for row in composite.excluded) == ["casme2", "casme2", "samm"]
    smaller = load_composite(data_dir, DATABASES, FLOW, ("apex",), image_size=56)
    means = composite.inputs["apex"].reshape(9, 56, 4, 56, 4).mean((2, 4))
    assert np.abs(smaller.inputs["apex"][..., 0] - means).max() <= 1


@pytest.mark.parametrize("model", [*models.names(), "lbp_top_p8_tim64"])
@pytest.mark.parametrize("name", ["cde", "hde", "demo"])
def test_every_configuration_loads(name, model):
    config = read_config(f"{name}:{model}")
    assert config.protocol == ("hde" if name == "hde" else "cde")
    assert config.model == ("lbp_top" if model.startswith("lbp_top") else model)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("hde", "temporal"),
        ("hde", "ststnet"),
        ("cde", "rcn_w"),
        ("hde", "bi_woof"),
        ("hde", "mdmo"),
    ],
)
def test_every_method_trains(name, model, data_dir, tmp_path):
    config = read_config(f"{name}:{model}")
    change(config, **of(data_dir), image_size=32, num_epochs=1, folds="0", batch_size=8)
    if config.recipe.steps_per_epoch:
        config.recipe.steps_per_epoch = 1
    report = experiment.train_and_evaluate(config, tmp_path / "run")
    assert report.read_text().startswith("<!DOCTYPE html>")
    rows = predictions.read(tmp_path / "run" / "predictions.csv")
    assert {row.dataset for row in rows} == {"casme2"}
    assert len(rows) == 3


def test_the_largest_network_takes_its_inputs(data_dir):
    """Traced, as it takes half a minute to compile; `test_networks` trains it."""
    config = read_config("demo:mmnet")
    change(config, **of(data_dir), image_size=32)
    inputs = load_inputs(config).inputs
    trainer = make_trainer(config, inputs)
    clips = np.arange(8, dtype=np.int32)[None, None]
    program = trainer.lower_epoch(inputs, [Batches(clips, clips % 3, None)]).as_text()
    for name, array in inputs.items():
        size = "x".join(map(str, array.shape))
        assert f"tensor<{size}x" in program, name


@pytest.mark.parametrize(
    ("model", "features", "row"),
    [("lbp_top_p8_tim10", 177, "LBP-TOP {3,3,3,8} TIM 10"), ("hoof_n4_tim10", 36, "HOOF N=4")],
)
def test_hand_crafted_features_are_methods_too(model, features, row, data_dir, tmp_path, capsys):
    config = read_config(f"hde:{model}")
    change(config, **of(data_dir))
    experiment.train_and_evaluate(config, tmp_path / "run")
    rows = predictions.read(tmp_path / "run" / "predictions.csv")
    assert len(rows) == 9
    assert not (tmp_path / "run" / "curves.json").exists()
    assert row in (tmp_path / "run" / "table.md").read_text().replace("\\", "")
    computed = load_inputs(config)
    assert computed.inputs["features"].shape == (9, features)
    assert len(np.unique(computed.inputs["features"], axis=0)) == 9
    # Computed features are read from the cache; other options give other features.
    capsys.readouterr()
    load_inputs(config)
    assert "clip" not in capsys.readouterr().err
    config.options.interpolation, config.data.datasets = "linear", ("smic",)
    other = load_inputs(config).inputs["features"]
    assert not np.allclose(other, computed.inputs["features"][-3:])


def test_motion_is_magnified_before_any_method(data_dir, tmp_path):
    """With the training of fusion, of which the spatial stream is a part."""
    config, plain = read_config("demo:fusion"), read_config("demo:fusion")
    for each in (config, plain):
        change(each, **of(data_dir), datasets=("smic",), image_size=32, magnification=0.0)
    config.recipe.magnification = 8.0
    found, usual = load_inputs(config), load_inputs(plain)
    keys = list(zip(found.dataset, found.subject, found.clip, strict=True))
    for key, record in read_records(prepared(data_dir, "smic", config.data.flow), ("frames",)):
        clip = from_record(record, ("frames",))
        larger = np.clip(magnify(clip.frames, clip.frame_rate, 8.0), 0, 255)[clip.apex_index]
        expected = resize(np.rint(larger).astype(np.uint8), 32)
        np.testing.assert_array_equal(found.inputs["apex"][keys.index(key)], expected)
    np.testing.assert_array_equal(found.inputs["adm"], usual.inputs["adm"])
    assert found.inputs["apex"].shape == usual.inputs["apex"].shape
    plain.recipe.magnification = 4.0
    for other in (usual, load_inputs(plain)):
        assert not np.array_equal(found.inputs["apex"], other.inputs["apex"])
    assert list(usual.inputs) == ["apex", "adm"] == sorted(found.inputs, reverse=True)
    change(config, datasets=("smic", "samm"), num_epochs=1, steps_per_epoch=1, folds="0")
    report = experiment.train_and_evaluate(config, tmp_path / "run")
    assert (
        "Motion in the pictures was magnified: 8 times the original motion was added"
        in report.read_text()
    )
    assert "magnification 8.0 (published: 0.0)" in report.read_text()


@pytest.mark.parametrize(("model", "times"), [("ststnet", 5.0), ("capsule_net", 5.0)])
def test_magnification_without_pictures_is_rejected(model, times):
    config = read_config(f"cde:{model}")
    config.recipe.magnification = times
    with pytest.raises(
        UserError, match=rf"config.recipe.magnification is {times:g}, .* {model} reads"
    ):
        check(config)


def test_features_belong_to_their_clips(data_dir):
    """One clip's features, computed from its own record, are in its row."""
    config = read_config("cde:lbp_top")
    change(config, **of(data_dir))
    composite = load_inputs(config)
    reads = ("frames", "apex")
    records = dict(read_records(prepared(data_dir, "samm", FLOW), reads))
    key = ("samm", composite.subject[4], composite.clip[4])
    clip = from_record(records[key], reads)
    np.testing.assert_array_equal(clip.frames[clip.apex_index], clip.apex)
    method = models.find("lbp_top").build_features(config.options.to_dict())
    expected = method(clip, flow_method(FLOW))
    np.testing.assert_allclose(composite.inputs["features"][4], expected)


def test_settings_of_networks_are_rejected_for_an_svm(data_dir, tmp_path):
    for field, value in (("init_from", "weights"), ("selection", "nested")):
        config = read_config("cde:hoof")
        change(config, **of(data_dir), **{field: value})
        with pytest.raises(UserError, match=f"{field} is '{value}', but hoof is not a neural"):
            experiment.train_and_evaluate(config, tmp_path / "run")


def test_a_table_runs_only_unfinished_methods(data_dir, tmp_path):
    config = read_config("table3")
    assert len(config.methods) == 12
    change(config, **of(data_dir), methods=("lbp_top_p4_tim10", "temporal"), seeds=(0, 1))
    change(config, num_epochs=1, steps_per_epoch=1)
    suite.run(config, tmp_path / "table")
    runs = sorted(str(p.parent.relative_to(tmp_path / "table"))
                  for p in tmp_path.glob("table/*/*/predictions.csv"))  # fmt: skip
    assert runs == ["lbp_top_p4_tim10/seed_0", "temporal/seed_0", "temporal/seed_1"]
    page = (tmp_path / "table" / "report.html").read_text()
    assert "LBP-TOP {3,3,3,4} TIM 10" in page
    assert "Micro-Attention" in page
    kept = tmp_path / "table/temporal/seed_1/checkpoints/fold_002/1"
    before = kept.stat().st_mtime_ns
    suite.run(config, tmp_path / "table")
    assert kept.stat().st_mtime_ns == before
    config.seeds = (0, 0)
    with pytest.raises(UserError, match=r"seeds is \(0, 0\)"):
        suite.run(config, tmp_path / "other")


def test_a_table_hands_its_settings_to_every_method():
    config = read_config("table2")
    change(config, image_size=56, num_epochs=3, init_from="weights", folds="0:2", seeds=(4,))
    settings = {name: method_config(config, "cde", name) for name in config.methods}
    assert [s.protocol for s in settings.values()] == ["cde"] * 12
    assert {s.folds for s in settings.values()} == {"0:2"}
    assert {s.seeds for s in settings.values()} == {(4,)}
    starts = {name for name, s in settings.items() if s.init_from}
    assert starts == {"fusion", "spatial", "micro_attention"}
    assert settings["temporal"].recipe.num_epochs == 3
    assert settings["fusion"].recipe.learning_rate == 0.01
    rows = [models.find(s.model).paper_row_of(s.options.to_dict()) for s in settings.values()]
    assert rows == list(TABLE_II)


@pytest.mark.parametrize("steps", [None, 2])
def test_steps_asked_of_every_method_end_shared_batches(steps):
    """These are for whole passes over the clips, which are STSTNet's own choice."""
    config = read_config("leaderboard")
    change(config, steps_per_epoch=steps)
    settings = check(method_config(config, "cde", "ststnet"))
    assert settings.recipe.shared_batches is (steps is None)
    assert settings.recipe.steps_per_epoch == (steps or 0)


def test_a_leaderboard_of_short_epochs_trains_ststnet_too():
    """Batches that all folds share are of epochs that are whole passes over the clips."""
    config = read_config("leaderboard")
    assert method_config(config, "cde", "ststnet").recipe.shared_batches
    config.recipe.steps_per_epoch = 1
    assert not method_config(config, "cde", "ststnet").recipe.shared_batches


def test_fusion_at_full_size_from_the_command_line(data_dir, tmp_path):
    done = subprocess.run(
        [
            sys.executable, "-m", "atnet_jax.main", "--config=configs/cde.py",
            f"--config.data.dir={data_dir}", f"--config.data.flow={FLOW}",
            f"--workdir={tmp_path / 'run'}",
            "--config.recipe.num_epochs=1", "--config.recipe.steps_per_epoch=1", "--config.folds=2",
        ],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "| ATNet fusion | paper " in done.stdout
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    assert record["config"]["data"]["image_size"] == 224
    assert "configs/cde.py" in record["command"]


def test_an_unknown_model_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"config\.model is 'resnet', expected one of .*ststnet"):
        experiment.train_and_evaluate(read_config("cde:resnet"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
