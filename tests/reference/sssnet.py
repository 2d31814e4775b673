"""SSSNet in plain NumPy, with our names of its parameters."""

from typing import Any

from tests.reference.plain_layers import Array, batch_norm, convolution, linear, max_pool, relu


def logits(x: Array, params: Any, running: Any, train: bool) -> Array:
    """Moves `running` in training, in place."""
    for stage, (size, stride) in (("1", (3, 3)), ("2", (2, 2))):
        conv = params[f"conv{stage}"]
        x = max_pool(relu(convolution(x, conv["kernel"], conv["bias"])), size, stride)
        x = batch_norm(x, params[f"norm{stage}"], running[f"norm{stage}"], train)
    x = relu(linear(x.reshape(len(x), 5184), params["hidden"]))
    return linear(x, params["classifier"])
