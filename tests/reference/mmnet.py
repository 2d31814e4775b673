"""MMNet in plain NumPy, float64, without drop-path."""

import math
from typing import Any

import numpy as np

from tests.reference.image_layers import convolution
from tests.reference.plain_layers import Array, batch_norm, gelu, linear, max_pool, relu


def logits(params: Any, running: Any, onset: Array, apex: Array, train: bool) -> Array:
    """Of one onset and one apex a clip, RGB 0…255."""
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    onset, apex = ((picture / 255 - mean) / deviation for picture in (onset, apex))
    x = convolution(apex - onset, params["motion_conv"]["kernel"], stride=2, padding=1)
    x = relu(batch_norm(x, params["motion_bn"], running["motion_bn"], train))
    x = convolution(x, params["conv1"]["kernel"], padding=1)
    x = relu(batch_norm(x, params["bn1"], running["bn1"], train))
    before = None
    for number in (1, 2, 3, 4):
        name = f"block{number}"
        if before is not None:
            before = max_pool(before, 3, 2, 1)
        x, before = block(params[name], running[name], x, before, 1 if number == 1 else 2, train)
    x = x + positions(params["positions"], onset, x.shape[1])
    return linear(x.reshape(len(x), -1), params["classifier"])


def block(
    params: Any, running: Any, x: Array, before: Array | None, stride: int, train: bool
) -> tuple[Array, Array]:
    def conv_norm(name: str, x: Array, stride: int = 1, padding: int = 0) -> Array:
        x = convolution(x, params[f"{name}_conv"]["kernel"], stride=stride, padding=padding)
        return batch_norm(x, params[f"{name}_bn"], running[f"{name}_bn"], train)

    y = conv_norm("second", relu(conv_norm("first", x, stride, 1)))
    shortcut = x if stride == 1 else conv_norm("shortcut", x, stride)
    out = relu(y + shortcut)
    seen = np.concatenate([out.mean(-1, keepdims=True), out.max(-1, keepdims=True)], axis=-1)
    attention = 1 / (1 + np.exp(-conv_norm("attention", seen)))
    if before is not None:
        attention = attention * before
    return out * attention, attention


def positions(params: Any, onset: Array, side: int) -> Array:
    """`[clip, side, side, 512]` of normalised onset frames."""
    clips = []
    for picture in onset:
        x = linear(reduced(picture, side).reshape(side * side, 3), params["embed"])
        x = x + params["place"]
        for number in (1, 2, 3):
            x = transformer_block(params[f"block{number}"], x)
        clips.append(layer_norm(x, params["norm"]).reshape(side, side, -1))
    return np.array(clips)


def transformer_block(params: Any, x: Array) -> Array:
    """Of one clip, `[place, size]`."""
    x = x + self_attention(params, layer_norm(x, params["norm1"]))
    hidden = gelu(linear(layer_norm(x, params["norm2"]), params["first"]))
    return x + linear(hidden, params["second"])


def reduced(picture: Array, side: int) -> Array:
    """Bilinear, at the centres of the new pixels; only the four pixels around them count."""
    step = len(picture) / side
    out = np.zeros((side, side, 3))
    for i in range(side):
        for j in range(side):
            y, x = (i + 0.5) * step - 0.5, (j + 0.5) * step - 0.5
            top, left = math.floor(y), math.floor(x)
            for row in (top, top + 1):
                for column in (left, left + 1):
                    share = (1 - abs(y - row)) * (1 - abs(x - column))
                    if share > 0:
                        out[i, j] += share * picture[row, column]
    return out


def self_attention(params: Any, x: Array) -> Array:
    """Of one clip, `[place, size]`; four heads."""
    size = x.shape[-1]
    query, key, value = np.split(linear(x, params["qkv"]), 3, axis=-1)
    heads = []
    for head in range(4):
        part = slice(head * size // 4, (head + 1) * size // 4)
        weights = np.exp(query[:, part] @ key[:, part].T / math.sqrt(size // 4))
        heads.append(weights / weights.sum(-1, keepdims=True) @ value[:, part])
    return linear(np.concatenate(heads, axis=-1), params["projection"])


def layer_norm(x: Array, layer: Any) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * layer["scale"] + layer["bias"]
