"""STSTNet, and the layer that computes most of it at once (`layers/convolve_and_pool.py`)."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from atnet_jax.models import ststnet
from atnet_jax.models.layers import convolve_and_pool
from atnet_jax.models.layers.convolve_and_pool import ConvolveAndPool, drop_half
from atnet_jax.models.ststnet import FastModel, Model
from tests.models.against_reference import (
    KEYS,
    apply,
    flow_maps,
    random_variables,
    training_gradient,
)
from tests.reference.plain_layers import unit_range


def begin(network, inputs):
    """Its first variables, in one program: outside one, each operation is compiled by itself."""
    return jax.jit(lambda inputs: network.init(KEYS, inputs, train=True))(inputs)


def scores_of(network):
    """What it gives in test mode, in one program."""
    return jax.jit(lambda variables, inputs: network.apply(variables, inputs, train=False))


@pytest.mark.parametrize("weight", [None, jnp.array([1.0, 1, 1, 0])])
def test_trained_is_the_plain_network(weight, monkeypatch):
    """Same variables, logits, statistics and gradients; scales of both signs; without dropout."""
    monkeypatch.setattr(ststnet, "drop_half", lambda key, x: x)
    fast, inputs = Model().for_training(), {"flow_map": flow_maps()}
    assert isinstance(fast, FastModel)
    plain, same = (begin(network, inputs) for network in (Model(), fast))
    jax.tree.map(np.testing.assert_array_equal, plain, same)
    variables = random_variables(Model(), inputs, False)

    def check(of):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * np.abs(b).max()),
            of(fast),
            of(Model()),
        )

    rngs = {"dropout": KEYS["dropout"]}
    monkeypatch.setattr(FastModel, "make_rng", lambda self, name: rngs[name])
    check(lambda network: apply(network, variables, inputs, False)[0])
    check(lambda network: apply(network, variables, inputs, True, weight))
    check(lambda network: training_gradient(network, variables, inputs))


@pytest.mark.parametrize("model", [Model(), FastModel()])
def test_is_the_three_streams_of_its_paper(model):
    """Against the layers written out one stream at a time, with XLA's own convolutions."""
    inputs = {"flow_map": flow_maps()}
    variables = begin(model, inputs)

    @jax.jit
    def written_out(p, x):
        streams = []
        for filters in (slice(0, 3), slice(3, 8), slice(8, 16)):
            kernel = p["streams"]["kernel"][:, filters].reshape(3, 3, 3, -1)
            y = jax.lax.conv_general_dilated(
                x, kernel, (1, 1), ((2, 2), (2, 2)), dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            y = jnp.maximum(y + p["streams"]["bias"][filters], 0) / np.sqrt(1 + 1e-5)
            y = jax.lax.reduce_window(
                y, -jnp.inf, jax.lax.max,
                (1, 3, 3, 1), (1, 3, 3, 1), ((0, 0), (1, 1), (1, 1), (0, 0)),
            )  # fmt: skip
            assert y.shape[1:3] == (10, 10)
            streams.append(y.reshape(4, 5, 2, 5, 2, -1).mean((2, 4)))
        flat = jnp.concatenate(streams, axis=-1).reshape(4, 400)
        return flat @ p["classifier"]["kernel"] + p["classifier"]["bias"]

    levels = 255 * unit_range(np.asarray(inputs["flow_map"]))
    expected = written_out(variables["params"], levels)
    out = scores_of(model)(variables, inputs)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("model", [Model(), FastModel()])
def test_sees_only_the_relative_flow(model):
    levels = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 3)).astype(np.float32)
    levels[:, 0, 0], levels[:, 0, 1] = 0, 255
    variables, scores = begin(model, {"flow_map": jnp.asarray(levels)}), scores_of(model)
    as_published, in_pixels = (
        scores(variables, {"flow_map": jnp.asarray(maps)}) for maps in (levels, levels * 0.01 - 1.3)
    )
    np.testing.assert_allclose(in_pixels, as_published, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("weight", [None, jnp.array([1.0, 1, 1, 0])])
def test_layers_computed_at_once_are_the_layers(weight):
    """Against convolution, normalisation, then pooling; with negative scales among the channels."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(4, 28, 28, 3)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(3, 3, 3, 5)), jnp.float32)
    bias = jnp.asarray(rng.normal(size=5), jnp.float32)
    params = {
        "scale": jnp.asarray([1.0, -0.5, 2.0, -1.0, 0.3]),
        "bias": jnp.asarray(rng.normal(size=5), jnp.float32),
    }
    target = rng.normal(size=(4, 10, 10, 5)).astype(np.float32)
    if weight is not None:
        target *= np.asarray(weight)[:, None, None, None]
    layer, plain = ConvolveAndPool(), nn.BatchNorm(use_running_average=False, momentum=0.9)
    stats = jax.jit(lambda: layer.init(KEYS, x, kernel, bias, True)["batch_stats"])()

    def ours(params, kernel, bias):
        variables = {"params": params, "batch_stats": stats}
        out, updated = layer.apply(
            variables, x, kernel, bias, True, weight, mutable=["batch_stats"]
        )
        return (out.reshape(5, 4, 10, 10).transpose(1, 2, 3, 0) * target).sum(), updated

    def reference(params, kernel, bias):
        mask = None if weight is None else weight[:, None, None, None] > 0
        variables = {"params": params, "batch_stats": stats}
        y = jax.lax.conv_general_dilated(
            x, kernel, (1, 1), ((2, 2), (2, 2)), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )  # fmt: skip
        y = nn.relu(y + bias)
        y, updated = plain.apply(variables, y, mask=mask, mutable=["batch_stats"])
        return (nn.max_pool(y, (3, 3), (3, 3), [(1, 1), (1, 1)]) * target).sum(), updated

    got, expected = (
        jax.jit(jax.value_and_grad(of, argnums=(0, 1, 2), has_aux=True))(params, kernel, bias)
        for of in (ours, reference)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), got, expected)


@pytest.mark.parametrize("weight", [None, jnp.array([1.0, 0, 1, 1, 1])])
def test_clips_are_looked_at_in_chunks_to_the_same_result(weight, monkeypatch):
    """The last chunk is ragged: two, two, and one clip."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(5, 28, 28, 3)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(3, 3, 3, 4)), jnp.float32)
    bias = jnp.asarray(rng.normal(size=4), jnp.float32)
    target = jnp.asarray(rng.normal(size=(4, 5, 100)), jnp.float32)
    layer = ConvolveAndPool()
    variables = {
        "params": {"scale": jnp.ones(4), "bias": jnp.zeros(4)},
        "batch_stats": {"mean": jnp.zeros(4), "var": jnp.ones(4)},
    }

    def result():
        @functools.partial(jax.value_and_grad, has_aux=True)
        def loss(kernel):
            out, updated = layer.apply(
                variables, x, kernel, bias, True, weight, mutable=["batch_stats"]
            )
            return (out * target).sum(), (out, updated)

        return jax.jit(loss)(kernel)

    whole = result()
    monkeypatch.setattr(convolve_and_pool, "_CHUNK", 2)
    chunks = result()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), chunks, whole)


def test_half_is_dropped_and_the_rest_doubled():
    x = np.arange(1, 16 * 3 * 100 + 1, dtype=np.float32).reshape(16, 3, 100)
    drop = jax.jit(drop_half)
    kept = np.asarray(drop(jax.random.key(0), x)) / x
    assert set(np.unique(kept)) == {0, 2}
    assert abs(kept.mean() - 1) < 0.05
    # No pattern along any axis: neighbours are kept independently.
    for axis in range(3):
        together = kept * np.roll(kept, 1, axis)
        assert abs(together.mean() - 1) < 0.08
    assert not np.array_equal(kept, np.asarray(drop(jax.random.key(1), x)) / x)
