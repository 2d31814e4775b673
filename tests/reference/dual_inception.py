"""Dual-Inception in plain NumPy, with our names of its parameters."""

from typing import Any

import numpy as np

from tests.reference.plain_layers import Array, convolution, linear, max_pool, relu, unit_range


def inception(x: Array, p: Any) -> Array:
    def conv(x: Array, name: str, padding: int) -> Array:
        return relu(convolution(x, p[name]["kernel"], p[name]["bias"], padding=padding))

    first = conv(x, "alone", 0)
    second = conv(conv(x, "before_conv3", 0), "conv3", 1)
    third = conv(conv(x, "before_conv5", 0), "conv5", 2)
    fourth = conv(max_pool(x, 3, 1, 1), "after_pool", 0)
    return np.concatenate([first, second, third, fourth], -1)


def stream(component: Array, p: Any) -> Array:
    picture = np.stack([component, component, component], -1)
    x = max_pool(inception(picture, p["inception1"]), 2, 2)
    x = max_pool(inception(x, p["inception2"]), 2, 2)
    return x.reshape(len(x), 3136)


def logits(flow_map: Array, p: Any) -> Array:
    x = unit_range(flow_map)
    x = np.hstack([stream(x[..., 0], p["u"]), stream(x[..., 1], p["v"])])
    return linear(relu(linear(x, p["hidden"])), p["classifier"])
