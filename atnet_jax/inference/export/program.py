"""A network as one StableHLO program: weights and inputs → class probabilities."""

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.export
import numpy as np
from flax import traverse_util

from atnet_jax.system import backend
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
    no layer depends on the number of clips. Every layer takes its form for accelerators, which all
    platforms compile.

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

        # The forms that training takes on a CPU would be exported to GPUs and TPUs too. On a CPU,
        # the others take up to a third longer for a single clip and equally long for sixteen.
        with backend.tracing_for("tpu"):
            return jax.vmap(of_clip)(inputs)

    with _without_source_locations():
        return jax.export.export(jax.jit(probabilities), platforms=PLATFORMS)(weights, inputs)


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
