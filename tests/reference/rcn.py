"""RCN-A and RCN-W in plain NumPy, with our names of their parameters."""

from typing import Any

import numpy as np

from tests.reference.plain_layers import (
    Array,
    adaptive_average_pool,
    batch_norm,
    convolution,
    max_pool,
    relu,
)


def attention(x: Array, kernel: Array) -> Array:
    """Clip by clip and class by class; x `[clip, 7, 7, 64]`, kernel `[7, 7, 64, 3]`."""
    out = np.zeros((*x.shape[:3], 1))
    for clip in range(len(x)):
        maps = []
        for k in range(kernel.shape[-1]):
            seen = np.zeros(x.shape[1:3])
            for channel in range(x.shape[-1]):
                seen += x[clip, :, :, channel] * kernel[:, :, channel, k]
            seen /= x.shape[-1]
            seen -= seen.min()
            maps.append(seen / seen.max())
        out[clip, :, :, 0] = sum(maps) / len(maps)
    return out


def conv_norm_relu(x: Array, padding: int, p: Any, running: Any, train: bool) -> Array:
    x = convolution(x, p["conv"]["kernel"], p["conv"]["bias"], padding=padding)
    return relu(batch_norm(x, p["norm"], running["norm"], train))


def recurrent_convolution(x: Array, p: Any, running: Any, train: bool) -> Array:
    y0 = conv_norm_relu(x, 0, p["feed_forward"], running["feed_forward"], train)
    y1 = conv_norm_relu(x + y0, 1, p["recurrent"], running["recurrent"], train)
    y2 = conv_norm_relu(x + y1, 1, p["recurrent"], running["recurrent"], train)
    return max_pool(y2, 2, 2)


def streams(x: Array, p: Any, running: Any, train: bool) -> Array:
    outputs = []
    for k in (1, 2, 3):
        conv = p[f"conv{k}"]
        y = convolution(x, conv["kernel"], conv["bias"], stride=3, padding=k, dilation=k)
        outputs.append(batch_norm(relu(y), p[f"norm{k}"], running[f"norm{k}"], train))
    return np.concatenate(outputs, -1)


def logits(variant: str, x: Array, p: Any, running: Any, train: bool) -> Array:
    """`running`, the statistics, moves in training."""
    kernel, bias = p["classifier"]["kernel"], p["classifier"]["bias"]
    after = "recurrent_convolution"
    if variant == "a":
        x = max_pool(conv_norm_relu(x, 0, p["stem"], running["stem"], train), 2, 2)
        seen = attention(adaptive_average_pool(x, 7), kernel)
        x = recurrent_convolution(x, p[after], running[after], train)
        x = adaptive_average_pool(x, 7) * seen
    else:
        x = streams(x, p["streams"], running["streams"], train)
        x = recurrent_convolution(x, p[after], running[after], train)
        x = adaptive_average_pool(x, 7)
    return x.reshape(len(x), -1) @ kernel.reshape(-1, 3) + bias
