"""Shared code of the explanations: the explained score, and access to the streams of a network."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from atnet_jax.models import Network
from atnet_jax.names import CLASSES
from atnet_jax.system import backend
from atnet_jax.training.engine import PRECISIONS, apply_network, compiler_options
from atnet_jax.training.trained import Networks

STREAMS = {"apex": "spatial", "adm": "temporal"}
"""Name of the module that reads each input."""


@struct.dataclass
class Explained:
    """One trained network; functions of it are compiled once for all networks of a run.

    Attributes:
        variables: Parameters and batch statistics.
        network: The Flax module.
        precision: Precision of matrix products, a key of `PRECISIONS`.
    """

    variables: Mapping[str, Any]
    network: Network = struct.field(pytree_node=False)
    precision: str = struct.field(pytree_node=False)


def explained(trained: Networks, number: int) -> Explained:
    """Return the trained network with this number."""
    variables = jax.device_put(trained.variables[number])
    return Explained(variables, trained.network, trained.config.recipe.precision)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of an `Explained` and other arguments, in the network's precision."""

    def precise(explained: Explained, *args: Any) -> Any:
        # The context covers the whole function because gradients are traced after the forward pass.
        with jax.default_matmul_precision(PRECISIONS[explained.precision]):
            return function(explained, *args)

    @functools.cache
    def jitted() -> Callable[..., Any]:
        # Compiled at the first call: querying the device at import time would be too early.
        return jax.jit(precise, compiler_options=compiler_options(backend.platform()))

    return functools.wraps(function)(lambda *args: jitted()(*args))


def margin(logits: Float[Array, "*batch 3"], class_index: Any) -> Float[Array, "*batch"]:
    """Return the explained score: the logit of a class minus the mean of the other logits.

    A constant added to all logits changes neither the probabilities nor this score.

    Args:
        logits: Logits of the three classes.
        class_index: The class.
    """
    chosen = jax.nn.one_hot(class_index, len(CLASSES))
    return logits @ (chosen - (1 - chosen) / (len(CLASSES) - 1))


@compiled
def observe(
    explained: Explained, inputs: Mapping[str, Any]
) -> tuple[dict[str, jax.Array], jax.Array | None]:
    """Compute the features of each stream and the last map of the spatial stream.

    Args:
        explained: The network.
        inputs: Inputs of the clips, by name.

    Returns:
        The features of each stream before normalisation, `[clip, 512]`, and the last map of the
        spatial stream, `[clip, height, width, 512]`, or None if the network has no such stream.
    """
    features = {}

    def keep(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        output = call(*args, **kwargs)
        if (name := _stream(context)) is not None:
            features[name] = output
        return output

    with nn.intercept_methods(keep):
        _, sown = _apply(explained, inputs, mutable=["maps"])
    maps = jax.tree.leaves(sown.get("maps", {}))
    return features, maps[0] if maps else None


def logits(
    explained: Explained, features: Mapping[str, jax.Array], inputs: Mapping[str, Any] | None = None
) -> Float[Array, "clip 3"]:
    """Return the logits of a network with the outputs of some or all streams replaced.

    Args:
        explained: The network.
        features: Replacement by stream, `[clip, 512]`, or `[1, 512]` for all clips. These streams
            are not run.
        inputs: Inputs of the other streams, by name.
    """
    inputs = inputs or {}
    sizes = [len(array) for array in (*features.values(), *inputs.values())]

    def replace(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        given = features.get(_stream(context) or "")
        if given is None:
            return call(*args, **kwargs)
        return jnp.broadcast_to(given, (max(sizes), given.shape[-1]))

    with nn.intercept_methods(replace):
        return _apply(explained, inputs)


def _stream(context: Any) -> str | None:
    """Return the name of the stream that this call runs, or None."""
    path = context.module.path
    is_stream = len(path) == 1 and path[0] in STREAMS.values()
    return path[0] if is_stream and context.method_name == "__call__" else None


def _apply(explained: Explained, inputs: Mapping[str, Any], **kwargs: Any) -> Any:
    # Streams that are not run do not read their inputs, so 0 can stand in for them.
    batch = {name: jnp.asarray(inputs.get(name, 0), jnp.float32) for name in STREAMS}
    return apply_network(
        explained.network,
        explained.precision,
        explained.variables["params"],
        explained.variables["batch_stats"],
        batch,
        train=False,
        **kwargs,
    )
