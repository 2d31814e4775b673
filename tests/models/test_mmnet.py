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
    in_float64,
    random_variables,
    unused,
)
from tests.reference import mmnet as reference

MEAN = 255 * np.array([0.485, 0.456, 0.406], np.float32)


def pictures(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def test_transformer_block_to_the_last_digits():
    """An approximate GELU would differ by 0.0005 at most."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 8)), jnp.float32)
    block = TransformerBlock(0.3)
    variables = random_variables(block, x, False)
    out = jax.jit(lambda variables, x: block.apply(variables, x, False))(variables, x)
    params = in_float64(variables["params"])
    expected = [reference.transformer_block(params, clip) for clip in np.asarray(x, np.float64)]
    np.testing.assert_allclose(out, expected, atol=2e-5)


def test_paths_are_dropped_for_whole_clips():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(200, 2, 8)), jnp.float32)
    block = TransformerBlock(0.3)

    @jax.jit
    def factors(x):
        """Return the factors by which dropout scales both residual terms."""
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
    # Every value encodes its frame, row and column.
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


def test_pixels_from_outside_have_no_motion():
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
