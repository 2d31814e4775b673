import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from atnet_jax.models import mmnet
from atnet_jax.models.mmnet import Model, TransformerBlock
from atnet_jax.preprocessing.optical_flow import flow_method
from atnet_jax.preprocessing.prepared_clip import PreparedClip
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
from tests.reference import mmnet as reference

SIZE = 40  # Its last map is 3×3.
MEAN = 255 * np.array([0.485, 0.456, 0.406], np.float32)


def pictures(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


@pytest.fixture(scope="module")
def network():
    """Variables, and an onset and an apex of four clips."""
    onset, apex = pictures(0, 2, 4, SIZE, SIZE, 3).astype(np.float32)
    inputs = {"onset": jnp.asarray(onset), "apex": jnp.asarray(apex)}
    variables = random_variables(Model(), inputs, False)
    # As drawn, 4,608 inputs would make far larger logits than a trained network's.
    variables["params"]["classifier"]["kernel"] *= 0.2
    return variables, inputs


def check(out, updated, variables, pair, train):
    wanted = in_float64(variables)
    expected = reference.logits(wanted["params"], wanted["batch_stats"], *in_float64(pair), train)
    np.testing.assert_allclose(out, expected, rtol=2e-3, atol=2e-3)
    assert np.ptp(expected, axis=0).max() > 0.1
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
        updated,
        wanted["batch_stats"],
    )


def test_tested_are_onset_and_apex_themselves(network):
    variables, inputs = network
    onset, apex = inputs["onset"], inputs["apex"]
    other = jnp.asarray(pictures(5, 4, SIZE, SIZE, 3), jnp.float32)
    prepared = {
        "onset": jnp.stack([onset, other], axis=1),
        "apex": jnp.stack([other, apex, other], axis=1),
        "reach": jnp.ones((4, 3)),
    }
    out, updated = apply(Model(), variables, prepared, False)
    check(out, updated, variables, [onset, apex], False)


def test_training_sees_what_augmentation_gives_and_no_padding(network):
    variables, inputs = network
    weight = jnp.array([1.0, 1, 1, 0])
    out, updated = apply(Model(), variables, inputs, True, weight)
    check(out[:3], updated, variables, [inputs["onset"][:3], inputs["apex"][:3]], True)


def test_gradient_reaches_every_parameter(network):
    variables, inputs = network
    gradient = training_gradient(Model(), variables, inputs)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.isfinite(leaf).all() and np.abs(leaf).max() > 0, path


def full_size():
    return {name: jnp.zeros((1, *shape)) for name, shape in Model().input_shapes(224).items()}


def test_layers_are_as_large_as_published():
    shapes = layer_shapes(Model(), full_size())
    assert shapes["motion_conv"] == (112, 112, 180)
    assert shapes["conv1"] == (112, 112, 128)
    assert shapes["positions"] == (14, 14, 512)
    assert shapes["classifier"] == (3,)
    for number, (side, channels) in enumerate(((112, 128), (56, 128), (28, 256), (14, 512)), 1):
        assert shapes[f"block{number}/second_bn"] == (side, side, channels)
        assert shapes[f"block{number}/attention_bn"] == (side, side, 1)
        assert (f"block{number}/shortcut_bn" in shapes) == (number > 1)


def test_parameters():
    shapes = jax.eval_shape(lambda: Model().init(KEYS, full_size(), train=False))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == 9_241_719
    assert shapes["params"]["classifier"]["kernel"].shape == (100352, 3)
    assert shapes["params"]["positions"]["place"].shape == (196, 512)


def test_transformer_block_to_the_last_digits():
    """An approximate GELU would differ by 0.0005 at most."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 8)), jnp.float32)
    block = TransformerBlock(0.3)
    variables = random_variables(block, x, False)
    out = jax.jit(lambda variables, x: block.apply(variables, x, False))(variables, x)
    params = in_float64(variables["params"])
    expected = [reference.transformer_block(params, clip) for clip in np.asarray(x, np.float64)]
    np.testing.assert_allclose(out, expected, atol=2e-5)


def test_paths_are_dropped_for_whole_clips(network):
    variables, inputs = network
    size = (9, 512)
    assert (
        dropouts(Model(), variables, inputs)
        == [(0.0, size)] * 2 + [(0.15, size)] * 2 + [(0.3, size)] * 2
    )
    x = jnp.asarray(np.random.default_rng(0).normal(size=(200, 2, 8)), jnp.float32)
    block = TransformerBlock(0.3)

    @jax.jit
    def factors(x):
        """Of what is added, in each of the two places."""
        found = []

        def note(next_function, args, kwargs, context):
            out = next_function(*args, **kwargs)
            if isinstance(context.module, nn.Dropout):
                found.append(out / args[0])
            return out

        params = block.init(KEYS, x, False)
        with nn.intercept_methods(note):
            block.apply(params, x, True, rngs={"dropout": jax.random.key(0)})
        return found

    found = [np.asarray(factor) for factor in factors(x)]
    for factor in found:
        kept = factor[:, 0, 0] > 0
        assert 0.6 < kept.mean() < 0.8
        assert np.array_equal(factor != 0, np.broadcast_to(kept[:, None, None], factor.shape))
        np.testing.assert_allclose(factor[kept], 1 / 0.7, rtol=1e-5)
    assert len(found) == 2 and not np.array_equal(*found)


@pytest.mark.parametrize(
    ("before", "after", "reach"),
    [
        (0, 0, (0, 0, 0)),
        (19, 26, (0, 0, 0)),
        (20, 27, (1, 0, 1)),
        (27, 0, (1, 1, 0)),
        (32, 32, (1, 1, 1)),
    ],
)
def test_prepared_are_onset_apex_and_their_reach(before, after, reach):
    clip = PreparedClip(
        "made/up/clip",
        colour=pictures(1, 7, 224, 224, 3),
        frames=np.zeros((before + after + 1, 224, 224), np.uint8),
        apex_index=before,
    )
    whole = Model().prepare(clip, flow_method("dis"), 224)
    assert np.array_equal(whole["onset"], clip.colour[:2])
    assert np.array_equal(whole["apex"], clip.colour[3:6])
    assert tuple(whole["reach"]) == reach
    small = Model().prepare(clip, flow_method("dis"), 56)
    assert {name: array.shape for name, array in small.items()} == Model().input_shapes(56)
    assert {str(array.dtype) for array in small.values()} == {"uint8", "float32"}
    areas = clip.colour[3:6].reshape(3, 56, 4, 56, 4, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(small["apex"], areas, atol=0.51)


def test_augmentation_draws_within_reach_and_moves_both_alike(monkeypatch):
    turn_and_cut = mmnet.turn_and_cut
    turned = []

    def note(pictures, degrees, corner, size, fill):
        turned.append((degrees, corner, fill))
        return turn_and_cut(pictures, jnp.zeros_like(degrees), corner, size, fill)

    @jax.jit
    def augmented(inputs):
        return Model().augment(jax.random.key(0), inputs, unused), tuple(turned)

    monkeypatch.setattr(mmnet, "turn_and_cut", note)
    side, clips = 56, 240
    place = np.arange(side * side).reshape(side, side, 1)
    # Every value tells its frame, row and column.
    onset = np.stack([place, place + 1e4])
    apex = np.stack([place, place + 1e4, place + 2e4])
    reach = np.array([(0, 0, 0), (1, 0, 1), (1, 1, 0), (0, 1, 1)], np.float32)
    out, ((degrees, corner, fill),) = augmented(
        {
            "onset": jnp.asarray(np.broadcast_to(onset, (clips, 2, side, side, 3)), jnp.float32),
            "apex": jnp.asarray(np.broadcast_to(apex, (clips, 3, side, side, 3)), jnp.float32),
            "reach": jnp.tile(jnp.asarray(reach), (clips // 4, 1)),
        }
    )
    onset, apex = np.asarray(out["onset"]), np.asarray(out["apex"])
    assert onset.shape == apex.shape == (clips, side, side, 3)
    inner = (slice(None), slice(2, -2), slice(2, -2), 0)
    drawn_onset, place_onset = np.divmod(onset[inner].astype(int), 10_000)
    drawn_apex, place_apex = np.divmod(apex[inner].astype(int), 10_000)
    assert np.array_equal(place_onset, place_apex)
    for kind, (onsets, apexes) in enumerate(
        [({0}, {1}), ({0, 1}, {1, 2}), ({0, 1}, {0, 1}), ({0}, {0, 1, 2})]
    ):
        assert set(np.unique(drawn_onset[kind::4])) == onsets
        assert set(np.unique(drawn_apex[kind::4])) == apexes
    row, column = np.divmod(place_onset, side)
    step = column[:, 0, 1] - column[:, 0, 0]
    assert set(step) == {-1, 1} and abs(step.mean()) < 0.3
    # 4 pixels of 224: 1 of 56.
    assert np.array_equal(row[:, 0, 0], 2 + np.asarray(corner)[:, 0])
    assert set(map(tuple, np.asarray(corner).tolist())) == {
        (r, c) for r in (-1, 0, 1) for c in (-1, 0, 1)
    }
    np.testing.assert_allclose(fill, np.tile(MEAN, 2), rtol=1e-6)
    assert -4 <= degrees.min() < -3.5 and 3.5 < degrees.max() <= 4


def test_what_comes_in_from_outside_has_no_motion():
    inputs = {
        "onset": jnp.zeros((30, 2, 56, 56, 3)),
        "apex": jnp.full((30, 3, 56, 56, 3), 255.0),
        "reach": jnp.ones((30, 3)),
    }
    out = jax.jit(Model().augment, static_argnums=2)(jax.random.key(0), inputs, unused)
    onset, apex = np.asarray(out["onset"]), np.asarray(out["apex"])
    outside = (onset > 0).any(axis=-1)
    assert 0.001 < outside.mean() < 0.1
    assert np.array_equal(onset[outside], apex[outside])
    np.testing.assert_allclose(onset[outside], np.tile(MEAN, (outside.sum(), 1)), rtol=1e-6)
    assert (apex[~outside] == 255).all()
