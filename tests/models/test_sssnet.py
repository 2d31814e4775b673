import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from atnet_jax.models.sssnet import RECIPE, Model
from atnet_jax.preprocessing.optical_flow import flow_method
from atnet_jax.preprocessing.prepared_clip import PreparedClip
from tests.models.against_reference import (
    KEYS,
    LABELS,
    apply,
    check_learning,
    check_slopes,
    check_units,
    dropouts,
    flow_maps,
    in_float64,
    layer_shapes,
    random_variables,
    training_gradient,
)
from tests.reference.plain_layers import (
    batch_norm,
    convolution,
    cross_entropy,
    linear,
    max_pool,
    relu,
)

INPUTS = {"flow_map": flow_maps(64)}


def reference(x, params, running, train):
    """The network in plain NumPy; moves `running` in training."""
    for stage, (size, stride) in (("1", (3, 3)), ("2", (2, 2))):
        conv = params[f"conv{stage}"]
        x = max_pool(relu(convolution(x, conv["kernel"], conv["bias"])), size, stride)
        x = batch_norm(x, params[f"norm{stage}"], running[f"norm{stage}"], train)
    x = relu(linear(x.reshape(len(x), 5184), params["hidden"]))
    return linear(x, params["classifier"])


@pytest.fixture(scope="module")
def variables():
    return random_variables(Model(), INPUTS, False)


def test_layers_have_the_published_sizes():
    shapes = layer_shapes(Model(), INPUTS)
    assert shapes["conv1"] == (60, 60, 32)
    assert shapes["norm1"] == (20, 20, 32)
    assert shapes["conv2"] == (18, 18, 64)
    assert shapes["norm2"] == (9, 9, 64)
    assert shapes["hidden"] == (256,)
    assert shapes["classifier"] == (3,)


def test_has_the_published_number_of_parameters():
    variables = jax.eval_shape(lambda: Model().init(KEYS, INPUTS, train=False))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == 1_349_251


@pytest.mark.parametrize("train", [False, True])
def test_logits_and_statistics_are_the_reference_s(variables, train):
    logits, statistics = apply(Model(), variables, INPUTS, train)
    maps, params, running = in_float64(
        (INPUTS["flow_map"], variables["params"], variables["batch_stats"])
    )
    expected = reference(maps, params, running, train)
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-3)
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3),
        dict(statistics),
        running,
    )


def test_gradient_is_the_slope_of_the_reference_s_loss(variables):
    maps, running = in_float64((INPUTS["flow_map"], variables["batch_stats"]))
    gradient = training_gradient(Model(), variables, INPUTS)
    check_slopes(
        gradient,
        variables["params"],
        lambda params: cross_entropy(reference(maps, params, running, True), LABELS),
    )


def test_whole_channels_are_dropped_in_training(variables):
    assert dropouts(Model(), variables, INPUTS) == [
        (0.5, (20, 20, 32)), (0.5, (9, 9, 64)), (0.5, (256,))
    ]  # fmt: skip
    _, state = Model().apply(
        variables, INPUTS, True, rngs=KEYS, capture_intermediates=True,
        mutable=["intermediates", "batch_stats"],
    )  # fmt: skip
    seen = state["intermediates"]["Dropout_0"]["__call__"][0]
    dropped = jnp.all(seen == 0, axis=(1, 2))
    assert 0.3 < dropped.mean() < 0.7
    assert not jnp.any((seen == 0).mean((1, 2)) * ~dropped > 0.01)


def test_reads_the_flow_map_at_its_size():
    flow = np.zeros((224, 224, 2), np.float32)
    flow[:112, :, 0], flow[112:, :, 1] = 1.0, -2.0
    clip = PreparedClip("a/b/c", flow=flow)
    seen = Model().prepare(clip, flow_method("dis"), 224)["flow_map"]
    assert {"flow_map": seen.shape} == Model().input_shapes(224)
    np.testing.assert_allclose(seen[:31, :, 0], 1, atol=1e-6)
    np.testing.assert_allclose(seen[33:, :, 1], -2, atol=1e-6)


def test_learns(variables):
    check_learning(Model(), variables, INPUTS, 12, optax.adam(1e-3))


def test_units_do_not_see_each_other(variables):
    check_units(Model(), variables, INPUTS)


def test_recipe_is_the_benchmark_s():
    facts = {"batch_size": 32, "num_epochs": 200, "optimizer": "adam", "learning_rate": 1e-4}
    assert (facts | {"weight_decay": 1e-3}).items() <= RECIPE.items()
