"""Description of an exported program's inputs and outputs: signature.json."""

from importlib.metadata import version
from typing import Any

import jax
import jax.export

import atnet_jax
from atnet_jax import models
from atnet_jax.evaluation.model_card import NOT_FOR
from atnet_jax.inference.export.program import DTYPES, named_arrays
from atnet_jax.names import CLASSES
from atnet_jax.preprocessing.face import SIZE
from atnet_jax.preprocessing.motion import Motion, motion_named
from atnet_jax.preprocessing.window import FLOWS, HALF_WINDOW
from atnet_jax.training.trained import Networks, input_shapes

# Increased when readers of older signatures could misread a new one.
SCHEMA_VERSION = 1

_CROPS = f"face crops of {SIZE}×{SIZE} pixels"


def describe(trained: Networks, program: jax.export.Exported) -> dict[str, Any]:
    """Return the content of signature.json without its file entries.

    Args:
        trained: The networks.
        program: The exported program of these networks.
    """
    motion = motion_named(trained.config.data.flow)
    shapes = input_shapes(trained.config)
    return {
        "schema": "atnet_jax.export",
        "schema_version": SCHEMA_VERSION,
        "model": trained.config.model,
        "options": trained.config.options.to_dict(),
        "classes": list(CLASSES),
        "inputs": [
            {
                "name": name,
                "shape": ["clip", *shape],
                "dtype": DTYPES[name],
                **_meaning(name, trained, motion),
            }
            for name, shape in shapes.items()
        ],
        "preparation": {
            "image_size": trained.config.data.image_size,
            "face": trained.face,
            "flow": motion.flow,
            **motion.options,
        },
        "outputs": [
            {
                "name": "probabilities",
                "shape": ["clip", len(CLASSES)],
                "dtype": "float32",
                "unit": "probability",
                "how": "Softmax of one network, classes in the order of `classes`; each row sums to"
                " 1. For several networks, average their probabilities.",
            }
        ],
        "program": {
            "format": "jax.export",
            "arguments": ["weights", "inputs"],
            "calling_convention_version": program.calling_convention_version,
            "platforms": list(program.platforms),
            "precision": trained.config.recipe.precision,
        },
        "weights": [
            {"name": name, "shape": list(array.shape), "dtype": array.dtype.name}
            for name, array in named_arrays(trained.variables[0]).items()
        ],
        "digest": trained.digest,
        "versions": {
            "atnet_jax": atnet_jax.__version__,
            "jax": jax.__version__,
            "jaxlib": version("jaxlib"),
        },
        "notes": list(trained.notes),
        "not_for": NOT_FOR,
    }


def _meaning(name: str, trained: Networks, motion: Motion) -> dict[str, str]:
    """Return the unit of an input and a description of its computation."""
    size = trained.config.data.image_size
    model = trained.config.model
    if models.find(model).computes:
        return {
            "unit": "as computed",
            "how": "Computed by atnet_jax.training.method_inputs.inputs_of_clip, which calls"
            f" `prepare` of atnet_jax/models/{model}.py.",
        }
    if name == "apex":
        how = (
            f"Face crop of the apex frame, {SIZE}×{SIZE} pixels, grey; face detector:"
            f" {trained.face or 'see the training data of the networks'}."
        )
        if size != SIZE:
            how += f" Reduced to {size}×{size} by area averaging."
        if trained.config.recipe.magnification:
            how += (
                " Before that, atnet_jax.preprocessing.magnification.magnified amplifies the motion"
                f" by adding {trained.config.recipe.magnification:g} times its own size."
            )
        return {"unit": "grey level, 0 to 255", "how": how}
    if name == "adm":
        mean = "circular" if motion.circular else "arithmetic"
        how = (
            f"Row t: optical flow from frame apex - {HALF_WINDOW} + t to the next, t = 0 to"
            f" {FLOWS - 1}, in {_CROPS}; zero unless both frames lie within onset to offset."
            f" Columns θ1 ρ1 … θ64 ρ64: {mean} mean direction and mean magnitude in 8×8"
            " equal blocks, row by row. θ = atan2(v, u), u to the right, v down; 0 without motion."
        )
        return {"unit": "θ in radians, -π to π; ρ in pixels", "how": f"{how} {_flow(motion)}"}
    how = (
        f"Optical flow from onset to apex in {_CROPS}, averaged over cells of 8×8 pixels. Channels:"
        " u to the right, v down, and the strain sqrt(u_x² + v_y² + (u_y + v_x)² / 2)."
    )
    return {
        "unit": "u and v in pixels, strain in pixels per pixel",
        "how": f"{how} {_flow(motion)}",
    }


def _flow(motion: Motion) -> str:
    words = [f"Flow method: {motion.flow}"]
    if motion.cancel_alternation:
        words.append("with the displacement between odd and even frames removed")
    if motion.remove_head_motion:
        words.append("with the motion of the whole face removed")
    return f"{', '.join(words)} (atnet prepare {motion.flags})."
