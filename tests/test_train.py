"""The trainer's invariants, on STSTNet: small enough to train in a test."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from atnet_jax.config import default_config
from atnet_jax.errors import UserError
from atnet_jax.train import learning_rate, make_optimizer, make_trainer

CLIPS, BATCH = 12, 4


@pytest.fixture(scope="module")
def inputs() -> dict[str, np.ndarray]:
    maps = np.random.default_rng(0).normal(size=(CLIPS, 28, 28, 3))
    return {"flow_map": maps.astype(np.float32)}


@pytest.fixture(scope="module")
def trainer(inputs):
    return make_trainer(default_config("ststnet"), inputs)


def batch(folds: list[int], step: int) -> tuple[np.ndarray, np.ndarray]:
    """Clips and labels that depend on the fold's number alone."""
    rngs = [np.random.default_rng([fold, step]) for fold in folds]
    indices = np.stack([rng.integers(0, CLIPS, BATCH, dtype=np.int32) for rng in rngs])
    return indices, indices % 3


def run(trainer, inputs, folds: list[int], steps: int = 3):
    state = trainer.init(np.array(folds, np.int32))
    for step in range(steps):
        state, metrics = trainer.step(state, inputs, *batch(folds, step), None, 1e-3)
    return state, metrics


def test_a_fold_alone_is_the_same_fold_among_others(trainer, inputs):
    together, _ = run(trainer, inputs, [4, 0, 7])
    for place, fold in enumerate([4, 0, 7]):
        alone, _ = run(trainer, inputs, [fold])
        for many, one in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(many[place], one[0], rtol=2e-4, atol=1e-6)


def test_folds_and_seeds_start_apart(trainer, inputs):
    kernel = trainer.init(np.array([0, 1], np.int32)).params["streams"]["kernel"]
    assert not np.allclose(kernel[0], kernel[1])
    other = default_config("ststnet")
    other.seed = 1
    again = make_trainer(other, inputs).init(np.array([0], np.int32)).params["streams"]["kernel"]
    assert not np.allclose(kernel[0], again[0])


def test_same_start_same_bits(trainer, inputs):
    first, _ = run(trainer, inputs, [3])
    second, _ = run(trainer, inputs, [3])
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        assert np.array_equal(a, b)


def test_training_learns(trainer, inputs):
    state = trainer.init(np.array([0], np.int32))
    indices = np.arange(CLIPS, dtype=np.int32)[None]
    losses = []
    for _ in range(150):
        state, metrics = trainer.step(state, inputs, indices, indices % 3, None, 3e-3)
        losses.append(float(metrics.loss[0]) / CLIPS)
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])


def test_a_fold_without_clips_left_keeps_its_state(trainer, inputs):
    indices, labels = batch([0, 1], 0)
    weights = np.array([[1, 1, 0, 0], [0, 0, 0, 0]], np.float32)
    before = jax.device_get(trainer.init(np.array([0, 1], np.int32)))
    state = trainer.init(np.array([0, 1], np.int32))
    after, metrics = trainer.step(state, inputs, indices, labels, weights, 1e-3)
    assert metrics.count.tolist() == [2, 0]
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        assert np.array_equal(a[1], b[1])
    assert not np.array_equal(before.params["streams"]["kernel"][0],
                              after.params["streams"]["kernel"][0])  # fmt: skip


def test_padding_changes_nothing(trainer, inputs):
    indices, labels = batch([0], 0)
    start = [trainer.init(np.array([0], np.int32)) for _ in range(2)]
    plain, _ = trainer.step(start[0], inputs, indices[:, :3], labels[:, :3], None, 0.0)
    weights = np.array([[1, 1, 1, 0]], np.float32)
    padded, _ = trainer.step(start[1], inputs, indices, labels, weights, 0.0)
    for a, b in zip(jax.tree.leaves(plain.batch_stats), jax.tree.leaves(padded.batch_stats),
                    strict=True):  # fmt: skip
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_scores_are_probabilities_in_the_order_asked(trainer, inputs):
    state, _ = run(trainer, inputs, [0, 1])
    scores = trainer.predict(state, inputs, np.array([[0, 5], [5, 0]], np.int32))
    np.testing.assert_allclose(scores.sum(-1), 1, rtol=1e-5)
    one = trainer.predict(state, inputs, np.array([[5, 5], [0, 0]], np.int32))
    np.testing.assert_allclose(scores[0, 1], one[0, 0], rtol=1e-4)
    np.testing.assert_allclose(scores[1, 1], one[1, 0], rtol=1e-4)


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
    config.weight_decay = 0.1
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
        updates, state = make_optimizer(config, rate).update(gradients, state, params)
        params = jax.tree.map(jnp.add, params, updates)
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
    config.decay_epochs = 0
    assert learning_rate(config, 49) == 1e-2


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("optimizer", "lion", "'sgd' or 'adam', not 'lion'"), ("shift_kind", "colour", "'colour'")],
)
def test_unknown_choices_are_refused(inputs, field, value, message):
    config = default_config("ststnet")
    (config.augment if field == "shift_kind" else config)[field] = value
    with pytest.raises(UserError, match=message):
        make_trainer(config, inputs)
