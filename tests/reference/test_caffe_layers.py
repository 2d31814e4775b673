"""The reference itself: gradients by finite differences, forward by definition or by hand."""

import numpy as np
import pytest

from tests.reference import caffe_layers as caffe
from tests.reference import networks

STEP = 1e-5

LAYERS = {
    "convolution": (caffe.Convolution(2, 3, 3, stride=2, pad=1, bias_term=True), [(2, 2, 6, 5)]),
    "convolution 1×1": (caffe.Convolution(3, 2, 1, stride=2), [(2, 3, 5, 4)]),
    "batch norm": (caffe.BatchNorm(2), [(3, 2, 2, 3)]),
    "scale": (caffe.Scale(2), [(3, 2, 2, 3)]),
    "relu": (caffe.ReLU(), [(3, 4)]),
    "sigmoid": (caffe.Sigmoid(), [(3, 4)]),
    "max pooling": (caffe.MaxPooling(3, 2), [(2, 2, 6, 7)]),
    "global pooling": (caffe.GlobalAveragePooling(), [(2, 2, 3, 4)]),
    "sum": (caffe.EltwiseSum(), [(2, 3), (2, 3)]),
    "product": (caffe.EltwiseProduct(), [(2, 3), (2, 3)]),
    "concat": (caffe.Concat(), [(2, 3, 2, 2), (2, 1, 2, 2), (2, 2, 2, 2)]),
    "channel mean": (caffe.ChannelMean(), [(2, 3, 2, 2)]),
    "lstm": (caffe.LSTM(3, 2), [(2, 4, 3)]),
    "time mean": (caffe.TimeMean(), [(2, 4, 3)]),
    "l2 normalise": (caffe.L2Normalise(), [(2, 3)]),
    "inner product": (caffe.InnerProduct(4, 3), [(2, 4)]),
}


def numeric_gradient(function, array):
    """Central differences of a scalar function of `array`, which is changed in place and back."""
    gradient = np.empty_like(array)
    for index in np.ndindex(array.shape):
        value = array[index]
        array[index] = value + STEP
        above = function()
        array[index] = value - STEP
        gradient[index] = (above - function()) / (2 * STEP)
        array[index] = value
    return gradient


def check_gradients(layer, bottoms, train, rng):
    learnable = [k for k, lr_mult in enumerate(layer.lr_mult) if lr_mult]
    for k in learnable:
        layer.blobs[k] = rng.normal(size=layer.blobs[k].shape)
    top_diff = rng.normal(size=layer.forward(train, *bottoms).shape)
    diffs = layer.backward(top_diff)
    arrays = [*bottoms, *(layer.blobs[k] for k in learnable)]
    expected = [*diffs, *(layer.diffs[k] for k in learnable)]
    for array, diff in zip(arrays, expected, strict=True):
        numeric = numeric_gradient(lambda: (layer.forward(train, *bottoms) * top_diff).sum(), array)
        np.testing.assert_allclose(diff, numeric, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_are_finite_differences(name):
    layer, shapes = LAYERS[name]
    rng = np.random.default_rng(0)
    check_gradients(layer, [rng.normal(size=shape) for shape in shapes], True, rng)


def test_gradients_through_running_statistics_and_dropout():
    rng = np.random.default_rng(0)
    norm = caffe.BatchNorm(2)
    norm.blobs = [rng.normal(size=2), rng.uniform(5, 9, 2), np.array([3.0])]
    check_gradients(norm, [rng.normal(size=(3, 2, 2, 3))], False, rng)
    dropout = caffe.Dropout(0.25)
    dropout.mask = rng.random((4, 5)) < 0.75
    check_gradients(dropout, [rng.normal(size=(4, 5))], True, rng)


def test_gradient_of_the_loss():
    rng = np.random.default_rng(0)
    logits, labels, loss = rng.normal(size=(4, 3)), np.array([0, 2, 1, 1]), caffe.SoftmaxWithLoss()
    assert loss.forward(np.zeros((4, 3)), labels) == pytest.approx(np.log(3))
    loss.forward(logits, labels)
    gradient = loss.backward()
    numeric = numeric_gradient(lambda: loss.forward(logits, labels), logits)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-8)


def test_gradients_run_through_a_whole_network():
    # One direction a layer: the layers are checked above; here, that every branch adds its part.
    rng = np.random.default_rng(0)
    net = networks.fill(networks.build("micro_attention"), rng)
    inputs = {"apex": networks.pictures(rng, 3, 24, 20)}
    labels = np.array([0, 1, 2])
    net.forward_backward(inputs, labels)
    for name in ("conv1", "layer_64_1_conv1", "mask_Concat_64_1x1", "layer_256_1_scale1"):
        layer = net.layers[name]
        diff = layer.diffs[0]
        direction = diff / np.linalg.norm(diff) + rng.normal(size=diff.shape) / np.sqrt(diff.size)
        start = layer.blobs[0].copy()
        losses = []
        for step in (1e-6, -1e-6):
            layer.blobs[0][:] = start + step * direction
            losses.append(net.loss.forward(net.forward(inputs, train=True), labels))
        layer.blobs[0][:] = start
        assert (losses[0] - losses[1]) / 2e-6 == pytest.approx((diff * direction).sum(), rel=1e-4)


@pytest.mark.parametrize(("stride", "pad", "size"), [(1, 1, 3), (2, 1, 3), (2, 3, 7), (2, 0, 1)])
def test_convolution_by_definition(stride, pad, size):
    rng = np.random.default_rng(0)
    layer = caffe.Convolution(2, 3, size, stride, pad, bias_term=True)
    layer.blobs = [rng.normal(size=blob.shape) for blob in layer.blobs]
    x = rng.normal(size=(2, 2, 8, 9))
    out = layer.forward(False, x)
    assert out.shape[2:] == tuple((n + 2 * pad - size) // stride + 1 for n in (8, 9))
    for clip, channel, row, column in np.ndindex(out.shape):
        total = layer.blobs[1][channel]
        for source, i, j in np.ndindex(2, size, size):
            y, z = row * stride + i - pad, column * stride + j - pad
            if 0 <= y < 8 and 0 <= z < 9:
                total += layer.blobs[0][channel, source, i, j] * x[clip, source, y, z]
        assert out[clip, channel, row, column] == pytest.approx(total, abs=1e-12)


def test_pooling_rounds_up():
    layer = caffe.MaxPooling(3, 2)
    assert layer.forward(False, np.zeros((1, 1, 112, 111))).shape == (1, 1, 56, 55)
    x = -np.arange(1.0, 25).reshape(1, 1, 4, 6)
    np.testing.assert_array_equal(layer.forward(False, x)[0, 0], [[-1, -3, -5], [-13, -15, -17]])


def test_batch_norm_by_hand():
    layer = caffe.BatchNorm(1)
    np.testing.assert_allclose(
        layer.forward(True, np.array([[1.0], [5.0]])), [[-1], [1]], rtol=2e-6
    )
    layer.forward(True, np.array([[2.0], [4.0]]))
    # Decayed sums of means (3 and 3), of unbiased variances (8 and 2) and of ones.
    np.testing.assert_allclose(
        np.ravel(layer.blobs), [0.999 * 3 + 3, 0.999 * 8 + 2, 1.999], rtol=1e-12
    )
    tested = layer.forward(False, np.array([[7.0]]))
    variance = 9.992 / 1.999
    np.testing.assert_allclose(tested, (7 - 3) / np.sqrt(variance + 1e-5), rtol=1e-12)


@pytest.mark.parametrize(
    ("gates", "expected"),
    [
        # Input, forget, output, candidate; each gate is open at 40, shut at -40.
        ((40, 40, 40, 40), [np.tanh(1), np.tanh(2), np.tanh(3)]),
        ((40, -40, 40, 40), [np.tanh(1)] * 3),
        ((-40, 40, 40, 40), [0, 0, 0]),
        ((40, 40, -40, 40), [0, 0, 0]),
        ((40, 40, 40, -40), [-np.tanh(1), -np.tanh(2), -np.tanh(3)]),
    ],
)
def test_lstm_gates(gates, expected):
    layer = caffe.LSTM(1, 1)
    layer.blobs[1][:] = gates
    np.testing.assert_allclose(layer.forward(False, np.ones((1, 3, 1)))[0, :, 0], expected)


def test_dropout_scales_what_it_keeps():
    layer = caffe.Dropout(0.75)
    layer.mask = np.array([[1, 0]])
    np.testing.assert_array_equal(layer.forward(True, np.array([[2.0, 3.0]])), [[8, 0]])
    np.testing.assert_array_equal(layer.forward(False, np.array([[2.0, 3.0]])), [[2, 3]])


def test_solver_by_hand():
    class Slope(caffe.Net):
        """One weight that the loss rises with, at twice the rate and half the decay."""

        def forward_backward(self, inputs, labels):
            self.layers["only"].diffs = [np.ones(1)]
            return 0.0

    net = Slope()
    only = caffe.ReLU()  # Any layer: only its weight matters.
    only.add_blob((1,), 1, lr_mult=2, decay_mult=0.5)
    net.add("only", only)
    solver = caffe.SGDSolver(net, 0.5, momentum=0.9, weight_decay=0.2, gamma=0.1, stepsize=1)
    solver.step({}, np.zeros(1))
    # Slope 1 + 0.2 · 0.5 · 1 = 1.1; velocity 0.5 · 2 · 1.1 = 1.1.
    assert only.blobs[0] == pytest.approx(-0.1)
    solver.step({}, np.zeros(1))
    # Slope 1 - 0.2 · 0.5 · 0.1 = 0.99; velocity 0.9 · 1.1 + 0.05 · 2 · 0.99 = 1.089.
    assert only.blobs[0] == pytest.approx(-1.189)


@pytest.mark.parametrize(
    ("model", "learnable"),
    [
        ("fusion", 8_312_837),
        ("spatial", 4_899_333),
        ("temporal", 3_413_507),
        ("micro_attention", 5_943_813),
    ],
)
def test_networks_have_the_released_number_of_weights(model, learnable):
    assert networks.build(model).learnable == learnable
