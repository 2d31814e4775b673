"""Several seeds, several processes and groups of folds give the same runs."""

import concurrent.futures
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import jax
import numpy as np
import pytest

from atnet_jax.config import default_config
from atnet_jax.data.folds import Fold, Unit, make_folds
from atnet_jax.errors import UserError
from atnet_jax.evaluation import predictions
from atnet_jax.experiments import run as experiment
from atnet_jax.experiments.merge import merge
from atnet_jax.system import cpus
from atnet_jax.training import group_size, processes
from atnet_jax.training.batches import BatchPlan
from atnet_jax.training.engine import make_trainer
from atnet_jax.training.group_size import even_size, explained, units_at_once
from benchmarks.task import random_composite
from tests.settings import change
from tests.tiny_runs import content, settings, start_main

SAME = ("predictions.csv", "metrics.json", "curves.json", "digests.json", "table.md")


def scores(workdir) -> np.ndarray:
    return np.array([row.scores for row in predictions.read(workdir / "predictions.csv")])


def test_seeds_train_together_as_they_do_alone(data_dir, tmp_path):
    config = settings(data_dir, seeds=(0, 3), folds="0:2", num_epochs=3, folds_per_batch=2)
    report = experiment.train_and_evaluate(config, tmp_path / "both")
    assert report == tmp_path / "both" / "report.html"
    assert "seeds 0, 3" in report.read_text()
    for seed in (0, 3):
        folder = tmp_path / "both" / f"seed_{seed}"
        assert json.loads((folder / "config.json").read_text())["config"]["seeds"] == [seed]
        assert {row.seed for row in predictions.read(folder / "predictions.csv")} == {seed}
        config.seeds = (seed,)
        experiment.train_and_evaluate(config, tmp_path / f"alone_{seed}")
        for name in SAME:
            alone = tmp_path / f"alone_{seed}" / name
            assert content(folder / name) == content(alone), name
    config.seeds = (0, 3)
    with pytest.raises(UserError, match="alone_0 holds a run of one seed"):
        experiment.train_and_evaluate(config, tmp_path / "alone_0")
    different = scores(tmp_path / "alone_0") - scores(tmp_path / "alone_3")
    assert np.abs(different).max() > 1e-3


def test_seeds_that_do_not_share_batches_are_one_group(data_dir, tmp_path):
    changes = {"shared_batches": False, "folds": "0", "num_epochs": 2}
    config = settings(data_dir, seeds=(1, 2), folds_per_batch=2, **changes)
    experiment.train_and_evaluate(config, tmp_path / "both")
    change(config, seeds=(2,), folds_per_batch=1)
    experiment.train_and_evaluate(config, tmp_path / "alone")
    np.testing.assert_allclose(
        scores(tmp_path / "both" / "seed_2"), scores(tmp_path / "alone"), atol=1e-4
    )


@pytest.mark.parametrize("seeds", [(), (1, 1)])
def test_seeds_must_be_different_ones(data_dir, tmp_path, seeds):
    with pytest.raises(UserError, match=r"config.seeds is"):
        experiment.train_and_evaluate(settings(data_dir, seeds=seeds), tmp_path / "run")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def test_two_processes_write_the_same_files_as_one(data_dir, tmp_path):
    """To the byte: groups have the same size, so the program is the same."""
    # First the one, which compiles for all.
    config = settings(data_dir, folds_per_batch=2, num_epochs=4)
    experiment.train_and_evaluate(config, tmp_path / "one")
    more = ("--config.engine.folds_per_batch=2", "--config.recipe.num_epochs=4")
    address = f"--coordinator_address=localhost:{free_port()}"
    running = [
        start_main(
            data_dir, tmp_path / "two", *more, address, "--num_processes=2", f"--process_id={k}",
            environment={"JAX_PLATFORMS": "cpu"},
        )
        for k in range(2)
    ]  # fmt: skip
    try:
        told = [process.communicate(timeout=300) for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0, 0], told
    assert "Report:" in told[0][0]
    assert "Report:" not in told[1][0]
    for name in SAME:
        assert content(tmp_path / "two" / name) == content(tmp_path / "one" / name)
    folds = sorted(path.name for path in (tmp_path / "two" / "checkpoints").iterdir())
    assert folds == [f"fold_{k:03d}" for k in range(6)]


def test_gathered_arrays_may_differ_in_length(monkeypatch):
    """Two threads in the place of two processes, the second with nothing but one short array."""
    shares = [{"a": np.arange(20_000.0), "b": np.eye(3, dtype=np.float32)}, {"c": np.ones(1)}]
    process, barrier = threading.local(), threading.Barrier(2, timeout=30)
    handed: list[np.ndarray] = [np.zeros(0)] * 2

    def allgather(array):
        handed[process.index] = array
        barrier.wait()
        rows = np.stack(handed)  # JAX also requires equal shapes.
        barrier.wait()
        return rows

    def gather(index):
        process.index = index
        return processes.gather(shares[index])

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(processes.multihost_utils, "process_allgather", allgather)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for gathered in pool.map(gather, range(2)):
            assert sorted(gathered) == ["a", "b", "c"]
            for name, array in (shares[0] | shares[1]).items():
                np.testing.assert_array_equal(gathered[name], array)
                assert gathered[name].dtype == array.dtype


def test_an_array_job_joins_to_the_same(data_dir, tmp_path):
    parts = []
    for k, folds in enumerate(("0:2", "2:4", "4:6")):
        config = settings(data_dir, folds=folds, num_epochs=2, folds_per_batch=2)
        experiment.train_and_evaluate(config, tmp_path / f"part_{k}")
        parts.append(tmp_path / f"part_{k}")
    merge(parts, tmp_path / "joined")
    config.folds = ""
    experiment.train_and_evaluate(config, tmp_path / "whole")
    for name in SAME:
        joined = content(tmp_path / "joined" / name)
        assert joined == content(tmp_path / "whole" / name), name


def test_the_size_of_groups_does_not_matter_within_rounding(data_dir, tmp_path):
    for size in (1, 4):
        config = settings(data_dir, folds_per_batch=size, num_epochs=3)
        experiment.train_and_evaluate(config, tmp_path / f"by_{size}")
    np.testing.assert_allclose(scores(tmp_path / "by_1"), scores(tmp_path / "by_4"), atol=1e-4)


def test_a_profile_of_one_epoch_is_written(data_dir, tmp_path):
    config = settings(data_dir, folds="0", num_epochs=2, profile=True)
    experiment.train_and_evaluate(config, tmp_path / "run")
    assert list((tmp_path / "run" / "profile").rglob("*.xplane.pb"))


def test_processes_are_named_together_or_not_at_all():
    with pytest.raises(UserError, match="--process_id together or not at all"):
        processes.connect("localhost:1", 2, None)
    processes.connect(None, None, None)
    assert processes.is_first()
    assert processes.own([1, 2, 3]) == [1, 2, 3]


@pytest.mark.parametrize(
    ("wanted", "units", "devices", "size"),
    [(1, 68, 1, 1), (16, 68, 1, 14), (16, 40, 1, 14), (100, 68, 1, 68), (100, 68, 8, 72),
     (8, 3, 8, 8), (20, 68, 4, 20)],
)  # fmt: skip
def test_groups_are_about_equally_full(wanted, units, devices, size):
    assert even_size(wanted, units, devices) == size


@pytest.mark.parametrize(("shared", "wanted", "size"), [(True, 0, 2), (True, 1, 1), (False, 9, 6)])
def test_a_group_has_no_more_units_than_can_share_it(shared, wanted, size):
    """Three seeds of two folds; only units of the same seed share batches."""
    maps = {"flow_map": np.zeros((6, 28, 28, 3), np.float32)}
    clips, none = np.arange(6), np.zeros(0, int)
    folds = [Fold(k, f"fold {k}", clips[clips % 2 != k], none, clips[k::2]) for k in range(2)]
    units = [Unit(seed, fold, np.zeros(6, np.int32)) for seed in range(3) for fold in folds]
    config = default_config("ststnet")
    change(config, shared_batches=shared, folds_per_batch=wanted)
    trainer = make_trainer(config, maps, jax.devices()[:1])
    assert units_at_once(config, trainer, maps, BatchPlan(config, units), units) == size


def test_a_group_fits_into_the_memory():
    maps = {"flow_map": np.zeros((6, 28, 28, 3), np.float32)}
    clips, none = np.arange(6), np.zeros(0, int)
    folds = [Fold(k, f"fold {k}", clips[clips != k], none, clips[k : k + 1]) for k in range(6)]
    units = [Unit(0, fold, np.zeros(6, np.int32)) for fold in folds]
    config = default_config("ststnet")
    trainer = make_trainer(config, maps, jax.devices()[:1])
    plan = BatchPlan(config, units)
    compiled = trainer.lower_epoch(maps, plan.blocks(units[:1], 0)).compile().memory_analysis()
    share = compiled.temp_size_in_bytes + compiled.output_size_in_bytes

    def size(shares: float) -> int:
        memory = int((shares * share + maps["flow_map"].nbytes) / 0.8)
        return units_at_once(config, trainer, maps, plan, units, memory)

    # Two groups of three are as many as groups of four and two.
    assert [size(shares) for shares in (0.5, 1.5, 2.5, 3.5, 4.5, 6.5)] == [1, 1, 2, 3, 3, 6]


def test_as_many_units_train_side_by_side_as_cpus_and_memory_allow(monkeypatch):
    maps = {"flow_map": np.zeros((6, 28, 28, 3), np.float32)}
    clips, none = np.arange(6), np.zeros(0, int)
    folds = [Fold(k, f"fold {k}", clips[clips != k], none, clips[k : k + 1]) for k in range(6)]
    units = [Unit(0, fold, np.zeros(6, np.int32)) for fold in folds]
    config = default_config("ststnet")
    change(config, shared_batches=False)
    trainer = make_trainer(config, maps, jax.devices()[:1])
    plan = BatchPlan(config, units)
    compiled = trainer.lower_epoch(maps, plan.blocks(units[:1], 0)).compile().memory_analysis()
    share = compiled.temp_size_in_bytes + compiled.output_size_in_bytes

    def size(processors: int, shares: float) -> int:
        monkeypatch.setattr(cpus, "count", lambda: processors)
        monkeypatch.setattr(group_size, "available", lambda: int(shares * share / 0.8))
        return units_at_once(config, trainer, maps, plan, units)

    assert [size(3, shares) for shares in (0.5, 1.5, 2.5, 3.5, 9)] == [1, 1, 2, 3, 3]
    assert [size(processors, 99) for processors in (1, 2, 4, 6, 64)] == [1, 2, 3, 6, 6]


def test_units_side_by_side_have_the_bits_of_a_unit_alone():
    """Two networks whose programs for one and for two devices differ in bits."""
    for model, size in (("fusion", 28), ("rcn", 28)):
        config = default_config(model)
        change(config, image_size=size, batch_size=6)
        if config.recipe.steps_per_epoch:
            config.recipe.steps_per_epoch = 2
        composite = random_composite(model, 68, size)
        units = [Unit(0, fold, composite.labels) for fold in make_folds("cde", composite)[:3]]
        plan = BatchPlan(config, units)
        trainer = make_trainer(config, composite.inputs, jax.devices()[:1])

        def trained(units, trainer=trainer, plan=plan, inputs=composite.inputs):
            keys = np.array([unit.key for unit in units], np.int32).T
            state, sums = trainer.epoch(trainer.init(*keys), inputs, plan.blocks(units, 0), 0.01)
            clips = np.stack([unit.fold.test[:1] for unit in units])
            scores = trainer.predict(state, inputs, clips)
            return jax.tree.leaves(jax.device_get((state, sums, scores)))

        together = trained(units)
        for number, unit in enumerate(units):
            for leaf, own in zip(together, trained([unit]), strict=True):
                np.testing.assert_array_equal(leaf[number], own[0])


def test_too_little_memory_is_explained():
    config = settings(Path(), batch_size=100)
    for number, folds, advice in (
        (3, "3 folds", r"engine\.folds_per_batch"),
        (1, "1 fold", r"recipe\.batch_size"),
    ):
        message = rf"for {folds} at once with batches of 100 clips\. Lower config\.{advice}"
        with pytest.raises(UserError, match=message), explained(config, number):
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory.")
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"), explained(config, 1):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")


def test_freed_memory_is_kept():
    """A large array is not mapped anew each time: without it, some 25,000 pages each."""
    code = """
import resource
from atnet_jax.system.memory import keep_freed_memory
keep_freed_memory()
import jax, jax.numpy as jnp
fn = jax.jit(jnp.sin)
x = jnp.ones((5000, 5000))
faults = []
for _ in range(8):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    fn(x).block_until_ready()
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(faults))
"""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 5000
