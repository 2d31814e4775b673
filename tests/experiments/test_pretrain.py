"""Pre-training: its data, its results, and resuming.

Most tests train a network of one layer, in seconds; the command line trains the real one.
"""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import pytest

from atnet_jax import models
from atnet_jax.config import Config, default_config
from atnet_jax.data.macro_expressions import load_macro_pictures, split_by_subject
from atnet_jax.errors import UserError
from atnet_jax.evaluation import metrics
from atnet_jax.experiments import pretrain
from atnet_jax.models.layers.batch_norm import BatchNorm
from atnet_jax.models.layers.network import BaseNetwork
from atnet_jax.training import loop
from atnet_jax.training.batches import Batches
from atnet_jax.training.engine import Trainer, make_trainer
from atnet_jax.training.optimizer import learning_rate
from atnet_jax.training.sampling import epoch_batches
from atnet_jax.weights import folder as weights
from tests.data_builders.macro_sets import Picture, write_set
from tests.settings import change

REPOSITORY = Path(__file__).resolve().parents[2]
SETS = ("ck_plus", "jaffe")


class Stream(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, train: bool, weight: jax.Array | None) -> jax.Array:
        x = nn.Conv(4, (8, 8), strides=8, name="conv1")(x / 255)
        return nn.relu(BatchNorm(name="bn")(x, train, weight)).mean((1, 2))


class OneLayer(BaseNetwork):
    @nn.compact
    def __call__(
        self, inputs: Mapping[str, jax.Array], train: bool, weight: jax.Array | None = None
    ) -> jax.Array:
        return nn.Dense(3, name="classifier")(Stream(name="spatial")(inputs["apex"], train, weight))


@pytest.fixture(scope="module")
def trainer() -> Trainer:
    """Of one convolution, for all tests: it compiles in seconds, once."""
    config = settings(Path("data"))
    with pytest.MonkeyPatch.context() as patch:
        small = dataclasses.replace(models.find("spatial"), blueprint=OneLayer)
        patch.setattr(models, "find", lambda name: small)
        return make_trainer(config, {"apex": np.empty((0, 32, 32, 1), np.uint8)})


def use(patch: pytest.MonkeyPatch, trainer: Trainer) -> None:
    """Makes it the one that is pre-trained."""
    for module in (pretrain, loop):
        patch.setattr(module, "make_trainer", lambda *_: trainer)


@pytest.fixture
def one_layer(trainer, monkeypatch) -> Trainer:
    use(monkeypatch, trainer)
    return trainer


LABELS = np.random.default_rng(0).choice(3, 45, p=(0.6, 0.2, 0.2))


def write_data(root: Path, *, grey: int = 0) -> Path:
    """Two unbalanced sets with 5 and 4 subjects of 5 pictures, each with a different grey level."""
    rows = [
        Picture(f"S{k // 5}", int(label), np.full((32, 32), grey + k, np.uint8))
        for k, label in enumerate(LABELS)
    ]
    write_set(root, "ck_plus", rows[:25])
    write_set(root, "jaffe", rows[25:])
    return root


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    return write_data(tmp_path_factory.mktemp("prepared"))


def settings(data_dir: Path, model: str = "spatial", **changes: Any) -> Config:
    config = default_config(model)
    change(config, task="pretrain", datasets=SETS, dir=str(data_dir), image_size=32)
    change(config, num_epochs=4, steps_per_epoch=0, batch_size=8, checkpoint_every=1)
    change(config, **changes)
    return config


def result_digest(workdir: Path) -> str:
    return weights.digest(weights.load(workdir / "weights"))


def assert_same_result(workdir: Path, other: Path) -> None:
    assert result_digest(workdir) == result_digest(other)
    assert (workdir / "metrics.json").read_bytes() == (other / "metrics.json").read_bytes()


def spied(trainer: Trainer, spy: Callable[..., None]) -> Trainer:
    """A trainer that shows `spy` what each step and prediction is given, but the state."""

    def epoch(state: Any, inputs: Any, blocks: Any, rate: Any) -> Any:
        (block,) = blocks
        spy("epoch", inputs, block.indices[0], block.labels[0],
            None if block.weights is None else block.weights[0], rate)  # fmt: skip
        return trainer.epoch(state, inputs, blocks, rate)

    def predict(state: Any, *rest: Any) -> Any:
        spy("predict", *rest)
        return trainer.predict(state, *rest)

    return dataclasses.replace(trainer, epoch=epoch, predict=predict)


def scripted(trainer: Trainer, *right: int) -> tuple[Trainer, list[np.ndarray]]:
    """Return a trainer with scripted predictions, and the kernels that it has seen.

    `right` has the number of correct pictures, of the 10 for validation, in each epoch.
    """
    script = iter(right)
    kernels = []

    def predict(state: Any, inputs: Mapping[str, np.ndarray], _: np.ndarray) -> np.ndarray:
        kernels.append(np.array(state.params["spatial"]["conv1"]["kernel"][0]))
        return np.eye(3, dtype=np.float32)[said(inputs["apex"][:, 0, 0, 0], next(script))][None]

    return dataclasses.replace(trainer, predict=predict), kernels


def said(pictures: np.ndarray, right: int) -> np.ndarray:
    """Predict the true class of the first pictures, and the next class of the others."""
    return np.where(np.arange(len(pictures)) < right, LABELS[pictures], (LABELS[pictures] + 1) % 3)


def test_training_sees_the_training_pictures_with_their_labels_and_no_other(
    one_layer, monkeypatch, data_dir, tmp_path
):
    trained: list[tuple[int, int]] = []
    validated: list[int] = []

    def spy(call: str, inputs: Mapping[str, np.ndarray], positions: np.ndarray, *rest: Any) -> None:
        grey = inputs["apex"][:, 0, 0, 0]
        assert positions.tolist() == [list(range(len(grey)))]
        if call == "predict":
            validated.extend(grey.tolist())
            return
        labels, weight, _ = rest
        keep = slice(None) if weight is None else weight[0] > 0
        trained.extend(zip(grey[keep].tolist(), labels[0][keep].tolist(), strict=True))

    config = settings(data_dir, num_epochs=1)
    use(monkeypatch, spied(one_layer, spy))
    pretrain.pretrain(config, tmp_path / "run")

    pictures = load_macro_pictures(data_dir, SETS, image_size=32)
    train, validation = split_by_subject(pictures, config.validation_share, config.seeds[0])
    assert len(validation) == 10
    # A picture's number is its grey level.
    assert {picture for picture, _ in trained} == set(train.tolist())
    assert all(label == pictures.labels[picture] for picture, label in trained)
    largest = np.bincount(pictures.labels[train]).max()
    assert np.bincount([label for _, label in trained]).tolist() == [largest] * 3
    assert sorted(set(validated)) == validation.tolist()
    assert validated[:10] == validation.tolist()


@pytest.mark.parametrize("steps", [5, 0])
def test_the_training_is_that_of_the_later_folds(steps, one_layer, data_dir, tmp_path):
    config = settings(data_dir, steps_per_epoch=steps, num_epochs=3, decay_epochs=1)
    pretrain.pretrain(config, tmp_path / "run")
    streamed = json.loads((tmp_path / "run" / "metrics.json").read_text())["curves"]

    pictures = load_macro_pictures(data_dir, SETS, image_size=32)
    train, validation = split_by_subject(pictures, config.validation_share, config.seeds[0])
    inputs = {"apex": np.stack([pictures.read(k) for k in range(len(pictures.labels))])}
    zero = np.zeros(1, np.int32)
    state = one_layer.init(zero, zero)
    for epoch in range(config.recipe.num_epochs):
        batches = epoch_batches(
            pictures.labels[train], epoch=epoch, batch_size=8, steps=steps, balance=True, seed=0,
            fold=0,
        )  # fmt: skip
        sums = np.zeros(3)
        for positions in batches:
            clips = train[positions][None]
            rate = learning_rate(config, epoch)
            block = Batches(clips[None], pictures.labels[clips][None], None)
            state, step = one_layer.epoch(state, inputs, [block], rate)
            sums += [float(part[0]) for part in (step.loss, step.correct, step.count)]
        assert streamed["loss"][epoch] == pytest.approx(sums[0] / sums[2], rel=1e-5)
        assert streamed["accuracy"][epoch] == pytest.approx(sums[1] / sums[2])
    scores = np.asarray(one_layer.predict(state, inputs, validation[None]))[0]
    labels = pictures.labels[validation]
    confusion = metrics.confusion_matrix(labels, scores.argmax(-1))
    loss = -np.log(scores[np.arange(len(labels)), labels]).mean()
    assert streamed["validation_loss"][-1] == pytest.approx(loss, rel=1e-5)
    assert streamed["validation_uf1"][-1] == metrics.uf1(confusion)
    assert streamed["validation_uar"][-1] == metrics.scores(confusion)[2]


def test_the_weights_are_those_of_the_first_best_epoch(one_layer, monkeypatch, data_dir, tmp_path):
    right = (3, 8, 5, 8)
    trainer, kernels = scripted(one_layer, *right)
    use(monkeypatch, trainer)
    pretrain.pretrain(settings(data_dir), tmp_path / "run")
    result = json.loads((tmp_path / "run" / "metrics.json").read_text())
    pictures = load_macro_pictures(data_dir, SETS, image_size=32)
    _, validation = split_by_subject(pictures, 0.2, 0)
    confusions = [
        metrics.confusion_matrix(LABELS[validation], said(validation, count)) for count in right
    ]
    assert result["epoch"] == 2
    assert result["validation"]["accuracy"] == 0.8
    assert result["validation"]["confusion"] == confusions[1].tolist()
    assert result["curves"]["validation_uf1"] == [metrics.uf1(found) for found in confusions]
    kept = weights.load(tmp_path / "run" / "weights")
    kernel = kept.params["spatial"]["conv1"]["kernel"]
    assert [np.array_equal(kernel, other) for other in kernels] == [False, True, False, False]
    assert (kept.params.keys(), kept.batch_stats.keys()) == ({"spatial"}, {"spatial"})
    assert (kept.about["epoch"], kept.about["validation"]) == (2, result["validation"])


def test_without_validation_the_last_epoch_is_kept(one_layer, data_dir, tmp_path):
    workdir = tmp_path / "run"
    pretrain.pretrain(settings(data_dir, validation_share=0.0, num_epochs=2), workdir)
    result = json.loads((workdir / "metrics.json").read_text())
    assert (result["epoch"], result["validation"]) == (2, None)
    assert result["curves"].keys() == {"loss", "accuracy"}
    assert result["datasets"]["jaffe"]["training"] == {"pictures": 20, "subjects": 4}


@pytest.mark.parametrize(("steps_left", "epochs_saved"), [(3, 0), (17, 2), (24, 2)])
def test_broken_off_and_started_again_keeps_the_same_weights(
    steps_left, epochs_saved, one_layer, monkeypatch, data_dir, tmp_path
):
    # Epochs of 7 steps and one of validation; checkpoints after epochs 2 and 4; the first is best.
    right = (9, 2, 3, 4)
    config = settings(data_dir, checkpoint_every=2)
    use(monkeypatch, scripted(one_layer, *right)[0])
    pretrain.pretrain(config, tmp_path / "whole")
    assert json.loads((tmp_path / "whole" / "metrics.json").read_text())["epoch"] == 1

    def spy(*_: Any) -> None:
        nonlocal steps_left
        steps_left -= 1
        if steps_left < 0:
            raise KeyboardInterrupt

    use(monkeypatch, spied(scripted(one_layer, *right)[0], spy))
    with pytest.raises(KeyboardInterrupt):
        pretrain.pretrain(config, tmp_path / "broken")
    assert not (tmp_path / "broken" / "weights").exists()
    use(monkeypatch, scripted(one_layer, *right[epochs_saved:])[0])
    pretrain.pretrain(config, tmp_path / "broken")
    assert_same_result(tmp_path / "broken", tmp_path / "whole")


def test_a_finished_run_only_prints_its_result(one_layer, monkeypatch, data_dir, tmp_path, capsys):
    config = settings(data_dir, num_epochs=1)
    path = pretrain.pretrain(config, tmp_path / "run")
    told = capsys.readouterr().out
    assert path == tmp_path / "run" / "weights"
    assert "ck_plus: training on 20 pictures (subjects: 4), validation on 5 (subjects: 1)" in told
    assert f"--config=cde:fusion --config.init_from={path}" in told

    def spy(*_: Any) -> None:
        raise AssertionError("It computes.")

    use(monkeypatch, spied(one_layer, spy))
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "run").rglob("*")}
    pretrain.pretrain(config, tmp_path / "run")
    assert capsys.readouterr().out == told
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "run").rglob("*")} == before


def test_it_starts_from_given_weights(one_layer, data_dir, tmp_path, capsys):
    config = settings(data_dir, num_epochs=1)
    pretrain.pretrain(config, tmp_path / "first")
    config.init_from = str(tmp_path / "first" / "weights")
    pretrain.pretrain(config, tmp_path / "second")
    assert (
        f"initial weights from {config.init_from}; randomly initialised: classifier"
        in capsys.readouterr().out
    )
    first, second = (
        json.loads((tmp_path / run / "metrics.json").read_text()) for run in ("first", "second")
    )
    assert second["init_from"] == result_digest(tmp_path / "first")
    assert second["curves"]["loss"] != first["curves"]["loss"]
    config.init_from = ""
    with pytest.raises(UserError, match=r"holds another run.*init_from"):
        pretrain.pretrain(config, tmp_path / "second")


def test_another_run_or_other_data_in_the_workdir_are_refused(one_layer, data_dir, tmp_path):
    config = settings(data_dir, num_epochs=1)
    pretrain.pretrain(config, tmp_path / "run")
    with pytest.raises(UserError, match=r"holds another run.*validation_share: 0\.2 → 0\.4"):
        pretrain.pretrain(settings(data_dir, num_epochs=1, validation_share=0.4), tmp_path / "run")
    other = write_data(tmp_path / "other", grey=1)
    with pytest.raises(UserError, match=r"holds another run.*data\.sha256"):
        pretrain.pretrain(settings(other, num_epochs=1), tmp_path / "run")


def test_divergence_stops(one_layer, monkeypatch, data_dir, tmp_path):
    with pytest.raises(UserError, match="training loss is nan in epoch 1"):
        pretrain.pretrain(settings(data_dir, learning_rate=1e38), tmp_path / "training")
    scores = np.full((1, 16, 3), np.nan, np.float32)
    use(monkeypatch, dataclasses.replace(one_layer, predict=lambda *_: scores))
    with pytest.raises(UserError, match="score of a held-out clip is nan in epoch 1"):
        pretrain.pretrain(settings(data_dir), tmp_path / "validation")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "fusion"}, "fusion reads apex, adm"),
        ({"model": "ststnet"}, "ststnet reads flow_map"),
        ({"folds": "0:3"}, r"config\.folds is '0:3'"),
        ({"shuffle_labels": True}, r"config\.shuffle_labels is True"),
        ({"magnification": 5.0}, r"config\.recipe\.magnification is 5\.0"),
        ({"keep_networks": False}, r"config\.engine\.keep_networks is False, .* accepts only True"),
        ({"score_every": 2}, r"config\.score_every is 2"),
        ({"validation_share": 0.7}, r"config\.validation_share is 0\.7"),
        ({"datasets": ("mug",)}, "'mug' is not prepared"),
    ],
)
def test_unfit_methods_and_settings_are_rejected(changes, message, data_dir, tmp_path):
    with pytest.raises(UserError, match=message):
        pretrain.pretrain(settings(data_dir, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


# --- The command line, with the real network ---


@pytest.fixture(scope="module")
def finished(data_dir, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    done = subprocess.run(
        [
            sys.executable, "-m", "atnet_jax.main", "--config=configs/pretrain.py",
            f"--workdir={workdir}", f"--config.data.dir={data_dir}",
            f"--config.data.datasets={SETS}", "--config.data.image_size=32",
            "--config.recipe.num_epochs=2", "--config.recipe.batch_size=8",
        ],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"--config.init_from={workdir}/weights" in done.stdout
    assert "validation UF1" in done.stderr  # The progress bar.
    return workdir


def test_the_result_is_a_stream_for_every_later_model(finished):
    kept = weights.load(finished / "weights")
    assert kept.about["model"] == "spatial"
    apex = np.empty((0, 32, 32, 1), np.uint8)
    adm = np.empty((0, 64, 128), np.float32)
    for model, inputs, others in (
        ("spatial", {"apex": apex}, set()),
        ("fusion", {"apex": apex, "adm": adm}, {"temporal/lstm1", "temporal/lstm2"}),
    ):
        trainer = make_trainer(default_config(model), inputs)
        two = jax.ShapeDtypeStruct((2,), np.int32)
        fresh = jax.eval_shape(trainer.init, two, two)
        state, absent = weights.overlay(fresh, kept)
        assert set(absent) == others | {"classifier/Micro_expression"}
        kernel = np.asarray(state.params["spatial"]["conv1"]["kernel"])
        assert np.array_equal(kernel[1], kept.params["spatial"]["conv1"]["kernel"])
    assert np.any(kept.batch_stats["spatial"]["last_bn"]["weight_sum"] > 1)
