import jax
import jax.numpy as jnp
import numpy as np
import pytest

from atnet_jax.models.spatial import Model as Spatial
from atnet_jax.models.tlcnn import Model
from atnet_jax.preprocessing.optical_flow import flow_method
from atnet_jax.preprocessing.prepared_clip import PreparedClip
from tests.models.against_reference import (
    KEYS,
)


def full_size():
    return {name: jnp.zeros((1, *shape)) for name, shape in Model().input_shapes(224).items()}


def test_parameters_of_the_trunk_are_those_of_pretraining():
    def shapes(model, inputs):
        variables = jax.eval_shape(lambda: model.init(KEYS, inputs, train=False))
        return jax.tree.map(lambda leaf: leaf.shape, dict(variables))

    own = shapes(Model(), full_size())
    pretrained = shapes(Spatial(), {"apex": jnp.zeros((1, 224, 224, 1))})
    for collection in ("params", "batch_stats"):
        assert own[collection]["spatial"] == pretrained[collection]["spatial"]
    leaves = jax.tree.leaves(own["params"], is_leaf=lambda node: isinstance(node, tuple))
    assert sum(int(np.prod(shape)) for shape in leaves) == 6_998_533


@pytest.mark.parametrize(("image_size", "side"), [(224, 56), (120, 30), (112, 28), (56, 28)])
def test_frames_are_a_quarter_as_large_but_not_tiny(image_size, side):
    assert Model().input_shapes(image_size) == {"sequence": (32, side, side)}


@pytest.mark.parametrize("count", [9, 65])
def test_prepared_is_the_interpolated_clip(count):
    rng = np.random.default_rng(0)
    # Frames of 4×4 equal pixels, so that the smaller ones are known.
    small = rng.integers(90, 160, (count, 56, 56))
    frames = small.repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8)
    clip = PreparedClip("made/up/clip", frames=frames, apex_index=2)
    sequence = Model().prepare(clip, flow_method("dis"), 224)["sequence"]
    assert sequence.dtype == np.uint8 and sequence.shape == (32, 56, 56)
    # The temporal interpolation model: cosines through the frames, read at 32 times.
    times = np.linspace(1, count, 32)
    order = np.arange(count)
    given = np.cos(np.pi * np.outer(order + 0.5, order) / count)
    wanted = np.cos(np.pi * np.outer(times - 0.5, order) / count)
    share = np.where(order == 0, 1, 2) / count
    expected = np.einsum("tk,k,fk,fhw->thw", wanted, share, given, small, optimize=True)
    np.testing.assert_allclose(sequence, np.clip(expected, 0, 255), atol=0.51)


def test_prepared_single_frame_is_repeated():
    frame = np.random.default_rng(0).integers(0, 256, (1, 224, 224)).astype(np.uint8)
    clip = PreparedClip("made/up/clip", frames=frame)
    sequence = Model().prepare(clip, flow_method("dis"), 112)["sequence"]
    assert sequence.shape == (32, 28, 28)
    assert (sequence == sequence[0]).all() and np.ptp(sequence) > 20
