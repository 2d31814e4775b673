"""OFF-ApexNet in plain NumPy, with our names of its parameters."""

from typing import Any

import numpy as np

from tests.reference.plain_layers import Array, convolution, linear, max_pool, relu, unit_range


def stream(x: Array, p: Any) -> Array:
    for name in ("conv1", "conv2"):
        x = max_pool(convolution(x, p[name]["kernel"], p[name]["bias"], padding=2), 2, 2)
    return x.reshape(len(x), 784)


def logits(flow_map: Array, p: Any) -> Array:
    x = unit_range(flow_map)
    x = np.hstack([stream(x[..., [0]], p["u"]), stream(x[..., [1]], p["v"])])
    x = relu(linear(x, p["hidden1"]))
    x = relu(linear(x, p["hidden2"]))
    return linear(x, p["classifier"])
