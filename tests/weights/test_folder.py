import os
import shutil
import subprocess
import sys
from operator import itemgetter

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from atnet_jax.errors import UserError
from atnet_jax.training.engine import TrainState
from atnet_jax.weights import folder as weights
from atnet_jax.weights.folder import Weights


def some_weights() -> Weights:
    rng = np.random.default_rng(0)

    def array(*shape):
        return rng.normal(size=shape).astype(np.float32)

    return Weights(
        params={
            "spatial": {
                "conv1": {"kernel": array(7, 7, 1, 4), "bias": array(4)},
                "conv1_bn": {"scale": array(4), "bias": array(4)},
            }
        },
        batch_stats={
            "spatial": {
                "conv1_bn": {
                    "mean_sum": array(4),
                    "variance_sum": array(4) ** 2,
                    "weight_sum": np.float32(3),
                }
            }
        },
        about={"source": "a.caffemodel", "model": "spatial"},
    )


def some_state(folds: int = 3) -> TrainState:
    """Layers of `some_weights` and others, all different from fold to fold."""
    rng = np.random.default_rng(1)

    def array(*shape):
        return jnp.asarray(rng.normal(size=(folds, *shape)).astype(np.float32))

    params = {
        "spatial": {
            "conv1": {"kernel": array(7, 7, 1, 4), "bias": array(4)},
            "conv1_bn": {"scale": array(4), "bias": array(4)},
            "conv2": {"kernel": array(3, 3, 4, 4)},
        },
        "classifier": {"Micro_expression": {"kernel": array(4, 3), "bias": array(3)}},
    }
    statistics = {"mean_sum": array(4), "variance_sum": array(4), "weight_sum": array()}
    return TrainState(
        step=jnp.arange(folds),
        params=params,
        batch_stats={"spatial": {"conv1_bn": statistics}},
        opt_state=optax.trace(0.9).init(params),
        key=jnp.arange(2 * folds, dtype=jnp.uint32).reshape(folds, 2),
    )


def assert_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        assert np.array_equal(x, y)


def test_saved_weights_are_loaded(tmp_path):
    saved = some_weights()
    weights.save(tmp_path / "new" / "w", saved)
    loaded = weights.load(tmp_path / "new" / "w")
    assert_equal((loaded.params, loaded.batch_stats), (saved.params, saved.batch_stats))
    assert loaded.about == saved.about
    assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(loaded.params))
    assert weights.digest(loaded) == weights.digest(saved)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["w"]


def test_arrays_of_another_machine_are_loaded_as_host_arrays(tmp_path):
    """Written from arrays spread over two devices, read where there is one."""
    code = f"""
import jax, numpy as np
from pathlib import Path
from jax.sharding import NamedSharding, PartitionSpec
from atnet_jax.weights import folder as weights
mesh = jax.make_mesh((2,), ("x",))
array = jax.device_put(np.arange(8.0, dtype=np.float32), NamedSharding(mesh, PartitionSpec("x")))
assert len(array.devices()) == 2
weights.save(Path({str(tmp_path / "w")!r}), weights.Weights({{"a": {{"b": array}}}}, {{}}, {{}}))
"""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "2"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    array = weights.load(tmp_path / "w").params["a"]["b"]
    assert type(array) is np.ndarray
    assert np.array_equal(array, np.arange(8.0))


def test_an_empty_folder_is_filled_and_nothing_is_overwritten(tmp_path):
    folder = tmp_path / "w"
    folder.mkdir()
    weights.save(folder, some_weights())
    before = weights.digest(weights.load(folder))
    other = Weights({"a": {"b": np.zeros(2)}}, {}, {})
    with pytest.raises(UserError, match=r"w already exists. Choose a new --out"):
        weights.save(folder, other)
    assert weights.digest(weights.load(folder)) == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="already exists"):
        weights.save(tmp_path / "file", other)
    with pytest.raises(UserError, match="cannot be written"):
        weights.save(tmp_path / "file" / "w", other)
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "w"]


def test_a_failed_save_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(weights.files, "write_json_atomically", fail)
        with pytest.raises(UserError, match="cannot be written \\(no space left\\)"):
            weights.save(tmp_path / "w", some_weights())
    with pytest.raises(TypeError, match="not JSON serializable"):
        weights.save(tmp_path / "w", Weights({}, {}, {"model": object()}))
    assert not any(tmp_path.iterdir())


def test_other_folders_are_rejected_as_weights(tmp_path):
    with pytest.raises(UserError, match=r"none: No such folder of weights"):
        weights.load(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file: No such folder of weights"):
        weights.load(tmp_path / "file")
    with pytest.raises(UserError, match=r"contains no about.json. Give a folder that pre-training"):
        weights.load(tmp_path)
    weights.save(tmp_path / "weights", some_weights())
    with pytest.raises(UserError, match=r"Did you mean .*/weights\?"):
        weights.load(tmp_path)


def test_damage_is_refused(tmp_path):
    """Every file of the folder deleted, cut, or with one byte changed."""
    good = tmp_path / "good"
    weights.save(good, some_weights())
    bad = tmp_path / "bad"
    paths = [path for path in good.rglob("*") if path.is_file()]
    assert len(paths) > 5
    for path in paths:
        data = path.read_bytes()
        middle = len(data) // 2
        for damaged in (
            None,
            data[:middle],
            data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :],
        ):
            shutil.rmtree(bad, ignore_errors=True)
            shutil.copytree(good, bad)
            target = bad / path.relative_to(good)
            target.unlink()
            if damaged is not None:
                target.write_bytes(damaged)
            with pytest.raises(UserError) as caught:
                weights.load(bad)
            assert str(bad) in str(caught.value)
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize("record", ["[]", "3", '{"about": 3, "sha256": ""}', "{}", "[" * 10**6])
def test_foreign_json_is_refused(tmp_path, record):
    (tmp_path / "about.json").write_text(record)
    with pytest.raises(UserError, match="cannot be read"):
        weights.load(tmp_path)


def test_digest_depends_on_names_shapes_types_and_contents():
    def digest(**arrays):
        return weights.digest(Weights({"layer": arrays}, {}, {}))

    x = np.arange(6, dtype=np.float32)
    digests = [
        digest(a=x),
        digest(b=x),
        digest(a=x.reshape(2, 3)),
        digest(a=x.view(np.int32)),
        digest(a=x + 1),
        digest(a=x, b=x),
        weights.digest(Weights({}, {"layer": {"a": x}}, {})),
    ]
    assert len(set(digests)) == len(digests)
    assert digest(a=x, b=x + 1) == digest(b=x + 1, a=jnp.asarray(x))


def test_overlay_gives_every_fold_the_weights_and_touches_nothing_else():
    state, given = some_state(), some_weights()
    before = jax.device_get(state)
    after, absent = weights.overlay(state, given)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    for fold in range(3):
        for name in ("conv1", "conv1_bn"):
            layer = jax.tree.map(itemgetter(fold), after.params["spatial"][name])
            assert_equal(layer, given.params["spatial"][name])
        statistics = jax.tree.map(itemgetter(fold), after.batch_stats)
        assert_equal(statistics, given.batch_stats)
    assert absent == ["classifier/Micro_expression", "spatial/conv2"]
    for name in ("step", "opt_state", "key"):
        assert_equal(getattr(after, name), getattr(before, name))
    assert_equal(after.params["spatial"]["conv2"], before.params["spatial"]["conv2"])
    assert_equal(after.params["classifier"], before.params["classifier"])
    assert_equal(state, before)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(after))


def test_overlay_names_missing_parameters_and_keeps_types():
    given = some_weights()
    conv1 = {"bias": given.params["spatial"]["conv1"]["bias"].astype(np.float16)}
    state, absent = weights.overlay(some_state(), Weights({"spatial": {"conv1": conv1}}, {}, {}))
    assert state.params["spatial"]["conv1"]["bias"].dtype == jnp.float32
    assert absent == [
        "classifier/Micro_expression",
        "spatial/conv1/kernel",
        "spatial/conv1_bn",
        "spatial/conv2",
    ]


def test_training_that_donates_its_state_leaves_the_weights():
    given = some_weights()
    digest = weights.digest(given)
    state, _ = weights.overlay(some_state(folds=1), given)
    step = jax.jit(lambda state: jax.tree.map(lambda leaf: leaf + 1, state), donate_argnums=0)
    step(state)
    assert weights.digest(given) == digest


def test_weights_that_do_not_fit_are_refused():
    given = some_weights()
    state = some_state()
    spatial = state.params["spatial"]
    without = state.replace(params={"spatial": {"conv1": spatial["conv1"]}})
    with pytest.raises(UserError, match=r"network has no spatial/conv1_bn/scale.*model 'spatial'"):
        weights.overlay(without, given)
    without = state.replace(batch_stats={})
    with pytest.raises(UserError, match=r"network has no spatial/conv1_bn/mean_sum"):
        weights.overlay(without, given)
    given.params["spatial"]["conv1"]["kernel"] = np.zeros((7, 7, 3, 4), np.float32)
    with pytest.raises(
        UserError,
        match=r"conv1/kernel has the shape \(7, 7, 3, 4\) in the weights, but \(7, 7, 1, 4\) in",
    ):
        weights.overlay(state, given)
