"""A network as one StableHLO program: weights and inputs → class probabilities."""

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.export
import numpy as np
from flax import traverse_util

from atnet_jax.models.layers.convolution import Conv
from atnet_jax.training.trained import Networks, input_shapes, logits

PLATFORMS = ("cpu", "cuda", "tpu")

# Types of the inputs. Grey levels are integers, so that pictures scaled to 0…1 are rejected.
DTYPES = defaultdict(lambda: "float32", {"apex": "uint8"})

_SEPARATOR = "/"


def named_arrays(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the arrays of a network by name, such as "params/temporal/lstm1/input_kernel".

    Args:
        variables: Nested variables of the network.
    """
    flat: dict[str, Any] = traverse_util.flatten_dict(variables, sep=_SEPARATOR)
    return {name: np.asarray(array) for name, array in sorted(flat.items())}


def export_program(trained: Networks) -> jax.export.Exported:
    """Export one program for all networks of a run, any number of clips and all of `PLATFORMS`.

    The networks of a run differ in their arrays only. `jax.vmap` computes each clip separately, so
    no layer depends on the number of clips. A layer whose code depends on the device of tracing is
    replaced by a portable form; see `_convolve`.

    Args:
        trained: The networks.

    Returns:
        The program. Its arguments are two dicts, the arrays of one network as `named_arrays` names
        them and the inputs of the clips. Its result is `[clip, 3]`, float32 probabilities.
    """
    (clips,) = jax.export.symbolic_shape("clip")
    inputs = {
        name: jax.ShapeDtypeStruct((clips, *shape), np.dtype(DTYPES[name]))
        for name, shape in input_shapes(trained.config).items()
    }
    weights = {
        name: jax.ShapeDtypeStruct(array.shape, array.dtype)
        for name, array in named_arrays(trained.variables[0]).items()
    }

    def probabilities(
        weights: Mapping[str, jax.Array], inputs: Mapping[str, jax.Array]
    ) -> jax.Array:
        nested = traverse_util.unflatten_dict(dict(weights), sep=_SEPARATOR)
        variables = {"batch_stats": {}, **nested}

        def of_clip(clip: Mapping[str, jax.Array]) -> jax.Array:
            batch = {name: array[None] for name, array in clip.items()}
            return jax.nn.softmax(logits(trained, variables, batch)[0])

        with nn.intercept_methods(_convolve):
            return jax.vmap(of_clip)(inputs)

    with _without_source_locations():
        return jax.export.export(jax.jit(probabilities), platforms=PLATFORMS)(weights, inputs)


def _convolve(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
    """Replace the call of a `Conv` by a convolution, and call other modules as usual."""
    conv = context.module
    if not isinstance(conv, Conv):
        return call(*args, **kwargs)
    # Traced on a CPU, `Conv` becomes a product of patches for small maps, which trains faster there
    # but would be exported to GPUs and TPUs too. On a CPU the forward pass of the convolution takes
    # a third longer for a single clip and equally long for sixteen.
    kernel = conv.get_variable("params", "kernel")
    y = jax.lax.conv_general_dilated(
        args[0].astype(kernel.dtype),
        kernel,
        (conv.stride, conv.stride),
        [(conv.padding, conv.padding)] * 2,
        rhs_dilation=(conv.dilation, conv.dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return y + conv.get_variable("params", "bias").astype(y.dtype) if conv.use_bias else y


@contextlib.contextmanager
def _without_source_locations() -> Iterator[None]:
    """Omit the paths of source files from programs lowered in this context."""
    option = "jax_traceback_in_locations_limit"
    before = getattr(jax.config, option)
    jax.config.update(option, 0)
    try:
        yield
    finally:
        jax.config.update(option, before)
