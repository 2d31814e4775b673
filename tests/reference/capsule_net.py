"""CapsuleNet in plain NumPy, float64: layers in order, routing clip by clip."""

import colorsys
from typing import Any

import numpy as np

from tests.reference.image_layers import convolution
from tests.reference.plain_layers import Array, batch_norm, relu


def lengths(params: Any, running: Any, faces: Array, train: bool, routings: int = 3) -> Array:
    """Lengths of the classes' capsules, `[clip, 3]`, of pictures with levels 0…255."""

    def normalised(x: Array, *path: str) -> Array:
        layer, statistics = params, running
        for name in path:
            layer, statistics = layer[name], statistics[name]
        return batch_norm(x, layer, statistics, train)

    x = convolution(faces / 255, params["conv1"]["kernel"], stride=2, padding=3)
    x = relu(normalised(x, "bn1"))
    for layer, stride in (("layer1", 1), ("layer2", 2), ("layer3", 2)):
        for block in ("block1", "block2"):
            own = params[layer]
            first = stride if block == "block1" else 1
            y = convolution(x, own[f"{block}_first_conv"]["kernel"], stride=first, padding=1)
            y = relu(normalised(y, layer, f"{block}_first_bn"))
            y = convolution(y, own[f"{block}_second_conv"]["kernel"], stride=1, padding=1)
            y = normalised(y, layer, f"{block}_second_bn")
            if first == 2:
                x = convolution(x, own[f"{block}_shortcut_conv"]["kernel"], stride=2, padding=0)
                x = normalised(x, layer, f"{block}_shortcut_bn")
            x = relu(x + y)
    x = relu(convolution(x, params["conv2"]["kernel"], params["conv2"]["bias"]))
    x = convolution(x, params["primary"]["kernel"], params["primary"]["bias"], stride=2)
    kernel = params["capsules"]["kernel"]
    return np.array([clip_lengths(maps, kernel, routings) for maps in x])


def clip_lengths(maps: Array, kernel: Array, routings: int) -> Array:
    """Of one clip: maps `[row, column, 256]`, kernel `[class, capsule, 16, 8]`."""
    capsules = [squash(v) for place in maps.reshape(-1, 256) for v in place.reshape(32, 8)]
    votes = [[kernel[k, n] @ capsules[n] for n in range(len(capsules))] for k in range(len(kernel))]
    return np.array([np.linalg.norm(v) for v in route(votes, routings)])


def squash(v: Array) -> Array:
    n = np.linalg.norm(v)
    return v * n**2 / ((1 + n**2) * (n + 1e-8))


def route(votes: Any, routings: int) -> list[Array]:
    """One vector a class, of votes[class][capsule]."""
    classes, capsules = len(votes), len(votes[0])
    agreement = np.zeros((classes, capsules))
    outputs = []
    for _ in range(routings):
        shares = np.exp(agreement) / np.exp(agreement).sum(axis=0)
        outputs = [
            squash(sum(shares[k, n] * votes[k][n] for n in range(capsules))) for k in range(classes)
        ]
        for k in range(classes):
            for n in range(capsules):
                agreement[k, n] += outputs[k] @ votes[k][n]
    return outputs


def jitter(face: Array, brightness: float, contrast: float, saturation: float, hue: float) -> Array:
    """One picture `[row, column, 3]`, 0…255; the first three are factors, hue in turns."""

    def luma(picture: Array) -> Array:
        return picture @ np.array([0.299, 0.587, 0.114])

    face = np.clip(face * brightness, 0, 255)
    mean = luma(face).mean()
    face = np.clip(contrast * face + (1 - contrast) * mean, 0, 255)
    face = np.clip(saturation * face + (1 - saturation) * luma(face)[..., None], 0, 255)
    out = np.empty_like(face)
    for place in np.ndindex(face.shape[:2]):
        h, s, v = colorsys.rgb_to_hsv(*face[place] / 255)
        out[place] = 255 * np.array(colorsys.hsv_to_rgb((h + hue) % 1, s, v))
    return out


def margin_loss(lengths: Array, label: int) -> float:
    total = 0.0
    for k, length in enumerate(lengths):
        if k == label:
            total += max(0.0, 0.99 - length) ** 2
        else:
            total += 0.5 * max(0.0, length - 0.01) ** 2
    return total
