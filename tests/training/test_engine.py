"""The trainer's invariants, on STSTNet: small enough to train in a test."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from atnet_jax.config import default_config
from atnet_jax.training.batches import Batches
from atnet_jax.training.engine import make_trainer
from atnet_jax.training.optimizer import learning_rate, make_optimizer
from tests.settings import change

REPOSITORY = Path(__file__).resolve().parents[2]
CLIPS, BATCH = 12, 4


@pytest.fixture(scope="module")
def inputs() -> dict[str, np.ndarray]:
    maps = np.random.default_rng(0).normal(size=(CLIPS, 28, 28, 3))
    return {"flow_map": maps.astype(np.float32)}


def own_batches():
    config = default_config("ststnet")
    config.recipe.shared_batches = False
    return config


@pytest.fixture(scope="module")
def trainer(inputs):
    return make_trainer(own_batches(), inputs)


def batch(folds: list[int], step: int) -> Batches:
    """Clips and labels that depend on the fold's number alone."""
    rngs = [np.random.default_rng([fold, step]) for fold in folds]
    indices = np.stack([rng.integers(0, CLIPS, BATCH, dtype=np.int32) for rng in rngs])
    return Batches(indices[None], indices[None] % 3, None)


def begin(trainer, folds: list[int], seed: int = 0):
    return trainer.init(np.full(len(folds), seed, np.int32), np.array(folds, np.int32))


def run(trainer, inputs, folds: list[int], steps: int = 3):
    state = begin(trainer, folds)
    for step in range(steps):
        state, metrics = trainer.epoch(state, inputs, [batch(folds, step)], 1e-3)
    return state, metrics


def leaves(tree) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def test_a_fold_alone_is_the_same_fold_among_others(trainer, inputs):
    together, _ = run(trainer, inputs, [4, 0])
    for place, fold in enumerate([4, 0]):
        alone, _ = run(trainer, inputs, [fold])
        for many, one in zip(leaves(together), leaves(alone), strict=True):
            np.testing.assert_allclose(many[place], one[0], rtol=2e-4, atol=1e-6)


def test_an_epoch_in_one_call_is_its_steps_one_by_one(trainer, inputs):
    """Blocks of several steps and of another width, with and without weights."""
    folds = [2]
    steps = [batch(folds, step) for step in range(3)]
    narrow = Batches(steps[0].indices[..., :3], steps[0].labels[..., :3],
                     np.float32([[[1, 0, 1]]]))  # fmt: skip
    whole = [jax.tree.map(lambda *parts: np.concatenate(parts), *steps), narrow]
    at_once, sums = trainer.epoch(begin(trainer, folds), inputs, whole, 1e-3)
    state, counts, losses = begin(trainer, folds), np.zeros(1), np.zeros(1)
    _, first = trainer.epoch(begin(trainer, folds), inputs, steps[:1], 1e-3)
    np.testing.assert_allclose(sums.first_loss, first.loss / first.count, rtol=1e-5)
    for block in (*steps, narrow):
        state, metrics = trainer.epoch(state, inputs, [block], 1e-3)
        counts += np.asarray(metrics.count)
        losses += np.asarray(metrics.loss)
    for a, b in zip(leaves(at_once), leaves(state), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    assert counts.tolist() == [14]
    np.testing.assert_allclose(sums.count, counts)
    np.testing.assert_allclose(sums.loss, losses, rtol=1e-5)


def test_shared_batches_are_the_same_training_as_own_ones(inputs):
    """Two folds see one stretch of clips; each gives weight to its own."""
    shared = make_trainer(default_config("ststnet"), inputs)
    clips = np.arange(6, dtype=np.int32)
    weights = np.float32([[1, 1, 0, 1, 1, 0], [0, 1, 1, 0, 1, 1]])
    kept = np.stack([clips[row > 0] for row in weights])
    own = make_trainer(own_batches(), inputs)
    # Dropout draws for a place in the batch, which differs: at rate 0 only the statistics, which
    # lie before it, tell what was seen.
    one, sums = shared.epoch(
        begin(shared, [0, 1]), inputs,
        [Batches(clips[None], np.stack([clips % 3] * 2)[None], weights[None])], 0.0,
    )  # fmt: skip
    two, _ = own.epoch(begin(own, [0, 1]), inputs, [Batches(kept[None], kept[None] % 3, None)], 0.0)
    assert sums.count.tolist() == [4, 4]
    for a, b in zip(leaves(one.batch_stats), leaves(two.batch_stats), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    for a, b in zip(leaves(one.params), leaves(two.params), strict=True):
        assert np.array_equal(a, b)


def test_excluded_clips_have_no_influence(inputs):
    """Neither the clip nor its label, though other folds train on it in the same batch."""
    trainer = make_trainer(default_config("ststnet"), inputs)
    other = {"flow_map": inputs["flow_map"].copy()}
    other["flow_map"][5] = 1e4 * np.arange(28 * 28 * 3).reshape(28, 28, 3) ** 2
    indices = np.tile(np.arange(8, dtype=np.int32), (2, 1))  # Of two steps.
    labels = np.zeros((2, 2, 8), np.int32)
    weights = np.ones((2, 2, 8), np.float32)
    weights[:, 0, 5] = 0
    ends = []
    for maps, label in ((inputs, 0), (other, 2)):
        labels[:, 0, 5] = label
        state, _ = trainer.epoch(
            begin(trainer, [0, 1]), maps, [Batches(indices, labels.copy(), weights)], 1e-3
        )
        ends.append(leaves((state.params, state.batch_stats)))
    for before, after in zip(*ends, strict=True):
        assert np.array_equal(before[0], after[0])
    assert any(not np.array_equal(before[1], after[1]) for before, after in zip(*ends, strict=True))


def test_devices_share_the_units():
    """Two devices give what one gives, to the bit, and each holds its own units alone."""
    code = f"""
import sys
sys.path.insert(0, {str(REPOSITORY)!r})
import jax, numpy as np
from tests.training.test_engine import begin, batch, leaves, own_batches
from atnet_jax.training.engine import make_trainer
maps = np.random.default_rng(0).normal(size=(12, 28, 28, 3)).astype(np.float32)
for shared in (False, True):
    config = own_batches()
    config.recipe.shared_batches = shared
    ends = []
    for devices in (jax.devices(), jax.devices()[:1]):
        trainer = make_trainer(config, {{"flow_map": maps}}, devices)
        inputs = trainer.replicate({{"flow_map": maps}})
        folds = list(range(4 if shared else 2))
        block = batch(folds, 0)
        if shared:
            block = block.replace(indices=block.indices[:, 0])
        state = begin(trainer, folds)
        two_steps = jax.tree.map(lambda part: np.repeat(part, 2, axis=0), block)
        state, _ = trainer.epoch(state, inputs, [two_steps], 1e-3)
        leaf = state.params["streams"]["kernel"]
        if len(devices) > 1:
            assert len(leaf.sharding.device_set) == len(devices)
            assert leaf.addressable_shards[0].data.shape[0] == len(folds) // len(devices)
        scores = trainer.predict(state, inputs, np.zeros((len(folds), 3), np.int32))
        ends.append([*leaves(state), np.asarray(scores)])
    exact = all(np.array_equal(a, b) for a, b in zip(*ends))
    assert exact or shared, "own batches"
    for a, b in zip(*ends):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6)
"""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "2"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_folds_and_seeds_start_apart(trainer):
    kernel = begin(trainer, [0, 1]).params["streams"]["kernel"]
    assert not np.allclose(kernel[0], kernel[1])
    again = begin(trainer, [0], seed=1).params["streams"]["kernel"]
    assert not np.allclose(kernel[0], again[0])


def test_same_start_same_bits(trainer, inputs):
    first, _ = run(trainer, inputs, [3])
    second, _ = run(trainer, inputs, [3])
    for a, b in zip(leaves(first), leaves(second), strict=True):
        assert np.array_equal(a, b)


def test_training_learns(trainer, inputs):
    state = begin(trainer, [0])
    indices = np.tile(np.arange(CLIPS, dtype=np.int32), (25, 1, 1))
    losses = []
    for _ in range(6):
        state, metrics = trainer.epoch(state, inputs, [Batches(indices, indices % 3, None)], 3e-3)
        losses.append(float(metrics.loss[0] / metrics.count[0]))
    assert losses[-1] < 0.6 * losses[0]


def test_a_fold_without_clips_left_keeps_its_state(trainer, inputs):
    block = batch([0, 1], 0).replace(weights=np.float32([[[1, 1, 0, 0], [0, 0, 0, 0]]]))
    before = jax.device_get(begin(trainer, [0, 1]))
    after, metrics = trainer.epoch(begin(trainer, [0, 1]), inputs, [block], 1e-3)
    assert metrics.count.tolist() == [2, 0]
    for a, b in zip(leaves(before), leaves(after), strict=True):
        assert np.array_equal(a[1], b[1])
    assert not np.array_equal(before.params["streams"]["kernel"][0],
                              after.params["streams"]["kernel"][0])  # fmt: skip


def test_padding_changes_nothing(trainer, inputs):
    block = batch([0], 0)
    cut = Batches(block.indices[..., :3], block.labels[..., :3], None)
    plain, _ = trainer.epoch(begin(trainer, [0]), inputs, [cut], 0.0)
    padded = block.replace(weights=np.float32([[[1, 1, 1, 0]]]))
    padded, _ = trainer.epoch(begin(trainer, [0]), inputs, [padded], 0.0)
    for a, b in zip(leaves(plain.batch_stats), leaves(padded.batch_stats), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_scores_are_probabilities_in_the_order_asked(trainer, inputs):
    state, _ = run(trainer, inputs, [0, 1])
    scores = trainer.predict(state, inputs, np.array([[0, 5], [5, 0]], np.int32))
    np.testing.assert_allclose(scores.sum(-1), 1, rtol=1e-5)
    one = trainer.predict(state, inputs, np.array([[5, 5], [0, 0]], np.int32))
    np.testing.assert_allclose(scores[0, 1], one[0, 0], rtol=1e-4)
    np.testing.assert_allclose(scores[1, 1], one[1, 0], rtol=1e-4)


def updated(optimizer, gradients, state, params):
    """Parameters and state after a step, in one program."""

    @jax.jit
    def step(gradients, state, params):
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    return step(gradients, state, params)


def test_sgd_orders_its_terms_as_caffe():
    """Velocity holds the rate at which each gradient came, so a drop leaves it as it is."""
    config = default_config("fusion")
    rng = np.random.default_rng(0)
    params = {
        "spatial": {"conv1": {"kernel": rng.normal(size=3), "bias": rng.normal(size=3)}},
        "temporal": {"lstm1": {"gate_bias": rng.normal(size=3)}},
        "classifier": {"Micro_expression": {"kernel": rng.normal(size=3), "bias": np.ones(3)}},
    }
    params = jax.tree.map(jnp.float32, params)
    config.recipe.weight_decay = 0.1
    rates = {  # (rate factor, decays)
        ("spatial", "conv1", "kernel"): (1, True),
        ("spatial", "conv1", "bias"): (2, True),
        ("temporal", "lstm1", "gate_bias"): (1, True),
        ("classifier", "Micro_expression", "kernel"): (1, True),
        ("classifier", "Micro_expression", "bias"): (2, False),
    }
    expected = {path: np.asarray(params[path[0]][path[1]][path[2]], np.float64) for path in rates}
    velocity = {path: np.zeros(3) for path in rates}
    state = make_optimizer(config, 0.0).init(params)
    for rate in (0.1, 0.1, 0.01):
        gradient = rng.normal(size=3)
        gradients = jax.tree.map(lambda _, value=gradient: jnp.float32(value), params)
        params, state = updated(make_optimizer(config, rate), gradients, state, params)
        for path, (factor, decays) in rates.items():
            full = gradient + 0.1 * expected[path] * decays
            velocity[path] = 0.9 * velocity[path] + rate * factor * full
            expected[path] = expected[path] - velocity[path]
    for path, value in expected.items():
        np.testing.assert_allclose(params[path[0]][path[1]][path[2]], value, rtol=1e-4, atol=1e-6)


def test_learning_rate_drops_by_steps():
    config = default_config("fusion")
    rates = [learning_rate(config, epoch) for epoch in (0, 9, 10, 25, 49)]
    np.testing.assert_allclose(rates, [1e-2, 1e-2, 1e-3, 1e-4, 1e-6])
    config.recipe.decay_epochs = 0
    assert learning_rate(config, 49) == 1e-2


def test_learning_rate_may_stop_to_drop():
    config = default_config("mmnet")
    rates = [learning_rate(config, epoch) for epoch in (0, 1, 50, 51, 98)]
    np.testing.assert_allclose(rates, 8e-4 * 0.987 ** np.array([0, 1, 50, 50, 50]))


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_decays_the_gradient_and_adamw_the_step(name):
    """Three steps of the publications' equations; biases learn twice as fast and decay, too."""
    config = default_config("ststnet")
    change(config, optimizer=name, weight_decay=0.1, bias_learning_rate_factor=2.0)
    params = {"classifier": {"kernel": jnp.array([1.0, -2.0]), "bias": jnp.array([0.5])}}
    optimizer = make_optimizer(config, 0.01)
    state = optimizer.init(params)
    values = {"kernel": np.array([1.0, -2.0]), "bias": np.array([0.5])}
    moments = {key: np.zeros((2, len(value))) for key, value in values.items()}
    for step in (1, 2, 3):
        gradient = {"kernel": np.array([0.3, -0.02]) * step, "bias": np.array([1.0 - step])}
        given = {"classifier": jax.tree.map(jnp.float32, gradient)}
        params, state = updated(optimizer, given, state, params)
        for key, value in values.items():
            slope = gradient[key] + (0.1 * value if name == "adam" else 0)
            mean, square = moments[key]
            mean[:] = 0.9 * mean + 0.1 * slope
            square[:] = 0.999 * square + 0.001 * slope**2
            way = mean / (1 - 0.9**step) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
            way = way + (0.1 * value if name == "adamw" else 0)
            values[key] = value - 0.01 * (2 if key == "bias" else 1) * way
        for key, value in values.items():
            np.testing.assert_allclose(params["classifier"][key], value, rtol=1e-5)


def test_lower_precision_keeps_float32_weights_and_nearly_the_training():
    rng = np.random.default_rng(0)
    inputs = {
        "apex": rng.integers(0, 256, (8, 32, 32, 1)).astype(np.uint8),
        "adm": rng.normal(size=(8, 64, 128)).astype(np.float32) * 0.1,
    }
    indices = np.arange(8, dtype=np.int32)[None, None]
    block = Batches(indices, indices % 3, None)
    losses, steps = {}, {}
    for chosen in ("float32", "bfloat16"):
        config = default_config("fusion")
        config.recipe.precision = chosen
        trainer = make_trainer(config, inputs)
        # In place of `init`, which takes as long to compile as an epoch.
        drawn = np.random.default_rng(1)
        state = jax.tree.map(
            lambda leaf, rng=drawn: rng.normal(0, 0.05, leaf.shape).astype(leaf.dtype),
            trainer.shapes(),
        )
        state = state.replace(opt_state=jax.tree.map(np.zeros_like, state.opt_state))
        before, state = state.params, trainer.spread(state)
        # After more steps, rounding alone moves the losses of float32 by a tenth.
        for step in range(4):
            state, sums = trainer.epoch(state, inputs, [block], 0.01)
            losses[chosen, step] = float(sums.loss[0] / sums.count[0])
            if step == 0:
                moved = jax.tree.map(lambda new, old: np.asarray(new) - old, state.params, before)
                steps[chosen] = {
                    name: np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(moved[name])])
                    for name in moved
                }
        assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {np.dtype(np.float32)}
        assert np.isfinite(losses[chosen, 3])
    for step in range(4):
        assert losses["bfloat16", step] == pytest.approx(losses["float32", step], rel=0.02)
    assert losses["bfloat16", 0] != losses["float32", 0]
    # Not the spatial stream: its last maps have one pixel, so that batch norm amplifies rounding.
    for name in ("temporal", "classifier"):
        exact = steps["float32"][name]
        assert np.linalg.norm(steps["bfloat16"][name] - exact) < 0.05 * np.linalg.norm(exact), name


@pytest.mark.parametrize(
    ("chosen", "products"),
    [("float32", "HIGHEST"), ("tensorfloat32", "HIGH"), ("bfloat16", "HIGHEST")],
)
def test_every_product_has_the_precision_chosen(inputs, chosen, products):
    """In the program, as a CPU has no tensorfloat32: its products are exact whatever is chosen."""
    config = own_batches()
    config.recipe.precision = chosen
    trainer = make_trainer(config, inputs)
    program = trainer.lower_epoch(inputs, [batch([0], 0)]).as_text()
    found = re.findall(r"dot_general .*?precision = \[(.*?)\]", program)
    assert len(found) > 5
    assert set(found) == {f"{products}, {products}"}
