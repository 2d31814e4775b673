import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from atnet_jax import models
from atnet_jax.config import default_config
from atnet_jax.data import inputs
from atnet_jax.errors import UserError
from atnet_jax.evaluation import predictions
from atnet_jax.experiments import run as experiment
from atnet_jax.training.method_inputs import load_inputs
from tests.settings import change

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "guides" / "add_a_method.md"


@pytest.fixture
def add_method(tmp_path, monkeypatch):
    """Adds a file to the methods."""
    folder = tmp_path / "methods"
    folder.mkdir()
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(folder)])
    # Worker processes would not know the folder.
    monkeypatch.setattr(inputs, "map_in_order", map)
    names = []

    def add(name, code):
        (folder / f"{name}.py").write_text(code)
        names.append(f"atnet_jax.models.{name}")

    yield add
    for name in names:
        sys.modules.pop(name, None)
        vars(models).pop(name.rpartition(".")[2], None)


def example():
    return re.search(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)[1]


def settings(name, data_dir, **changes):
    config = default_config(name)
    change(config, dir=str(data_dir), datasets=("manifest",), **changes)
    return config


def test_the_example_of_the_guide_is_a_method(add_method, data_dir, tmp_path):
    """Its file is all there is to it: it trains, predicts and stands in the report by its title."""
    add_method("my_method", example())
    config = settings("my_method", data_dir, num_epochs=2, folds="0")
    report = experiment.train_and_evaluate(config, tmp_path / "run")
    assert "My method" in report.read_text()
    assert len(predictions.read(tmp_path / "run" / "predictions.csv")) == 6
    told = re.search(r"([0-9,]+) parameters", example())[1]
    method = models.find("my_method")
    assert method.size() == int(told.replace(",", ""))
    assert method.source == "Doe, Roe: My Method, FG 2030"


COUNTING = """
import dataclasses
import numpy as np
from sklearn.svm import SVC
from atnet_jax.errors import UserError
from atnet_jax.models.handcrafted.features import BaseFeatures

INPUTS = ("flow_map",)
TITLE = "Counting"

@dataclasses.dataclass(frozen=True)
class Features(BaseFeatures):
    power: int = 1

    def __call__(self, clip, flow):
        if self.power > 2:
            raise UserError("power is over 2")
        return np.float32(clip.flow_map.mean((1, 2))) ** self.power

    def machine(self):
        return SVC(kernel="linear", C=10.0, decision_function_shape="ovo")
"""


def test_computed_inputs_are_cached_until_something_changes(add_method, data_dir, monkeypatch):
    add_method("counting", COUNTING)
    config = settings("counting", data_dir)
    first = load_inputs(config)
    maps = load_inputs(settings("ststnet", data_dir)).inputs["flow_map"]
    np.testing.assert_allclose(first.inputs["features"], maps.mean((2, 3)), rtol=1e-5)
    compute, computed = inputs._compute_all, []

    def watched(reading, *args):
        computed.append(reading.origin["options"]["power"])
        return compute(reading, *args)

    monkeypatch.setattr(inputs, "_compute_all", watched)
    again = load_inputs(config)
    assert again.digest() == first.digest() and computed == []
    config.options.power = 2
    squared = load_inputs(config).inputs["features"]
    np.testing.assert_allclose(squared, first.inputs["features"] ** 2, rtol=1e-5)
    assert computed == [2]
    # The method's code is another.
    path = models.find("counting").file
    path.write_text(COUNTING.replace(".mean((1, 2))", ".max((1, 2))"))
    load_inputs(config)
    assert computed == [2, 2]


def watch(monkeypatch, stop_at=None):
    """Record the computed clips, and end the run at clip number `stop_at`."""
    compute, keys = inputs._compute, []

    def watched(job):
        keys.append(job.key)
        if len(keys) == stop_at:
            raise KeyboardInterrupt
        return compute(job)

    monkeypatch.setattr(inputs, "_compute", watched)
    return keys


def fresh(data_dir, tmp_path):
    """The same data, with nothing computed of them."""
    shutil.copytree(data_dir, tmp_path / "data", ignore=shutil.ignore_patterns("features"))
    return tmp_path / "data"


def test_an_interrupted_run_reuses_its_finished_clips(add_method, data_dir, tmp_path, monkeypatch):
    add_method("counting", COUNTING)
    whole = load_inputs(settings("counting", data_dir))
    config = settings("counting", fresh(data_dir, tmp_path))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        before = watch(patch, stop_at=11)
        load_inputs(config)
    (folder,) = (tmp_path / "data" / "features").iterdir()
    assert folder.suffix == ".partial"
    # It may also have been ended while it wrote all of them.
    (folder / "inputs").mkdir()
    (folder / "inputs" / "features.npy").write_bytes(b"half")
    damaged, *_ = sorted((folder / "clips").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:-1])
    after = watch(monkeypatch)
    assert load_inputs(config).digest() == whole.digest()
    assert len(before[:-1]) == 10 and len(after) == 36 - 9
    assert len({*before[:-1], *after}) == 36
    (folder,) = (tmp_path / "data" / "features").iterdir()
    assert [path.name for path in folder.iterdir()] == ["features.npy"]
    (folder / "features.npy").write_bytes(b"half")
    with pytest.raises(UserError, match=f"{folder}: damaged .* Delete this folder"):
        load_inputs(config)


def test_of_several_simultaneous_runs_one_computes(add_method, data_dir, tmp_path, monkeypatch):
    add_method("counting", COUNTING)
    config = settings("counting", fresh(data_dir, tmp_path))
    keys = watch(monkeypatch)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: load_inputs(config).digest(), range(3)))
    assert len(set(found)) == 1
    assert len(keys) == len(set(keys)) == 36
    assert len([*(tmp_path / "data" / "features").iterdir()]) == 1


def test_a_cache_that_cannot_be_written_is_an_error(add_method, data_dir, tmp_path):
    add_method("counting", COUNTING)
    config = settings("counting", fresh(data_dir, tmp_path))
    (tmp_path / "data" / "features").write_text("")
    with pytest.raises(UserError, match="the inputs of counting cannot be written"):
        load_inputs(config)


def test_a_method_has_its_own_machine(add_method, data_dir, tmp_path, monkeypatch):
    add_method("counting", COUNTING)
    seen = []
    fit_predict = experiment.svm.fit_predict

    def watched(train, labels, test, unfitted=None):
        seen.append(unfitted.C)
        return fit_predict(train, labels, test, unfitted)

    monkeypatch.setattr(experiment.svm, "fit_predict", watched)
    config = settings("counting", data_dir, folds="0:2")
    experiment.train_and_evaluate(config, tmp_path / "run")
    assert seen == [10.0, 10.0]
    assert len(predictions.read(tmp_path / "run" / "predictions.csv")) == 12


def test_clips_that_a_method_cannot_use_are_all_named(add_method, data_dir):
    add_method("counting", COUNTING)
    config = settings("counting", data_dir)
    config.options.power = 3
    with pytest.raises(UserError, match="counting: 36 clips cannot be used") as caught:
        load_inputs(config)
    assert "- casme2/s1/c0: power is over 2" in str(caught.value)


def test_an_input_that_was_not_prepared_is_refused(add_method, data_dir):
    add_method("counting", COUNTING.replace('("flow_map",)', '("colour",)'))
    with pytest.raises(UserError, match="casme2/s1/c0 in the data set manifest has no colour"):
        load_inputs(settings("counting", data_dir))


OWN_RULES = """
import flax.linen as nn
import jax.numpy as jnp
from atnet_jax.models.layers.network import BaseNetwork

INPUTS = ("flow_map",)

class Model(BaseNetwork):
    @nn.nowrap
    def augment(self, key, inputs, change_apex):
        return {"flow_map": jnp.full_like(inputs["flow_map"], 7.0)}

    @nn.nowrap
    def loss(self, outputs, labels):
        return outputs[:, 0] * 0 + 5.0

    @nn.compact
    def __call__(self, inputs, train, weight=None):
        mean = self.param("mean", nn.initializers.zeros, ())
        seen = self.variable("batch_stats", "seen", jnp.zeros, ())
        if train:
            seen.value = inputs["flow_map"].mean()
        return jnp.zeros((len(inputs["flow_map"]), 3)) + mean
"""


@pytest.mark.parametrize("probability", [0.5, 0.0])
def test_a_network_may_augment_and_judge_by_its_own_rules(
    add_method, data_dir, tmp_path, probability
):
    add_method("own_rules", OWN_RULES)
    config = settings("own_rules", data_dir, num_epochs=1, steps_per_epoch=1, folds="0")
    config.recipe.augment.probability = probability
    composite = load_inputs(config)
    from atnet_jax.training.batches import Batches
    from atnet_jax.training.engine import make_trainer

    trainer = make_trainer(config, composite.inputs)
    state = trainer.init(np.zeros(1, np.int32), np.zeros(1, np.int32))
    indices = np.arange(4, dtype=np.int32).reshape(1, 1, 4)
    block = Batches(indices, composite.labels[indices], None)
    state, metrics = trainer.epoch(state, trainer.replicate(dict(composite.inputs)), [block], 0.1)
    assert metrics.loss == pytest.approx(20.0)
    plain = composite.inputs["flow_map"][:4].mean()
    seen = float(state.batch_stats["seen"][0])
    assert seen == pytest.approx(7.0 if probability else plain, rel=1e-4)
