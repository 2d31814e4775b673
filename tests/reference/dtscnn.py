"""DTSCNN in plain NumPy, float64: convolution and pooling of volumes, place by place."""

from typing import Any

import numpy as np

from tests.reference.plain_layers import Array, linear, relu


def logits(params: Any, flows_64: Array, flows_128: Array) -> Array:
    """Of sequences of flow `[clip, step, row, column, 2]`."""
    features = []
    for steps, flows in ((64, flows_64), (128, flows_128)):
        x, own = flows, params[f"stream_{steps}"]
        for name in ("conv1", "conv2"):
            layer = own[name]["conv"]
            # Kernel: row, column, step and channel of the input (in this order), channel.
            kernel = layer["kernel"].reshape(3, 3, 3, x.shape[-1], -1)
            x = pool(relu(convolution(x, kernel) + layer["bias"]))
        features.append(x.reshape(len(x), -1))
    return linear(np.concatenate(features, axis=1), params["classifier"])


def convolution(x: Array, kernel: Array) -> Array:
    """3×3×3, zeros around; `kernel[row, column, step]`."""
    _, time, height, width, _ = x.shape
    out = np.zeros((*x.shape[:4], kernel.shape[-1]))
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (1, 1), (0, 0)))
    for t in range(3):
        for i in range(3):
            for j in range(3):
                seen = padded[:, t : t + time, i : i + height, j : j + width]
                out += seen @ kernel[i, j, t]
    return out


def pool(x: Array) -> Array:
    """The largest of 4 steps, 2 rows and 2 columns."""
    batch, time, height, width, channels = x.shape
    out = np.zeros((batch, time // 4, height // 2, width // 2, channels))
    for t, i, j in np.ndindex(out.shape[1:4]):
        volume = x[:, 4 * t : 4 * t + 4, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        out[:, t, i, j] = volume.max(axis=(1, 2, 3))
    return out
