"""HTNet in plain NumPy, with our names of its parameters: queries, keys and windows included."""

import math
from typing import Any

import numpy as np

from tests.reference.plain_layers import Array, convolution, gelu, layer_norm, linear, max_pool

# The published code's, with which it finds no face.
FALLBACK = [
    (9.528073, 11.062551),
    (21.396168, 10.919773),
    (15.380184, 17.380562),
    (10.255435, 22.121233),
    (20.583706, 22.25584),
]


def regions(picture: Array, points: Any) -> Array:
    """Four crops of 14×14 of a picture `[28, 28, 3]`, around eyes and corners of the mouth."""
    crops = []
    for x, y in points:
        x, y = (int(min(max(value, 7), 21)) for value in (x, y))
        crop = np.zeros((14, 14, 3), picture.dtype)
        for i in range(14):
            for j in range(14):
                crop[i, j] = picture[x - 7 + i, y - 7 + j]
        crops.append(crop)
    eye_left, eye_right, _, mouth_left, mouth_right = crops
    above = np.concatenate([eye_left, eye_right], axis=1)
    below = np.concatenate([mouth_left, mouth_right], axis=1)
    return np.concatenate([above, below], axis=0)


def attention(x: Array, heads: int, p: Any) -> Array:
    """Within one window `[clip, position, channel]`, of however many positions."""
    channels = x.shape[-1]
    size = channels // heads
    query, key = np.split(x @ p["query_key"], 2, axis=-1)
    value = x @ p["value"]["kernel"]
    outputs = []
    for head in range(heads):
        own = slice(head * size, (head + 1) * size)
        scores = query[..., own] @ key[..., own].swapaxes(1, 2) / math.sqrt(size)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        outputs.append(weights @ value[..., own])
    return linear(np.concatenate(outputs, -1), p["out"])


def block(x: Array, heads: int, p: Any) -> Array:
    """Of one window."""
    x = x + attention(layer_norm(x, p["attention_norm"]), heads, p["attention"])
    hidden = linear(layer_norm(x, p["perceptron_norm"]), p["wide"])
    return x + linear(gelu(hidden), p["narrow"])


def hierarchy(pictures: Array, heads: int, blocks: tuple[int, ...], p: Any) -> Array:
    """Of pictures `[clip, 28, 28, 3]`; windows have as many positions at every level."""
    x = np.zeros((len(pictures), 4, 4, 147))
    for i in range(4):
        for j in range(4):
            patch = pictures[:, 7 * i : 7 * i + 7, 7 * j : 7 * j + 7]
            x[:, i, j] = patch.reshape(len(pictures), 147)
    x = linear(x, p["patches"])
    for level in range(len(blocks)):
        if level:
            layer = p[f"aggregate{level}"]
            x = convolution(x, layer["conv"]["kernel"], layer["conv"]["bias"], padding=1)
            x = max_pool(layer_norm(x, layer["norm"]), 3, 2, 1)
        windows = 2 ** (len(blocks) - 1 - level)
        side = x.shape[1] // windows
        out = np.zeros(x.shape)
        for i in range(windows):
            for j in range(windows):
                own = np.s_[:, i * side : (i + 1) * side, j * side : (j + 1) * side]
                window = x[own].reshape(len(x), side * side, -1) + p[f"position{level}"][:, None]
                for number in range(blocks[level]):
                    name = f"level{level}_block{number}"
                    window = block(window, heads * 2**level, p[name])
                out[own] = window.reshape(len(x), side, side, -1)
        x = out
    return layer_norm(x, p["norm"]).mean((1, 2))
