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
    unused,
)


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
    assert config.recipe.magnification == 30.0
    given = inputs_of_clip(config, clip, flow_method("dis"))["faces"]
    assert clip.frames is not None
    expected = np.rint(np.clip(magnify(clip.frames, 100.0, 30.0), 0, 255))
    np.testing.assert_array_equal(given, expected[3:8])
    config.recipe.magnification = 0.0
    given = inputs_of_clip(config, clip, flow_method("dis"))["faces"]
    np.testing.assert_array_equal(given, clip.frames[3:8])


def test_augmentation_draws_all_five_alike():
    magnified = jnp.arange(5.0)[None, :, None, None] + jnp.zeros((1000, 1, 2, 3))
    out = np.asarray(Model().augment(jax.random.key(0), {"faces": magnified}, unused)["face"])
    assert out.shape == (1000, 2, 3)
    assert (out == out[:, :1, :1]).all()
    shares = np.bincount(out[:, 0, 0].astype(int)) / 1000
    np.testing.assert_allclose(shares, 0.2, atol=0.04)
