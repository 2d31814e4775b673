import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from atnet_jax.models.dual_inception import RECIPE, Inception, Model
from tests.models.against_reference import (
    KEYS,
    LABELS,
    apply,
    check_learning,
    check_slopes,
    dropouts,
    flow_maps,
    in_float64,
    initial_parameters,
    layer_shapes,
    random_variables,
    training_gradient,
)
from tests.reference import dual_inception as reference
from tests.reference.plain_layers import cross_entropy

INPUTS = {"flow_map": flow_maps()}


@pytest.fixture(scope="module")
def variables():
    return random_variables(Model(), INPUTS, False)


def test_layers_have_the_published_sizes():
    shapes = layer_shapes(Model(), INPUTS)
    for stream in ("u", "v"):
        for branch in ("alone", "before_conv3", "conv3", "before_conv5", "conv5", "after_pool"):
            assert shapes[f"{stream}/inception1/{branch}"] == (28, 28, 6)
            assert shapes[f"{stream}/inception2/{branch}"] == (14, 14, 16)
        assert shapes[f"{stream}/inception1"] == (28, 28, 24)
        assert shapes[f"{stream}/inception2"] == (14, 14, 64)
        assert shapes[stream] == (3136,)
    assert shapes["hidden"] == (1024,) and shapes["classifier"] == (3,)


def test_has_the_published_number_of_parameters():
    variables = jax.eval_shape(lambda: Model().init(KEYS, INPUTS, train=False))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 6_449_963


@pytest.mark.parametrize("train", [False, True])
def test_logits_are_the_reference_s(variables, train):
    logits, _ = apply(Model(), variables, INPUTS, train)
    maps, params = in_float64((INPUTS["flow_map"], variables["params"]))
    np.testing.assert_allclose(logits, reference.logits(maps, params), rtol=1e-4, atol=1e-4)


def test_gradient_is_the_slope_of_the_reference_s_loss(variables):
    maps = in_float64(INPUTS["flow_map"])
    gradient = training_gradient(Model(), variables, INPUTS)
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(gradient))
    check_slopes(
        gradient,
        variables["params"],
        lambda params: cross_entropy(reference.logits(maps, params), LABELS),
    )


def test_streams_read_their_own_component_and_none_the_strain(variables):
    logits, _ = apply(Model(), variables, INPUTS, False)
    for channel, changes in ((0, True), (1, True), (2, False)):
        others = INPUTS["flow_map"].at[..., channel].multiply(jnp.linspace(0, 1, 28))
        changed, _ = apply(Model(), variables, {"flow_map": others}, False)
        assert np.allclose(changed, logits, rtol=1e-4, atol=1e-4) != changes


def test_nothing_is_dropped(variables):
    assert dropouts(Model(), variables, INPUTS) == []


def test_starts_as_in_keras():
    """Glorot and Bengio's uniform weights, biases of zero."""
    params = initial_parameters(Inception(16), jnp.zeros((1, 14, 14, 24)))
    for name, fan_in, fan_out in (("conv5", 25 * 16, 25 * 16), ("after_pool", 24, 16)):
        limit = np.sqrt(6 / (fan_in + fan_out))
        assert 0.98 * limit < np.abs(params[name]["kernel"]).max() <= limit
        assert not params[name]["bias"].any()


def test_learns(variables):
    check_learning(Model(), variables, INPUTS, 8, optax.adam(1e-4))


def test_recipe_is_the_released_one():
    facts = {"batch_size": 3, "num_epochs": 40, "optimizer": "adam", "learning_rate": 1e-4}
    assert facts.items() <= RECIPE.items()
