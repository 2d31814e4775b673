import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from atnet_jax.models.off_apexnet import RECIPE, Model
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
from tests.reference import off_apexnet as reference
from tests.reference.plain_layers import cross_entropy

INPUTS = {"flow_map": flow_maps()}


@pytest.fixture(scope="module")
def variables():
    return random_variables(Model(), INPUTS, False)


def test_layers_have_the_published_sizes():
    shapes = layer_shapes(Model(), INPUTS)
    for stream in ("u", "v"):
        assert shapes[f"{stream}/conv1"] == (28, 28, 6)
        assert shapes[f"{stream}/conv2"] == (14, 14, 16)
        assert shapes[stream] == (784,)
    assert shapes["hidden1"] == shapes["hidden2"] == (1024,)
    assert shapes["classifier"] == (3,)


def test_has_the_published_number_of_parameters():
    variables = jax.eval_shape(lambda: Model().init(KEYS, INPUTS, train=False))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 2_664_475


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


def test_maps_in_pixels_and_published_pictures_of_them_give_the_same(variables):
    maps = INPUTS["flow_map"]
    low, high = (edge((1, 2), keepdims=True) for edge in (maps.min, maps.max))
    pictures = 255 * (maps - low) / (high - low)
    for_pixels, _ = apply(Model(), variables, {"flow_map": maps}, False)
    for_pictures, _ = apply(Model(), variables, {"flow_map": pictures}, False)
    np.testing.assert_allclose(for_pictures, for_pixels, rtol=1e-3, atol=1e-4)


def test_half_of_both_hidden_layers_is_dropped_in_training(variables):
    assert dropouts(Model(), variables, INPUTS) == [(0.5, (1024,)), (0.5, (1024,))]


def test_starts_as_in_pytorch():
    params = initial_parameters(Model(), INPUTS, False)
    for layer, fan_in in (
        (params["u"]["conv1"], 25),
        (params["v"]["conv2"], 150),
        (params["hidden1"], 1568),
        (params["classifier"], 1024),
    ):
        assert 0.9 * fan_in**-0.5 < np.abs(layer["kernel"]).max() <= fan_in**-0.5
        assert 0 < np.abs(layer["bias"]).max() <= fan_in**-0.5
    assert not np.array_equal(params["u"]["conv1"]["kernel"], params["v"]["conv1"]["kernel"])


def test_learns(variables):
    check_learning(Model(), variables, INPUTS, 8, optax.adam(1e-3))


def test_recipe_is_the_port_s():
    facts = {"batch_size": 64, "num_epochs": 3000, "optimizer": "adam", "learning_rate": 1e-4}
    assert facts.items() <= RECIPE.items()
