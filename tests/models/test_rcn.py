import jax
import jax.numpy as jnp
import numpy as np
import pytest

from atnet_jax import models
from atnet_jax.models.rcn import PRESETS, Model, adaptive_average_pool, class_attention
from atnet_jax.preprocessing.optical_flow import flow_method
from atnet_jax.preprocessing.prepared_clip import PreparedClip
from tests.models.against_reference import (
    flow_maps,
    initial_parameters,
)
from tests.reference import plain_layers
from tests.reference import rcn as reference

PICTURES = plain_layers.unit_range(np.asarray(flow_maps(60))).astype(np.float32)
INPUTS = {"flow_picture": jnp.asarray(PICTURES)}


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
