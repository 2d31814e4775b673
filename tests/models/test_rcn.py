import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from atnet_jax import models
from atnet_jax.errors import UserError
from atnet_jax.models.rcn import PRESETS, RECIPE, Model, adaptive_average_pool, class_attention
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
    initial_parameters,
    layer_shapes,
    random_variables,
    training_gradient,
)
from tests.reference import plain_layers
from tests.reference import rcn as reference

PICTURES = plain_layers.unit_range(np.asarray(flow_maps(60))).astype(np.float32)
INPUTS = {"flow_picture": jnp.asarray(PICTURES)}
VARIANTS = ("a", "w")


@functools.cache
def variables_of(variant: str):
    return random_variables(Model(variant), INPUTS, False)


def test_layers_of_a_have_the_published_sizes():
    shapes = layer_shapes(Model("a"), INPUTS)
    assert shapes["stem/conv"] == shapes["stem"] == (56, 56, 64)
    assert shapes["Dropout_0"] == (28, 28, 64)
    for layer in ("feed_forward", "recurrent"):
        assert shapes[f"recurrent_convolution/{layer}"] == (28, 28, 64)
    assert shapes["recurrent_convolution"] == (14, 14, 64)


def test_layers_of_w_have_the_published_sizes():
    shapes = layer_shapes(Model("w"), INPUTS)
    for dilation, channels in ((1, 32), (2, 16), (3, 16)):
        assert shapes[f"streams/conv{dilation}"] == (20, 20, channels)
    assert shapes["streams"] == (20, 20, 64)
    for layer in ("feed_forward", "recurrent"):
        assert shapes[f"recurrent_convolution/{layer}"] == (20, 20, 64)
    assert shapes["recurrent_convolution"] == (10, 10, 64)


@pytest.mark.parametrize(("variant", "count"), [("a", 55_747), ("w", 52_675)])
def test_has_the_published_number_of_parameters(variant, count):
    variables = jax.eval_shape(lambda: Model(variant).init(KEYS, INPUTS, train=False))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == count
    assert jax.tree.map(jnp.shape, variables["params"]["classifier"]) == {
        "kernel": (7, 7, 64, 3),
        "bias": (3,),
    }


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_and_statistics_are_the_reference_s(variant, train):
    variables = variables_of(variant)
    logits, statistics = apply(Model(variant), variables, INPUTS, train)
    params, running = in_float64((variables["params"], variables["batch_stats"]))
    expected = reference.logits(variant, PICTURES.astype(np.float64), params, running, train)
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    jax.tree.map(close, dict(statistics), running)


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradient_is_the_slope_of_the_reference_s_loss(variant):
    variables = variables_of(variant)
    gradient = training_gradient(Model(variant), variables, INPUTS)
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(gradient))

    def loss(params):
        running = in_float64(variables["batch_stats"])
        logits = reference.logits(variant, PICTURES.astype(np.float64), params, running, True)
        return plain_layers.cross_entropy(logits, LABELS)

    check_slopes(gradient, variables["params"], loss, directions=1)


@pytest.mark.parametrize("variant", VARIANTS)
def test_clips_that_only_pad_do_not_count(variant):
    network, variables = Model(variant), variables_of(variant)
    real = {"flow_picture": INPUTS["flow_picture"][:3]}
    logits, statistics = apply(network, variables, real, True)
    # A picture without motion: its attention maps need not be a number anywhere else.
    padded = {"flow_picture": INPUTS["flow_picture"].at[3].set(0)}
    weight = jnp.array([1.0, 1, 1, 0])
    of_padded, kept = apply(network, variables, padded, True, weight)
    np.testing.assert_allclose(of_padded[:3], logits, rtol=1e-3, atol=1e-3)
    assert np.isfinite(of_padded).all()
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), kept, statistics
    )


@pytest.mark.parametrize(("height", "width"), [(28, 28), (14, 14), (10, 10), (20, 9), (7, 7)])
def test_adaptive_pooling_is_that_of_a_loop(height, width):
    x = np.random.default_rng(0).normal(size=(2, height, width, 3)).astype(np.float32)
    expected = plain_layers.adaptive_average_pool(x.astype(np.float64), 7)
    np.testing.assert_allclose(adaptive_average_pool(jnp.asarray(x), 7), expected, atol=1e-6)


def test_attention_is_between_0_and_1_and_the_literal_one():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 7, 7, 64)).astype(np.float32)
    kernel = rng.normal(size=(7, 7, 64, 3)).astype(np.float32)
    found = class_attention(jnp.asarray(x), jnp.asarray(kernel))
    assert found.shape == (2, 7, 7, 1) and (found >= 0).all() and (found <= 1).all()
    expected = reference.attention(x.astype(np.float64), kernel.astype(np.float64))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_flat_attention_is_0_and_its_gradient_finite():
    kernel = jnp.ones((7, 7, 64, 3)).at[..., 1].set(0).at[3, 3, :, 2].set(2)
    found = class_attention(jnp.ones((1, 7, 7, 64)), kernel)
    # Two of the three classes have flat maps; the third looks at one place alone.
    np.testing.assert_allclose(found[0, 3, 3, 0], 1 / 3, rtol=1e-6)
    np.testing.assert_allclose(found.sum(), 1 / 3, rtol=1e-6)
    for x in (jnp.ones((1, 7, 7, 64)), jnp.zeros((1, 7, 7, 64))):
        gradients = jax.grad(lambda x, k: class_attention(x, k).sum(), (0, 1))(x, kernel)
        assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_half_is_dropped_after_each_pooling_and_after_the_streams():
    assert dropouts(Model("a"), variables_of("a"), INPUTS) == [
        (0.5, (28, 28, 64)),
        (0.5, (14, 14, 64)),
    ]
    assert dropouts(Model("w"), variables_of("w"), INPUTS) == [
        (0.5, (20, 20, 64)),
        (0.5, (10, 10, 64)),
    ]


def test_starts_as_in_the_released_code():
    params = initial_parameters(Model("a"), INPUTS, False)
    stem, recurrent = params["stem"]["conv"], params["recurrent_convolution"]["recurrent"]["conv"]
    # He's by what a layer gives to: 64 channels at 25 or 9 places.
    assert abs(float(stem["kernel"].std()) / np.sqrt(2 / (25 * 64)) - 1) < 0.05
    assert abs(float(recurrent["kernel"].std()) / np.sqrt(2 / (9 * 64)) - 1) < 0.05
    assert 0.9 / np.sqrt(75) < np.abs(stem["bias"]).max() <= 1 / np.sqrt(75)
    assert abs(float(params["classifier"]["kernel"].std()) / 0.01 - 1) < 0.05
    assert not params["classifier"]["bias"].any()


def test_reads_a_map_of_60_pixels_scaled_channel_by_channel():
    flow = np.random.default_rng(0).normal(size=(224, 224, 2)).astype(np.float32)
    clip = PreparedClip("casme2/sub01/EP02_01f", flow=flow)
    found = Model().prepare(clip, flow_method("dis"), 224)
    assert {name: array.shape for name, array in found.items()} == Model().input_shapes(224)
    assert found["flow_picture"].dtype == np.float32
    expected = plain_layers.unit_range(clip.flow_map_at(60)[None].astype(np.float64))[0]
    np.testing.assert_allclose(found["flow_picture"], expected, atol=1e-6)
    # u is the first channel.
    assert np.corrcoef(found["flow_picture"][..., 0].ravel(), expected[..., 0].ravel())[0, 1] > 0.99


def test_reads_a_published_map_of_28_pixels():
    maps = np.random.default_rng(0).integers(0, 256, (28, 28, 3)).astype(np.float32)
    maps[..., 1] = 7
    found = Model().prepare(PreparedClip("a/b/c", flow_map=maps), flow_method("dis"), 224)
    picture = found["flow_picture"]
    assert picture.shape == (60, 60, 3)
    assert not picture[..., 1].any()
    assert (picture[..., [0, 2]].min((0, 1)) == 0).all()
    np.testing.assert_allclose(picture[..., [0, 2]].max((0, 1)), 1, atol=1e-6)


def test_names():
    assert Model().variant == "a"
    assert PRESETS == {"rcn_a": ({"variant": "a"}, None), "rcn_w": ({"variant": "w"}, None)}
    assert models.find("rcn").build({"variant": "w"}) == Model("w")


def test_unknown_variant_names_the_known():
    with pytest.raises(UserError, match=r"options.variant is one of a, w, not 'f'"):
        jax.eval_shape(lambda: Model("f").init(KEYS, INPUTS, train=False))


@pytest.mark.parametrize("variant", VARIANTS)
def test_learns(variant):
    check_learning(Model(variant), variables_of(variant), INPUTS, 8, optax.adam(1e-2))


def test_units_do_not_see_each_other():
    check_units(Model("w"), variables_of("w"), INPUTS)


def test_recipe_is_the_released_one():
    facts = {"batch_size": 64, "num_epochs": 100, "optimizer": "sgd", "learning_rate": 5e-4}
    assert {**facts, "momentum": 0.9, "decay_epochs": 0}.items() <= RECIPE.items()
