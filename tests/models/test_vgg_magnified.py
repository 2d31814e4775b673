import jax
import jax.numpy as jnp
import numpy as np
import pytest

from atnet_jax.config import default_config
from atnet_jax.errors import UserError
from atnet_jax.models.vgg_magnified import Model
from atnet_jax.preprocessing.magnification import magnify
from atnet_jax.preprocessing.optical_flow import flow_method
from atnet_jax.preprocessing.prepared_clip import PreparedClip
from atnet_jax.training.method_inputs import inputs_of_clip
from tests.models.against_reference import (
    KEYS,
    apply,
    dropouts,
    in_float64,
    layer_shapes,
    random_variables,
    training_gradient,
    unused,
)
from tests.reference import vgg_magnified as reference

SIZE = 32  # The smallest: the linear layers are nearly all there is.


@pytest.fixture(scope="module")
def network():
    magnified = np.random.default_rng(0).integers(0, 256, (4, 5, SIZE, SIZE))
    inputs = {"faces": jnp.asarray(magnified, jnp.float32)}
    return random_variables(Model(), inputs, False), inputs


@pytest.mark.parametrize("train", [False, True])
def test_forward_pass(network, train):
    variables, inputs = network
    apex = inputs["faces"][:2, 2]
    # In training, what augmentation gives.
    seen = {"face": apex} if train else {"faces": inputs["faces"][:2]}
    out, _ = apply(Model(), variables, seen, train)
    params = in_float64(variables["params"])
    expected = reference.logits(params, np.asarray(apex, np.float64))
    np.testing.assert_allclose(out, expected, rtol=1e-3, atol=1e-3)
    assert np.ptp(expected, axis=0).max() > 0.1


def test_gradient_reaches_every_parameter(network):
    variables, inputs = network
    gradient = training_gradient(Model(), variables, {"face": inputs["faces"][:, 2]})
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.isfinite(leaf).all() and np.abs(leaf).max() > 0, path


def test_linear_layers_drop_half(network):
    assert dropouts(Model(), *network) == [(0.5, (4096,))] * 2


def test_layers_are_those_of_vgg16():
    shapes = layer_shapes(Model(), {"faces": jnp.zeros((1, 5, 224, 224))})
    sides = {1: 224, 2: 112, 3: 56, 4: 28, 5: 14}
    channels = {1: 64, 2: 128, 3: 256, 4: 512, 5: 512}
    convolutions = {name: shape for name, shape in shapes.items() if name.startswith("conv")}
    assert len(convolutions) == 13
    for name, shape in convolutions.items():
        block = int(name[4])
        assert shape == (sides[block], sides[block], channels[block])
    assert shapes["fc6"] == shapes["fc7"] == (4096,)
    assert shapes["classifier"] == (3,)


def test_parameters():
    inputs = {"face": jnp.zeros((1, 224, 224))}
    params = jax.eval_shape(lambda: Model().init(KEYS, inputs, train=False))["params"]
    # VGG-16 with 1,000 classes has 138,357,544.
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert count == 138_357_544 - 4097 * 1000 + 4097 * 3 == 134_272_835
    assert params["fc6"]["kernel"].shape == (7 * 7 * 512, 4096)


def test_sizes():
    assert Model().input_shapes(224) == {"faces": (5, 224, 224)}
    with pytest.raises(UserError, match="at least 32×32 pixels, not 31×31"):
        Model().input_shapes(31)


def clip_of(count: int, apex: int, rate: float = 100.0) -> PreparedClip:
    frames = np.random.default_rng(0).integers(60, 190, (count, 224, 224)).astype(np.uint8)
    return PreparedClip("made/up/clip", frames=frames, apex_index=apex, frame_rate=rate)


@pytest.mark.parametrize(
    ("count", "apex", "wanted"),
    [
        (12, 5, [3, 4, 5, 6, 7]),
        (12, 0, [0, 0, 0, 1, 2]),
        (12, 10, [8, 9, 10, 11, 11]),
        (3, 1, [0, 0, 1, 2, 2]),
        (1, 0, [0, 0, 0, 0, 0]),
    ],
)
def test_prepared_are_the_apex_and_its_neighbours(count, apex, wanted):
    clip = clip_of(count, apex)
    assert clip.frames is not None
    faces = Model().prepare(clip, flow_method("dis"), 224)["faces"]
    np.testing.assert_array_equal(faces, clip.frames[wanted])
    small = Model().prepare(clip, flow_method("dis"), 56)["faces"]
    assert (small.shape, small.dtype) == (Model().input_shapes(56)["faces"], np.uint8)
    areas = faces.reshape(5, 56, 4, 56, 4).mean(axis=(2, 4))
    np.testing.assert_allclose(small, areas, atol=0.51)


def test_its_motion_is_magnified_unless_told_otherwise():
    config, clip = default_config("vgg_magnified"), clip_of(12, 5)
    assert config.magnification == 30.0
    given = inputs_of_clip(config, clip, flow_method("dis"))["faces"]
    assert clip.frames is not None
    expected = np.rint(np.clip(magnify(clip.frames, 100.0, 30.0), 0, 255))
    np.testing.assert_array_equal(given, expected[3:8])
    config.magnification = 0.0
    given = inputs_of_clip(config, clip, flow_method("dis"))["faces"]
    np.testing.assert_array_equal(given, clip.frames[3:8])


def test_augmentation_draws_all_five_alike():
    magnified = jnp.arange(5.0)[None, :, None, None] + jnp.zeros((1000, 1, 2, 3))
    out = np.asarray(Model().augment(jax.random.key(0), {"faces": magnified}, unused)["face"])
    assert out.shape == (1000, 2, 3)
    assert (out == out[:, :1, :1]).all()
    shares = np.bincount(out[:, 0, 0].astype(int)) / 1000
    np.testing.assert_allclose(shares, 0.2, atol=0.04)
