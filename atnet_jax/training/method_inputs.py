"""Inputs that the method of a configuration reads from clips."""

import functools
import hashlib
from pathlib import Path

import numpy as np

import atnet_jax
from atnet_jax import models
from atnet_jax.config import Config
from atnet_jax.data import inputs
from atnet_jax.data.composite import Composite
from atnet_jax.errors import UserError
from atnet_jax.preprocessing.magnification import magnified
from atnet_jax.preprocessing.motion import motion_named
from atnet_jax.preprocessing.optical_flow import FlowMethod, flow_method
from atnet_jax.preprocessing.prepared_clip import PreparedClip

# Folders with code that computes inputs, besides the file of the method.
_CODE = ("models/handcrafted", "preprocessing")


def reads(config: Config) -> tuple[str, ...]:
    """Return the names of the inputs read from each clip, from `atnet_jax.data.record.INPUTS`.

    They are the inputs of the method and, for magnification, the frames.

    Args:
        config: The settings of the run.

    Raises:
        UserError: The method is unknown.
    """
    names = models.find(config.model).inputs
    if not config.recipe.magnification:
        return names
    return (*names, *(name for name in ("frames",) if name not in names))


def load_inputs(config: Config) -> Composite:
    """Load the composite with the inputs of the method of `config`.

    The prepared inputs are used unchanged if the method computes nothing and motion is not
    magnified.

    Args:
        config: The settings of the run.

    Returns:
        The clips and their inputs. A method with an SVM has one input, "features" `[clip,
        feature]`.

    Raises:
        UserError: See `reads` and `atnet_jax.data.inputs.load_inputs`.
    """
    method = models.find(config.model)
    reading = inputs.Reading(
        method=config.model,
        names=reads(config),
        image_size=config.data.image_size,
        compute=functools.partial(_compute, config)
        if method.computes or config.recipe.magnification
        else None,
        origin={
            "code": _code(method.file),
            "model": config.model,
            "options": config.options.to_dict(),
            "magnification": config.recipe.magnification,
            "image_size": config.data.image_size if method.kind == "network" else None,
            "flow": config.data.flow,
        },
    )
    return inputs.load_inputs(config.data.dir, config.data.datasets, config.data.flow, reading)


def inputs_of_clip(
    config: Config, clip: PreparedClip, flow: FlowMethod | None = None
) -> dict[str, np.ndarray]:
    """Return the inputs that the method of `config` reads from one clip, by name.

    Args:
        config: Settings with the method, its options, the picture size and the magnification.
        clip: Clip with all inputs listed by `reads`.
        flow: Flow method for inputs computed from frames. None selects `config.data.flow`.

    Raises:
        UserError: The method cannot use the clip; the message names the clip.
        ValueError: The method prepares other shapes than it declares.
    """
    method, options = models.find(config.model), config.options.to_dict()
    if flow is None:
        flow = flow_method(motion_named(config.data.flow).flow)
    try:
        if config.recipe.magnification:
            clip = magnified(clip, config.recipe.magnification)
        found = method.build(options).prepare(clip, flow, config.data.image_size)
    except UserError as error:
        raise UserError(f"{clip.key}: {error}") from None
    if method.kind == "network" and method.computes:
        shapes = {name: array.shape for name, array in found.items()}
        expected = method.build_network(options).input_shapes(config.data.image_size)
        if shapes != expected:
            raise ValueError(f"{config.model} prepares {shapes}, but declares {expected}.")
    return found


def _compute(config: Config, clip: PreparedClip) -> dict[str, np.ndarray]:
    return inputs_of_clip(config, clip)


def _code(method: Path) -> str:
    """Return a digest of the code that computes a method's inputs; any edit changes it."""
    package = Path(atnet_jax.__file__).parent
    files = [path for folder in _CODE for path in sorted((package / folder).rglob("*.py"))]
    digest = hashlib.sha256(atnet_jax.__version__.encode())
    for path in (method, *files):
        digest.update(path.read_bytes())
    return digest.hexdigest()
