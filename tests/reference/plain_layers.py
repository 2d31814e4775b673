"""Layers in plain NumPy, float64: pictures `[clip, row, column, channel]`, kernels HWIO.

Written for being read, not for speed: what networks of ours are held against.
"""

import math

import numpy as np

Array = np.ndarray


def convolution(
    x: Array, kernel: Array, bias: Array, stride: int = 1, padding: int = 0, dilation: int = 1
) -> Array:
    """Cross-correlation, position by position, of a picture padded by zeros."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    reach = dilation * (len(kernel) - 1) + 1
    rows, columns = ((length - reach) // stride + 1 for length in x.shape[1:3])
    out = np.zeros((len(x), rows, columns, kernel.shape[-1]))
    for i in range(rows):
        for j in range(columns):
            top, left = i * stride, j * stride
            seen = x[:, top : top + reach : dilation, left : left + reach : dilation]
            out[:, i, j] = np.tensordot(seen, kernel, 3) + bias
    return out


def max_pool(x: Array, size: int, stride: int, padding: int = 0) -> Array:
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)), constant_values=-np.inf)
    rows, columns = ((length - size) // stride + 1 for length in x.shape[1:3])
    out = np.zeros((len(x), rows, columns, x.shape[-1]))
    for i in range(rows):
        for j in range(columns):
            window = x[:, i * stride : i * stride + size, j * stride : j * stride + size]
            out[:, i, j] = window.max((1, 2))
    return out


def adaptive_average_pool(x: Array, size: int) -> Array:
    height, width = x.shape[1:3]
    out = np.zeros((len(x), size, size, x.shape[-1]))
    for i in range(size):
        top, bottom = math.floor(i * height / size), math.ceil((i + 1) * height / size)
        for j in range(size):
            left, right = math.floor(j * width / size), math.ceil((j + 1) * width / size)
            out[:, i, j] = x[:, top:bottom, left:right].mean((1, 2))
    return out


def relu(x: Array) -> Array:
    return np.where(x > 0, x, 0)


def gelu(x: Array) -> Array:
    """x · P(a standard normal value is less than x)."""
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def layer_norm(x: Array, layer: dict[str, Array]) -> Array:
    """Over the last axis, epsilon 1e-5."""
    centred = x - x.mean(-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return centred / deviation * layer["scale"] + layer["bias"]


def batch_norm(x: Array, layer: dict[str, Array], running: dict[str, Array], train: bool) -> Array:
    """PyTorch's: epsilon 1e-5; in training, `running` moves by a tenth, in place."""
    if train:
        values = x.reshape(-1, x.shape[-1])
        mean, variance = values.mean(0), values.var(0)
        running["mean"] = 0.9 * running["mean"] + 0.1 * mean
        running["var"] = 0.9 * running["var"] + 0.1 * values.var(0, ddof=1)
    else:
        mean, variance = running["mean"], running["var"]
    return (x - mean) / np.sqrt(variance + 1e-5) * layer["scale"] + layer["bias"]


def linear(x: Array, layer: dict[str, Array]) -> Array:
    return x @ layer["kernel"] + layer["bias"]


def unit_range(x: Array) -> Array:
    """Each clip's each channel from its least to its greatest value: 0 to 1."""
    out = np.zeros(x.shape)
    for clip in range(len(x)):
        for channel in range(x.shape[-1]):
            values = x[clip, ..., channel]
            if values.max() > values.min():
                out[clip, ..., channel] = (values - values.min()) / (values.max() - values.min())
    return out


def cross_entropy(logits: Array, labels: Array) -> float:
    """The mean over clips, in float64."""
    losses = [
        math.log(sum(math.exp(value) for value in row)) - row[label]
        for row, label in zip(logits.tolist(), labels, strict=True)
    ]
    return sum(losses) / len(losses)
