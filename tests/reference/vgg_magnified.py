"""VGG-16 in plain NumPy, float64, without dropout."""

from typing import Any

import numpy as np

from tests.reference.image_layers import convolution
from tests.reference.plain_layers import Array, linear, max_pool, relu

CONVOLUTIONS = (2, 2, 3, 3, 3)


def logits(params: Any, faces: Array) -> Array:
    """Of grey faces `[clip, row, column]`, 0…255."""
    x = np.stack([faces / 127.5 - 1] * 3, axis=-1)
    for block, count in enumerate(CONVOLUTIONS, 1):
        for number in range(1, count + 1):
            layer = params[f"conv{block}_{number}"]
            x = relu(convolution(x, layer["kernel"], layer["bias"], padding=1))
        x = max_pool(x, 2, 2)
    x = x.reshape(len(x), -1)
    x = relu(linear(x, params["fc6"]))
    x = relu(linear(x, params["fc7"]))
    return linear(x, params["classifier"])
