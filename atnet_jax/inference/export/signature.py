"""What an exported program takes and gives, in words and numbers: signature.json."""

from importlib.metadata import version
from typing import Any

import jax
import jax.export

import atnet_jax
from atnet_jax import models
from atnet_jax.inference.export.program import DTYPES, named_arrays
from atnet_jax.names import CLASSES
from atnet_jax.preprocessing.face import SIZE
from atnet_jax.preprocessing.motion import Motion, motion_named
from atnet_jax.preprocessing.window import FLOWS, HALF_WINDOW
from atnet_jax.training.trained import Networks, input_shapes

# Rises when a reader of an older signature could misread a new one.
SCHEMA_VERSION = 1

NOT_FOR = (
    "Not for decisions about people: not in hiring, policing, border control, schools, medicine or"
    " the detection of lies. The classes are what annotators saw in laboratory recordings, a face"
    " is no proof of what somebody feels, and the networks err as often as the report of their"
    " evaluation says."
)

_CROPS = f"face crops of {SIZE}×{SIZE} pixels"


def describe(trained: Networks, program: jax.export.Exported) -> dict[str, Any]:
    """All but the files; anything that JSON can hold."""
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
                "how": "one network's softmax, classes in the order of `classes`; each row's sum is"
                " 1. The answer of several networks is the mean of their probabilities.",
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
    """An input's unit, and how it is computed."""
    size = trained.config.data.image_size
    model = trained.config.model
    if models.find(model).computes:
        return {
            "unit": "as computed",
            "how": "atnet_jax.training.method_inputs.inputs_of_clip, by `prepare` of"
            f" atnet_jax/models/{model}.py.",
        }
    if name == "apex":
        how = (
            f"Face crop of the apex frame, {SIZE}×{SIZE} pixels, grey; face detector:"
            f" {trained.face or 'see the data that the networks were trained on'}."
        )
        if size != SIZE:
            how += f" Reduced to {size}×{size} by averaging over areas."
        if trained.config.recipe.magnification:
            how += (
                f" Its motion magnified before ({trained.config.recipe.magnification:g} times its"
                " own size added) by atnet_jax.preprocessing.magnification.magnified."
            )
        return {"unit": "grey level, 0 to 255", "how": how}
    if name == "adm":
        mean = "circular" if motion.circular else "arithmetic"
        how = (
            f"Row t: optical flow from frame apex - {HALF_WINDOW} + t to the next, t = 0 to"
            f" {FLOWS - 1}, of {_CROPS}; zero where the two frames do not both lie within onset to"
            f" offset. Columns θ1 ρ1 … θ64 ρ64: {mean} mean direction and mean magnitude in 8×8"
            " equal blocks, row by row. θ = atan2(v, u), u to the right, v down; 0 without motion."
        )
        return {"unit": "θ in radians, -π to π; ρ in pixels", "how": f"{how} {_flow(motion)}"}
    how = (
        f"Optical flow from onset to apex, of {_CROPS}, each cell the mean of 8×8 pixels. Channels:"
        " u to the right, v down, and the strain sqrt(u_x² + v_y² + (u_y + v_x)² / 2)."
    )
    return {
        "unit": "u and v in pixels, strain in pixels per pixel",
        "how": f"{how} {_flow(motion)}",
    }


def _flow(motion: Motion) -> str:
    words = [f"Flow method: {motion.flow}"]
    if motion.cancel_alternation:
        words.append("the displacement of odd frames against even ones taken out")
    if motion.remove_head_motion:
        words.append("the motion of the whole face taken out")
    return f"{', '.join(words)} (atnet prepare {motion.flags})."
