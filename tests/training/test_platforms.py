"""Training in the forms of other platforms, on a CPU: the same results within rounding."""

import jax
import numpy as np
import pytest

from atnet_jax.config import default_config
from atnet_jax.data.folds import Unit, make_folds
from atnet_jax.models.layers.lstm import LSTM
from atnet_jax.system import backend
from atnet_jax.training.batches import BatchPlan
from atnet_jax.training.engine import make_trainer
from benchmarks.task import random_composite
from tests.tiny_runs import change


@pytest.mark.parametrize("platform", ["tpu", "gpu"])
def test_other_platforms_train_alike(platform):
    """On a TPU, two units share the loop over recurrent steps and take turns for the rest."""
    config = default_config("fusion")
    change(config, image_size=16, steps_per_epoch=2, batch_size=12)
    composite = random_composite("fusion", 68, 16)
    folds = make_folds("cde", composite)
    units = [Unit(0, folds[number], composite.labels) for number in (3, 40)]
    plan = BatchPlan(config, units)
    numbers = np.array([unit.key for unit in units], np.int32).T

    def trained():
        trainer = make_trainer(config, composite.inputs)
        state = trainer.init(*numbers)
        for epoch in range(2):
            state, sums = trainer.epoch(state, composite.inputs, plan.blocks(units, epoch), 0.01)
        clips = np.stack([unit.fold.test[:1] for unit in units])
        return sums, state, trainer.predict(state, composite.inputs, clips)

    expected = jax.device_get(trained())
    with backend.tracing_for(platform):
        found = jax.device_get(trained())
    np.testing.assert_allclose(found[0].loss, expected[0].loss, rtol=1e-3)
    np.testing.assert_allclose(found[2], expected[2], atol=2e-3)
    for own, other in zip(jax.tree.leaves(found[1]), jax.tree.leaves(expected[1]), strict=True):
        np.testing.assert_allclose(own, other, rtol=5e-3, atol=5e-3)


def test_gates_are_computed_again_on_a_tpu():
    """An LSTM's gradients are those of the gates that a CPU keeps."""
    rng = np.random.default_rng(6)
    x = jax.numpy.asarray(rng.standard_normal((3, 9, 4)), np.float32)
    of_outputs = rng.standard_normal((3, 9, 8)).astype(np.float32)
    params = LSTM(8).init(jax.random.key(0), x)

    def gradients(platform):
        with backend.tracing_for(platform), jax.default_matmul_precision("highest"):
            return jax.grad(lambda p: (LSTM(8).apply(p, x) * of_outputs).sum())(params)

    for own, other in zip(
        jax.tree.leaves(gradients("tpu")), jax.tree.leaves(gradients("cpu")), strict=True
    ):
        np.testing.assert_allclose(own, other, rtol=1e-4, atol=1e-5)
