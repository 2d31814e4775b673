"""The benchmark of the engine: its counts, its report, and the equality of the twin."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from atnet_jax import models
from atnet_jax.config import default_config
from atnet_jax.data.folds import make_folds
from atnet_jax.errors import UserError
from benchmarks import flops, task
from benchmarks.worker import REPOSITORY, Worker, WorkerFailed
from tests.settings import change

CLIPS = 80


def test_operations_by_hand():
    layers = {layer.name: layer for layer in flops.layers("fusion")}
    # 112×112 outputs of 64 channels, each a sum of 7×7 products: as many multiplications as sums.
    assert layers["conv1"].forward == 112 * 112 * 64 * 49 * 2
    # Pooling rounds up, to 56×56; then three times halved.
    assert layers["layer_64_1_conv1"].forward == 56 * 56 * 64 * 9 * 64 * 2
    assert layers["layer_512_1_conv2"].forward == 7 * 7 * 512 * 9 * 512 * 2
    # 64 steps, four gates of 512.
    assert layers["lstm2 recurrent"].forward == 64 * 512 * 4 * 512 * 2
    assert layers["classifier"].forward == 1024 * 3 * 2
    # The picture's normalisation learns, so its gradient is needed; the ADM features' is not.
    assert layers["conv1"].training == 3 * layers["conv1"].forward
    assert layers["lstm1 input"].training == 2 * layers["lstm1 input"].forward
    assert flops.per_sample("fusion") == sum(layer.training for layer in layers.values())


@pytest.mark.parametrize(
    ("model", "inputs", "size"),
    [
        ("spatial", {}, {}),
        # JAX's analysis counts a loop's body once, whatever the number of its rounds.
        ("temporal", {"adm": (1, 128)}, {"time_steps": 1}),
        ("rcn", {}, {}),
        ("sssnet", {}, {}),
        ("dual_inception", {}, {}),
        ("off_apexnet", {}, {}),
        ("htnet", {}, {}),
    ],
)
def test_operations_as_jax_counts_them(model, inputs, size):
    clips = 4
    network = models.find(model).build_network()
    shapes = network.input_shapes(224) | inputs
    batch = {name: jnp.zeros((clips, *shape)) for name, shape in shapes.items()}
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    variables = dict(jax.eval_shape(lambda: network.init(keys, batch, train=True)))
    params = variables.pop("params")

    def loss(params, rest, batch):
        logits, _ = network.apply(
            {"params": params, **rest},
            batch,
            train=True,
            rngs={"dropout": keys["dropout"]},
            mutable=["batch_stats"],
        )
        return jax.nn.log_softmax(logits)[:, 0].mean()

    counted = jax.jit(jax.grad(loss)).lower(params, variables, batch).cost_analysis()
    assert 0.97 < counted["flops"] / clips / flops.per_sample(model, **size) < 1.05


def test_operations_of_ststnet_as_jax_counts_them():
    """Only its layers: in so small a network, uncounted operations would matter."""
    clips = 4

    def loss(kernel, classifier, padded):
        maps = jax.lax.conv_general_dilated(
            padded, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        assert maps.shape == (clips, 30, 30, 16)
        return (maps[:, :5, :5].reshape(clips, 400) @ classifier).sum()

    arrays = jnp.zeros((3, 3, 3, 16)), jnp.zeros((400, 3)), jnp.zeros((clips, 32, 32, 3))
    counted = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(*arrays).cost_analysis()
    assert 0.97 < counted["flops"] / clips / flops.per_sample("ststnet") < 1.05


def test_unknown_model_has_no_count():
    with pytest.raises(UserError, match="'micro_attention'"):
        flops.per_sample("micro_attention")


def test_random_clips_are_shaped_like_the_composite():
    composite = task.random_composite("fusion", task.CLIPS, 32)
    assert task.CLIPS == len(composite.labels) == 442
    assert composite.inputs["apex"].shape == (442, 32, 32, 1)
    assert composite.inputs["apex"].dtype == np.uint8
    assert composite.inputs["adm"].shape == (442, 64, 128)
    subjects = set(zip(composite.dataset, composite.subject, strict=True))
    counts = [sum(name == d for d, _ in subjects) for name in ("casme2", "samm", "smic")]
    assert counts == [24, 28, 16]
    assert len(make_folds("cde", composite)) == 68
    with pytest.raises(UserError, match="68 subjects"):
        task.random_composite("fusion", 67, 32)


def write_task(folder: Path, model: str, image_size: int = 32) -> None:
    config = default_config(model)
    change(config, image_size=image_size, num_epochs=1, seeds=(0, 1))
    config.recipe.steps_per_epoch = min(2, config.recipe.steps_per_epoch)
    composite = task.random_composite(model, CLIPS, image_size)
    task.save(folder, config, composite, make_folds("cde", composite)[:3])


def test_a_task_is_read_as_it_was_written(tmp_path):
    write_task(tmp_path, "fusion")
    config, composite, folds = task.load(tmp_path)
    expected = task.random_composite("fusion", CLIPS, 32)
    assert composite.digest() == expected.digest()
    assert (config.data.image_size, config.recipe.steps_per_epoch, config.seeds) == (32, 2, (0, 1))
    with np.load(tmp_path / "clips.npz", allow_pickle=False) as arrays:
        parts = np.split(arrays["train"], arrays["train_ends"][:-1])
    for fold, part, same in zip(folds, parts, make_folds("cde", expected)[:3], strict=True):
        assert np.array_equal(fold.train, part)
        assert np.array_equal(fold.train, same.train)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.engine", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


def report_of(tmp_path: Path, *arguments: str) -> dict:
    out = tmp_path / "report.json"
    ended = run(*arguments, f"--out={out}")
    assert ended.returncode == 0, ended.stderr
    *earlier, report = json.loads(out.read_text())
    assert not earlier
    return report


def check_side(row: dict, side: str, cost: int, fold_epochs: int) -> None:
    found = row[side]
    assert len(found["seconds"]) == 3
    assert found["median_seconds"] == sorted(found["seconds"])[1]
    rate = row["samples"] / found["median_seconds"]
    assert found["samples_per_second"] == pytest.approx(rate)
    assert found["flops_per_second"] == pytest.approx(rate * cost)
    assert 0 < found["fraction_of_peak"] < 1
    each = found["median_seconds"] * 1000 / fold_epochs
    assert found["milliseconds_per_fold_epoch"] == pytest.approx(each)
    whole = row["whole"]["samples"] / rate + found["start_up_seconds"]
    assert found["whole_seconds_extrapolated"] == pytest.approx(whole)
    assert 2**20 < found["peak_memory_bytes"] < 2**36
    assert 0 < found["loss"] < 10


def test_command_without_a_twin_reports_growth(tmp_path):
    report = report_of(
        tmp_path, "--model=ststnet", f"--clips={CLIPS}", "--epochs=1", "--seeds=2", "--grow=folds",
        "--folds=2", "--no_twin",
    )  # fmt: skip
    assert report["agreement"] is None and report["torch"] is None
    assert report["unit"] == "epoch"
    assert report["flops_per_sample"] == flops.per_sample("ststnet")
    assert report["device"]["matmul_flops_per_second"]["float32"] > 1e8
    assert [row["folds"] for row in report["rows"]] == [1, 2]
    folds = make_folds("cde", task.random_composite("ststnet", CLIPS, 28))
    for row in report["rows"]:
        assert row["clips"] == CLIPS
        assert row["samples"] == 2 * sum(len(fold.train) for fold in folds[: row["folds"]])
        assert row["whole"]["samples"] == 2 * 800 * sum(len(fold.train) for fold in folds)
        check_side(row, "ours", report["flops_per_sample"], 2 * row["folds"])
        assert row["twin"] is None and row["ratio"] is None


def test_several_methods_have_a_report_and_a_line_each(tmp_path):
    out = tmp_path / "reports.json"
    methods = ["off_apexnet", "ststnet"]
    ended = run(
        *(f"--model={name}" for name in methods), f"--clips={CLIPS}", "--epochs=1", "--folds=1",
        "--no_twin", f"--out={out}",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    reports = json.loads(out.read_text())
    assert [report["model"] for report in reports] == methods
    for line, report in zip(ended.stdout.splitlines()[-2:], reports, strict=True):
        shown = report["rows"][0]["ours"]["milliseconds_per_fold_epoch"]
        assert line.split()[:3] == [report["model"], "1", f"{shown:,.1f}"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model=ststnet", "--steps=5"], "Pass --epochs, not --steps"),
        (["--steps=70"], "--steps is 70, expected at most 50 or a multiple of 50"),
        (
            ["--image_size=32", "--folds=69"],
            "--folds is 69, expected at most 68: the data have 68 subjects",
        ),
        (["--model=ststnet", "--maps=absent.npz"], "absent.npz"),
    ],
)
def test_flags_that_do_not_fit_are_refused(arguments, message):
    ended = run(*arguments, "--no_twin")
    assert ended.returncode == 1
    assert message in ended.stderr and "Traceback" not in ended.stderr


def test_a_worker_that_dies_is_reported(tmp_path):
    with (
        pytest.raises(WorkerFailed, match="status 1"),
        Worker(sys.executable, "benchmarks.ours", ["train", str(tmp_path)], {}) as worker,
    ):
        worker.ask()


@pytest.fixture(scope="module")
def torch_python() -> str:
    python = os.environ.get("TORCH_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode:
        pytest.skip(f"{python} has no PyTorch; TORCH_PYTHON can name an interpreter that has it")
    return python


@pytest.mark.parametrize("model", flops.MODELS)
def test_twin_gives_our_outputs_and_gradients(tmp_path, torch_python, model):
    write_task(tmp_path, model, 64)
    with Worker(sys.executable, "benchmarks.ours", ["check", str(tmp_path)], {}) as ours:
        ours.ask()

    def errors() -> dict[str, float]:
        arguments = ["check", str(tmp_path), "cpu"]
        with Worker(torch_python, "benchmarks.torch_twin", arguments, {}) as twin:
            found = twin.ask()
        assert found["unknown"] == []
        return found["errors"]

    found = errors()
    assert set(found) >= {"logits", "gradients"}
    assert ("rotation" in found) == (model in ("fusion", "spatial"))
    assert found["logits"] < 1e-5 and found.get("rotation", 0) < 1e-5 and found["gradients"] < 0.02

    # An error must show: one gate's bias, or one stream's filters, of another network.
    path = tmp_path / "check.npz"
    with np.load(path, allow_pickle=False) as arrays:
        changed = {name: arrays[name] for name in arrays.files}
    name = next(name for name in changed if name.startswith("params/") and name.endswith("bias"))
    changed[name] = changed[name] + 0.1 * np.arange(changed[name].size, dtype=np.float32)
    np.savez(path, **changed)
    assert max(errors()["logits"], errors()["gradients"]) > 0.02


def test_command_with_a_twin(tmp_path, torch_python):
    report = report_of(
        tmp_path, "--model=ststnet", f"--clips={CLIPS}", "--epochs=2", "--folds=2",
        f"--torch_python={torch_python}",
    )  # fmt: skip
    assert set(report["agreement"]["errors"]) == {"logits", "gradients"}
    assert {"threads", "channels_last", "compile"} <= set(report["torch"]["tried"][0]["settings"])
    times = [one["milliseconds"] for one in report["torch"]["tried"]]
    assert times == sorted(times) and len(times) > 1
    (row,) = report["rows"]
    for side in ("ours", "twin"):
        check_side(row, side, report["flops_per_sample"], 2 * 2)
    ratios = [
        theirs / ours
        for ours, theirs in zip(row["ours"]["seconds"], row["twin"]["seconds"], strict=True)
    ]
    assert row["ratio"] == pytest.approx(
        {"median": sorted(ratios)[1], "min": min(ratios), "max": max(ratios)}
    )


def test_an_interpreter_without_pytorch_is_reported(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'no module named torch' >&2\nexit 1\n")
    python.chmod(0o755)
    ended = run("--model=ststnet", "--folds=1", "--epochs=1", f"--torch_python={python}")
    assert ended.returncode == 1
    assert "--torch_python" in ended.stderr and "Traceback" not in ended.stderr
