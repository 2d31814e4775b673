import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from atnet_jax.models.layers import pytorch
from atnet_jax.models.layers.batch_norm import BatchNorm
from atnet_jax.models.layers.convolution import Conv
from atnet_jax.models.layers.head import Classifier, l2_normalise
from atnet_jax.models.layers.lstm import LSTM, TemporalStream
from atnet_jax.models.layers.pooling import largest, max_pool, max_pool_rounding_up
from atnet_jax.models.layers.resnet10 import ResNet10
from atnet_jax.system import backend

# Computations are programs (`jax.jit`): outside one, XLA compiles each operation by itself, which
# takes several times as long as the whole.


def begin(layer, *inputs):
    """The layer's first variables."""
    return jax.jit(lambda key, *arrays: layer.init(key, *arrays))(jax.random.key(0), *inputs)


def begin_training(layer, x):
    """The same of a layer that is told whether it trains."""
    return jax.jit(lambda key, x: layer.init(key, x, True))(jax.random.key(0), x)


@pytest.mark.parametrize(("size", "expected"), [(112, 56), (56, 28), (7, 3), (8, 4), (3, 1)])
def test_pooling_rounds_up_and_ignores_the_outside(size, expected):
    x = np.random.default_rng(0).uniform(-2, -1, (1, size, size, 1)).astype(np.float32)
    out = np.asarray(jax.jit(max_pool_rounding_up)(x))[0, :, :, 0]
    reference = np.array(
        [
            [x[0, i : i + 3, j : j + 3, 0].max() for j in range(0, size - 1, 2)[:expected]]
            for i in range(0, size - 1, 2)[:expected]
        ]
    )
    assert out.shape == (expected, expected)
    assert np.array_equal(out, reference)


def test_resnet10_shapes_follow_the_release():
    images = jnp.zeros((1, 224, 224, 1))
    _, state = jax.eval_shape(
        lambda: ResNet10().init_with_output(
            jax.random.key(0), images, True, capture_intermediates=True
        )
    )
    shapes = {
        name: value["__call__"][0].shape[1:] for name, value in state["intermediates"].items()
        if name != "__call__"
    }  # fmt: skip
    assert shapes["data_bn"] == (224, 224, 1)
    assert shapes["conv1"] == (112, 112, 64)
    assert shapes["layer_64_1_conv1"] == shapes["layer_64_1_conv2"] == (56, 56, 64)
    for channels, size in ((128, 28), (256, 14), (512, 7)):
        for conv in ("conv1", "conv2", "conv_expand"):
            assert shapes[f"layer_{channels}_1_{conv}"] == (size, size, channels)
    with_bias = {
        name for name, layer in state["params"].items() if "kernel" in layer and "bias" in layer
    }
    assert with_bias == {"conv1"}
    assert sum(p.size for p in jax.tree.leaves(state["params"])) == 4_897_794


@pytest.mark.parametrize("kind", [BatchNorm, pytorch.BatchNorm])
def test_a_batch_without_a_clip_that_counts_is_finite(kind):
    """A fold with fewer clips may have none left in a step; its state is kept, its loss added."""
    layer = kind()
    x = jnp.asarray(np.random.default_rng(0).normal(3, 2, (4, 5, 5, 2)), jnp.float32)
    variables = begin_training(layer, x)

    def total(params):
        out, updated = layer.apply(
            {**variables, "params": params}, x, True, jnp.zeros(4), mutable=["batch_stats"]
        )
        return jnp.square(out).sum(), updated

    (value, updated), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(
        variables["params"]
    )
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((gradient, updated)))


def test_batch_norm_keeps_statistics_as_caffe():
    rng = np.random.default_rng(0)
    batches = rng.normal(3, 2, (3, 4, 5, 5, 2)).astype(np.float32)
    layer = BatchNorm()
    variables = begin_training(layer, batches[0])
    train = jax.jit(lambda variables, x: layer.apply(variables, x, True, mutable=["batch_stats"]))
    mean_sum, variance_sum, weight = np.zeros(2), np.zeros(2), 0.0
    for batch in batches:
        out, updated = train(variables, batch)
        variables = {**variables, **updated}
        pixels = batch.reshape(-1, 2).astype(np.float64)
        normalised = (pixels - pixels.mean(0)) / np.sqrt(pixels.var(0) + 1e-5)
        np.testing.assert_allclose(np.asarray(out).reshape(-1, 2), normalised, atol=1e-4)
        # Caffe's blobs: decayed sums, and the factor to divide them by.
        mean_sum = 0.999 * mean_sum + pixels.mean(0)
        variance_sum = 0.999 * variance_sum + pixels.var(0, ddof=1)
        weight = 0.999 * weight + 1
    tested = jax.jit(lambda x: layer.apply(variables, x, False))(batches[0])
    expected = (batches[0] - mean_sum / weight) / np.sqrt(variance_sum / weight + 1e-5)
    np.testing.assert_allclose(tested, expected, atol=1e-4)


def test_batch_norm_keeps_no_statistics_of_clips_that_only_pad():
    x = np.random.default_rng(0).normal(3, 2, (4, 2, 2, 3)).astype(np.float32)
    weight = np.float32([1, 0, 1, 1])
    layer = BatchNorm()
    variables = begin_training(layer, x)

    @jax.jit
    def statistics(x, weight=None):
        return layer.apply(variables, x, True, weight, mutable=["batch_stats"])[1]

    padded, plain = statistics(x, weight), statistics(x[weight > 0])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), padded, plain)


def test_batch_norm_before_any_training_leaves_its_input():
    x = np.arange(8, dtype=np.float32).reshape(4, 2)
    layer = BatchNorm()
    variables = begin_training(layer, x)
    tested = jax.jit(lambda x: layer.apply(variables, x, False))(x)
    np.testing.assert_allclose(tested, x, rtol=1e-4)


def test_lstm_against_a_plain_loop():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 5, 3)).astype(np.float32)
    layer = LSTM(hidden=4)
    variables = begin(layer, x)
    bias = rng.normal(size=16).astype(np.float32)
    variables["params"]["gate_bias"] = jnp.asarray(bias)
    w, r = (np.asarray(variables["params"][k]) for k in ("input_kernel", "recurrent_kernel"))

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    expected = np.zeros((2, 5, 4))
    for clip in range(2):
        cell, output = np.zeros(4), np.zeros(4)
        for t in range(5):
            gates = x[clip, t] @ w + output @ r + bias
            i, f, o, g = gates[:4], gates[4:8], gates[8:12], gates[12:]
            cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
            output = sigmoid(o) * np.tanh(cell)
            expected[clip, t] = output
    np.testing.assert_allclose(jax.jit(layer.apply)(variables, x), expected, atol=1e-5)


def test_lstm_starts_as_released():
    params = begin(TemporalStream(), np.zeros((1, 64, 128), np.float32))["params"]
    assert sum(p.size for p in jax.tree.leaves(params["lstm1"])) == 1_312_768
    assert sum(p.size for p in jax.tree.leaves(params["lstm2"])) == 2_099_200
    for layer in params.values():
        assert not np.any(layer["gate_bias"])
        for kernel in ("input_kernel", "recurrent_kernel"):
            values = np.asarray(layer[kernel], np.float64)
            assert abs(values.std() - 0.1) < 1e-3
            assert abs(values.mean()) < 1e-3


def test_classifier_starts_as_released():
    params = begin(Classifier(), np.zeros((1, 1024), np.float32))["params"]
    layer = params["Micro_expression"]
    np.testing.assert_allclose(layer["bias"], 0.2)
    limit = np.sqrt(3 / 1024)
    assert 0.98 * limit < np.abs(np.asarray(layer["kernel"])).max() <= limit


def test_l2_normalise_has_unit_length_and_a_gradient_at_zero():
    x = np.float32([[3, 4], [0, 0]])
    out, back = jax.jit(lambda x: (l2_normalise(x), jax.grad(lambda x: l2_normalise(x).sum())(x)))(
        x
    )
    np.testing.assert_allclose(out, [[0.6, 0.8], [0, 0]], atol=1e-6)
    assert np.isfinite(back).all()


@pytest.mark.parametrize(
    "side", [10, 13, 40]
)  # Patches on a CPU up to 14 output rows; beyond, XLA.
@pytest.mark.parametrize(
    ("size", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (1, 2, 0), (7, 2, 3)]
)
def test_convolution_is_that_of_xla(side, size, stride, padding):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, side, side + 1, 3)).astype(np.float32)
    kernel = rng.normal(0, 0.3, size=(size, size, 3, 5)).astype(np.float32)
    bias = np.arange(5, dtype=np.float32)
    layer = Conv(5, size, stride, padding, use_bias=True)

    @jax.jit
    def both(x, kernel):
        expected = jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), [(padding, padding)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest",
        ) + bias  # fmt: skip
        return layer.apply({"params": {"kernel": kernel, "bias": bias}}, x), expected

    out, expected = both(x, kernel)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("height", [9, 12])
def test_pooling_passes_its_gradient_to_the_first_maximum(height):
    """As Caffe; XLA's own gradient agrees, ties included, if it takes the first too."""
    levels = np.random.default_rng(0).integers(0, 4, (2, height, 11, 3)).astype(np.float32)
    rows, columns = (-(-(size - 3) // 2) + 1 for size in (height, 11))
    target = np.random.default_rng(1).normal(size=(2, rows, columns, 3)).astype(np.float32)
    expected = np.zeros_like(levels)
    for clip, row, column, channel in np.ndindex(*target.shape):
        window = levels[clip, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3, channel]
        i, j = np.unravel_index(window.argmax(), window.shape)
        expected[clip, 2 * row + i, 2 * column + j, channel] += target[clip, row, column, channel]

    @jax.jit
    def gradient(levels, target):
        out, back = jax.vjp(max_pool_rounding_up, levels)
        assert out.shape == target.shape
        return back(target)[0]

    np.testing.assert_allclose(gradient(levels, target), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("height", "size", "stride", "padding"),
    [(20, 3, 1, 1), (20, 3, 2, 1), (19, 3, 2, 1), (21, 1, 2, 0), (22, 7, 2, 3), (23, 7, 2, 3)],
)
def test_convolutions_have_xla_s_gradients(height, size, stride, padding):
    from atnet_jax.models.layers import convolution

    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, height, height + 3, 4)).astype(np.float32)
    kernel = rng.normal(size=(size, size, 4, 5)).astype(np.float32)

    @jax.jit
    def gradients(x, kernel):
        found = []
        for fn in (
            convolution._convolve, convolution._convolve_on_cpu, convolution._multiply_patches,
        ):  # fmt: skip
            out, back = jax.vjp(functools.partial(fn, stride, padding), x, kernel)
            found.append((out, *back(jnp.cos(out))))
        return found

    plain, *others = gradients(x, kernel)
    for other in others:
        for ours, theirs in zip(other, plain, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("weight", [None, jnp.asarray(np.float32([1, 0, 1, 1]))])
def test_batch_norm_has_the_gradient_of_its_formula(weight):
    rng = np.random.default_rng(0)
    x = rng.normal(2, 3, size=(4, 3, 3, 5)).astype(np.float32)
    target = rng.normal(size=x.shape).astype(np.float32)
    if weight is not None:  # A clip that does not count has no part in the loss.
        target *= np.asarray(weight)[:, None, None, None]
    params = {"scale": rng.normal(size=5).astype(np.float32), "bias": np.ones(5, np.float32)}
    layer = BatchNorm()
    statistics = begin_training(layer, x)["batch_stats"]

    def ours(params, x):
        y, _ = layer.apply({"params": params, "batch_stats": statistics}, x, True, weight,
                           mutable=["batch_stats"])  # fmt: skip
        return (y * target).sum()

    def formula(params, x):
        real = x if weight is None else x[np.flatnonzero(weight)]
        y = (x - real.mean((0, 1, 2))) / jnp.sqrt(real.var((0, 1, 2)) + 1e-5)
        return ((y * params["scale"] + params["bias"]) * target).sum()

    got = jax.jit(jax.value_and_grad(ours, argnums=(0, 1)))(params, x)
    expected = jax.jit(jax.value_and_grad(formula, argnums=(0, 1)))(params, x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), got, expected)


def test_the_lstm_has_the_gradient_of_its_recurrence():
    import flax.linen as nn

    layer = LSTM(hidden=6)
    x = np.random.default_rng(0).normal(size=(2, 7, 4)).astype(np.float32)
    params = begin(layer, x)["params"]

    def formula(params, x):
        cell = output = jnp.zeros((2, 6))
        total = 0.0
        for now in x.swapaxes(0, 1):
            gates = now @ params["input_kernel"] + params["gate_bias"]
            i, f, o, g = jnp.split(gates + output @ params["recurrent_kernel"], 4, axis=-1)
            cell = nn.sigmoid(f) * cell + nn.sigmoid(i) * jnp.tanh(g)
            output = nn.sigmoid(o) * jnp.tanh(cell)
            total += (jnp.sin(output) * jnp.arange(6)).sum()
        return total

    def ours(params, x):
        return (jnp.sin(layer.apply({"params": params}, x)) * jnp.arange(6)).sum()

    got = jax.jit(jax.value_and_grad(ours, argnums=(0, 1)))(params, x)
    expected = jax.jit(jax.value_and_grad(formula, argnums=(0, 1)))(params, x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), got, expected)


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
@pytest.mark.parametrize(
    ("size", "stride", "padding"), [(2, 2, 0), (3, 3, 0), (3, 3, 1), (3, 2, 1)]
)
def test_max_pool_against_a_plain_loop_and_its_gradient(size, stride, padding, platform):
    """Every window gives its gradient to its first maximum, also after a normalised ReLU."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 4, (2, 11, 8, 3)).astype(np.float32)
    padded = np.pad(x, ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0)), constant_values=-np.inf)
    rows, columns = ((length - size) // stride + 1 for length in padded.shape[1:3])
    expected, gradient = np.zeros((2, rows, columns, 3)), np.zeros(padded.shape)
    weights = rng.normal(size=expected.shape)
    for clip, i, j, channel in np.ndindex(expected.shape):
        window = padded[clip, i * stride :, j * stride :, channel][:size, :size]
        row, column = np.unravel_index(window.argmax(), window.shape)
        expected[clip, i, j, channel] = window[row, column]
        gradient[clip, i * stride + row, j * stride + column, channel] += weights[
            clip, i, j, channel
        ]

    @jax.jit
    def pool(x, weights):
        out, back = jax.vjp(lambda x: max_pool(x, size, stride, padding), x)
        return out, back(weights)[0]

    with backend.tracing_for(platform):
        out, passed_back = pool(x, weights.astype(np.float32))
    np.testing.assert_array_equal(out, expected)
    inside = slice(padding, -padding or None)
    np.testing.assert_allclose(passed_back, gradient[:, inside, inside], atol=1e-5)


@pytest.mark.parametrize("axis", [0, -1])
def test_largest_gives_its_gradient_to_the_first(axis):
    x = np.float32([[1, 3, 3], [2, 3, -1]])
    values, found = jax.jit(
        lambda x: (largest(x, axis), jax.grad(lambda x: largest(x, axis).sum())(x))
    )(x)
    np.testing.assert_array_equal(values, x.max(axis))
    expected = {0: [[0, 1, 1], [1, 0, 0]], -1: [[0, 1, 0], [0, 1, 0]]}
    np.testing.assert_array_equal(found, expected[axis])
