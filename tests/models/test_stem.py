"""The first layers of ResNet-10 as TPUs compute them equal the separate layers, on a CPU."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from atnet_jax.models.layers.batch_norm import moments
from atnet_jax.models.layers.resnet10 import ResNet10
from atnet_jax.system import backend


@functools.partial(jax.jit, static_argnames="platform")
def trained(params, batch_stats, image, weight, of_features, platform):
    """Features, updated statistics and gradients of the parameters, traced for a platform."""

    def project(params):
        features, updated = ResNet10().apply(
            {"params": params, "batch_stats": batch_stats}, image, True, weight,
            mutable=["batch_stats"],
        )  # fmt: skip
        return (features * of_features).sum(), (features, updated)

    with backend.tracing_for(platform), jax.default_matmul_precision("highest"):
        return jax.grad(project, has_aux=True)(params)


@functools.partial(jax.jit, static_argnums=1)
def enlarged(small, shape):
    return jax.image.resize(small, shape, "linear")


def smooth(rng, clips, height, width):
    """Pictures whose neighbouring pixels are alike."""
    small = rng.integers(0, 256, (clips, height // 4, width // 4, 1)).astype(np.float32)
    return enlarged(small, (clips, height, width, 1))


@functools.cache
def start():
    """The first variables, which are the same for all sizes."""
    initialise = jax.jit(lambda image: ResNet10().init(jax.random.key(0), image, True))
    return jax.device_get(initialise(np.zeros((1, 32, 32, 1), np.float32)))


def variables(rng):
    """Random variables, with scales of both signs."""
    params = jax.tree.map(
        lambda leaf: leaf + 0.3 * rng.standard_normal(leaf.shape).astype(np.float32),
        start()["params"],
    )
    signs = np.where(np.arange(64) % 3 == 0, -1, 1)
    params["conv1_bn"]["scale"] = params["conv1_bn"]["scale"] * signs
    return params, start()["batch_stats"]


def named(tree):
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


@pytest.mark.parametrize(
    ("clips", "height", "width", "weight"),
    [(5, 32, 32, None), (5, 48, 32, (1, 1, 0, 1, 0)), (40, 4, 8, None)],
    ids=["square", "padded batch", "one row of groups"],
)
def test_equals_the_separate_layers(clips, height, width, weight):
    rng = np.random.default_rng(3)
    image = smooth(rng, clips, height, width)
    weight = None if weight is None else jnp.asarray(weight, jnp.float32)
    of_features = rng.standard_normal((clips, 512)).astype(np.float32)
    of_features = of_features if weight is None else of_features * np.asarray(weight)[:, None]
    arguments = (*variables(rng), image, weight, of_features)
    separate, (features, statistics) = trained(*arguments, platform="cpu")
    own, (own_features, own_statistics) = trained(*arguments, platform="tpu")
    counted = slice(None) if weight is None else np.asarray(weight) > 0
    np.testing.assert_allclose(own_features[counted], features[counted], rtol=1e-3, atol=1e-3)
    for name, expected in named(statistics).items():
        np.testing.assert_allclose(
            named(own_statistics)[name], expected, rtol=1e-4, atol=1e-4, err_msg=name
        )
    # conv1's bias precedes batch norm: its gradient is zero but for rounding.
    scale = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(separate))
    for name, expected in named(separate).items():
        np.testing.assert_allclose(
            named(own)[name], expected, rtol=2e-3, atol=2e-5 * scale, err_msg=name
        )


def test_flat_windows_pass_their_gradient_to_the_first_place():
    """A constant picture has equal values in every window, apart from the border."""
    rng = np.random.default_rng(4)
    # As many clips as in the test above: its programs are compiled already.
    levels = 255 * rng.integers(0, 2, (5, 2, 2, 1)).astype(np.float32)
    image = jnp.asarray(np.repeat(np.repeat(levels, 16, 1), 16, 2))
    of_features = rng.standard_normal((5, 512)).astype(np.float32)
    arguments = (*variables(rng), image, None, of_features)
    separate, _ = trained(*arguments, platform="cpu")
    own, _ = trained(*arguments, platform="tpu")
    np.testing.assert_allclose(
        own["conv1"]["kernel"], separate["conv1"]["kernel"], rtol=2e-3,
        atol=1e-4 * float(np.abs(separate["conv1"]["kernel"]).max()),
    )  # fmt: skip


def test_other_sizes_take_the_separate_layers():
    """As on a GPU, which has no others; the programs are compared as they cannot differ at all."""
    first = start()

    def programs(size):
        image, of_features = np.zeros((2, size, size, 1), np.float32), np.ones((2, 512), np.float32)
        arguments = (first["params"], first["batch_stats"], image, None, of_features)
        return [trained.lower(*arguments, platform=each).as_text() for each in ("tpu", "gpu")]

    for size in (30, 33):
        on_tpus, separate = programs(size)
        assert on_tpus == separate
    on_tpus, separate = programs(32)
    assert on_tpus != separate


def test_moments_in_one_pass():
    x = jnp.asarray(np.random.default_rng(5).normal(3, 0.5, (4, 6, 6, 2)), jnp.bfloat16)
    counts = jnp.asarray([1.0, 0.0, 1.0, 1.0])
    with backend.tracing_for("tpu"):
        mean, variance = jax.jit(moments)(x, counts)
    counted = np.asarray(x, np.float64)[[0, 2, 3]]
    np.testing.assert_allclose(mean, counted.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(variance, counted.var((0, 1, 2)), rtol=1e-4)
