"""What all explanations share: the score that is explained, and a network that is taken apart."""

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
from atnet_jax.training.engine import PRECISIONS, apply_network, compiler_options
from atnet_jax.training.trained import Networks

STREAMS = {"apex": "spatial", "adm": "temporal"}
"""The module that reads an input, by the input's name."""


@struct.dataclass
class Explained:
    """One trained network; functions of it are compiled once for all networks of a run.

    Attributes:
      variables: its parameters and statistics.
      network: of which kind it is.
      precision: of its matrix products.
    """

    variables: Mapping[str, Any]
    network: Network = struct.field(pytree_node=False)
    precision: str = struct.field(pytree_node=False)


def explained(trained: Networks, number: int) -> Explained:
    """The trained network of this number."""
    variables = jax.device_put(trained.variables[number])
    return Explained(variables, trained.network, trained.config.recipe.precision)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.jit` of a function whose first argument is an `Explained`, in that one's precision."""

    def precise(explained: Explained, *args: Any) -> Any:
        # Around all of it: gradients that are written out are traced after the forward pass.
        with jax.default_matmul_precision(PRECISIONS[explained.precision]):
            return function(explained, *args)

    @functools.cache
    def jitted() -> Callable[..., Any]:
        # At the first call: to ask for the device when a module is imported would be too early.
        return jax.jit(precise, compiler_options=compiler_options())

    return functools.wraps(function)(lambda *args: jitted()(*args))


def margin(logits: Float[Array, "*batch 3"], class_index: Any) -> Float[Array, "*batch"]:
    """The score that is explained: a class's logit less the mean of the others'.

    What all logits have in common changes no probability, and is no reason for a class.
    """
    chosen = jax.nn.one_hot(class_index, len(CLASSES))
    return logits @ (chosen - (1 - chosen) / (len(CLASSES) - 1))


@compiled
def observe(
    explained: Explained, inputs: Mapping[str, Any]
) -> tuple[dict[str, jax.Array], jax.Array | None]:
    """What the streams of a network make of clips.

    Returns:
      The features of each stream, `[clip, 512]`, before they are normalised, and the last map of
      the spatial stream, `[clip, height, width, 512]`, or None without one.
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
    """A network's logits, with features put in the place of some or all streams'.

    Args:
      explained: the network.
      features: `[clip, 512]` or, the same for all clips, `[1, 512]`, by the stream's name. These
        streams are not run.
      inputs: of the others.
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
    """The name of the stream whose output a call gives, if it is one's."""
    path = context.module.path
    is_stream = len(path) == 1 and path[0] in STREAMS.values()
    return path[0] if is_stream and context.method_name == "__call__" else None


def _apply(explained: Explained, inputs: Mapping[str, Any], **kwargs: Any) -> Any:
    # The inputs of streams that are not run are read by nobody.
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
