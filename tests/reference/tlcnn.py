"""TLCNN as in this package, in plain NumPy, float64: ResNet-10 on each frame, then an LSTM."""

from typing import Any

import numpy as np

from tests.reference.image_layers import convolution
from tests.reference.plain_layers import Array, linear, relu


def logits(params: Any, running: Any, sequence: Array, train: bool) -> Array:
    """Of sequences `[clip, frame, row, column]`; `running` moves in training, in place."""
    clips, length = sequence.shape[:2]
    frames = sequence.reshape(clips * length, *sequence.shape[2:], 1)
    features = resnet10(params["spatial"], running["spatial"], frames, train)
    features = features.reshape(clips, length, -1)
    last = np.array([last_output(params["lstm"], clip) for clip in features])
    return linear(last, params["classifier"]["Micro_expression"])


def resnet10(params: Any, running: Any, x: Array, train: bool) -> Array:
    def norm(name: str, x: Array) -> Array:
        return normalised(x, params[name], running[name], train)

    def conv(name: str, x: Array, stride: int = 1, padding: int = 1) -> Array:
        return convolution(x, params[name]["kernel"], stride=stride, padding=padding)

    x = conv("conv1", norm("data_bn", x), 2, 3) + params["conv1"]["bias"]
    x = pooled(relu(norm("conv1_bn", x)))
    x = x + conv("layer_64_1_conv2", relu(norm("layer_64_1_bn2", conv("layer_64_1_conv1", x))))
    for channels in (128, 256, 512):
        layer = f"layer_{channels}_1"
        x = relu(norm(f"{layer}_bn1", x))
        first = relu(norm(f"{layer}_bn2", conv(f"{layer}_conv1", x, 2)))
        x = conv(f"{layer}_conv2", first) + conv(f"{layer}_conv_expand", x, 2, 0)
    return relu(norm("last_bn", x)).mean(axis=(1, 2))


def normalised(x: Array, layer: Any, running: Any, train: bool) -> Array:
    """Caffe's: running sums, which a weight divides."""
    if train:
        values = x.reshape(-1, x.shape[-1])
        mean, variance = values.mean(0), values.var(0)
        new = {"mean_sum": mean, "variance_sum": values.var(0, ddof=1), "weight_sum": 1.0}
        for name, value in new.items():
            running[name] = 0.999 * running[name] + value
    else:
        mean = running["mean_sum"] / running["weight_sum"]
        variance = running["variance_sum"] / running["weight_sum"]
    return (x - mean) / np.sqrt(variance + 1e-5) * layer["scale"] + layer["bias"]


def pooled(x: Array) -> Array:
    """3×3 windows, 2 apart; the last may reach over the edge."""
    rows = range(0, x.shape[1] - 1, 2)
    columns = range(0, x.shape[2] - 1, 2)
    return np.stack(
        [
            np.stack([x[:, r : r + 3, c : c + 3].max(axis=(1, 2)) for c in columns], axis=1)
            for r in rows
        ],
        axis=1,
    )


def last_output(params: Any, steps: Array) -> Array:
    """Of one clip, `[step, feature]`; gates in the order input, forget, output, candidate."""
    hidden = params["recurrent_kernel"].shape[0]
    cell, output = np.zeros(hidden), np.zeros(hidden)
    for x in steps:
        gates = x @ params["input_kernel"] + output @ params["recurrent_kernel"]
        i, f, o, g = np.split(gates + params["gate_bias"], 4)
        cell = cell / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        output = np.tanh(cell) / (1 + np.exp(-o))
    return output
