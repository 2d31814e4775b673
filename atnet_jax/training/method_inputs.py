"""What the method of a configuration reads of clips."""

import functools
import hashlib
from pathlib import Path
from typing import Any

import numpy as np

import atnet_jax
from atnet_jax import models
from atnet_jax.config import Config
from atnet_jax.data import inputs
from atnet_jax.data.composite import Composite, as_prepared
from atnet_jax.errors import UserError
from atnet_jax.preprocessing.magnification import magnified
from atnet_jax.preprocessing.motion import motion_named
from atnet_jax.preprocessing.optical_flow import FlowMethod, flow_method
from atnet_jax.preprocessing.prepared_clip import PreparedClip

# Folders of this package with code that inputs are computed by, beside the method's own file.
_CODE = ("features", "preprocessing")


def reads(config: Config) -> tuple[str, ...]:
    """What is read of each clip, some of `atnet_jax.data.record.INPUTS`.

    It is what the method names and, if motion is magnified, the frames.

    Raises:
      UserError: there is no such method, or nothing that it reads can be magnified.
    """
    names = models.load(config.model).INPUTS
    if not config.magnification:
        return names
    if config.magnification < 0 or not {"apex", "frames"}.intersection(names):
        raise UserError(
            f"config.magnification is {config.magnification:g}, expected 0 (none) or more, and more"
            f" only for a method that reads the apex frame or frames; {config.model} reads"
            f" {', '.join(names)}."
        )
    return (*names, *(name for name in ("frames",) if name not in names))


def load_inputs(config: Config) -> Composite:
    """The composite with the inputs of the method of `config`.

    A network without `prepare` reads what was prepared, unless motion is magnified. Of features for
    an SVM it is one input, "features" `[clip, feature]`.

    Raises:
      UserError: see `reads` and `atnet_jax.data.inputs.load_inputs`.
    """
    is_network = models.is_network(config.model)
    prepares = hasattr(_method(config), "prepare")
    reading = inputs.Reading(
        method=config.model,
        names=reads(config),
        image_size=config.image_size,
        compute=None
        if is_network and not prepares and not config.magnification
        else functools.partial(_compute, config),
        origin={
            "code": _code(config.model),
            "model": config.model,
            "options": config.options.to_dict(),
            "magnification": config.magnification,
            "image_size": config.image_size if is_network else None,
            "flow": config.flow,
        },
    )
    return inputs.load_inputs(config.data_dir, config.datasets, config.flow, reading)


def inputs_of_clip(config: Config, clip: PreparedClip, flow: FlowMethod) -> dict[str, np.ndarray]:
    """What the method of `config` reads of one clip, by name.

    Args:
      config: names the method, its options, the size of pictures and their magnification.
      clip: with all that `reads` names.
      flow: the flow method, for inputs that are computed from frames.

    Raises:
      UserError: the method cannot use the clip; the message names it.
    """
    method = _method(config)
    try:
        if config.magnification:
            clip = magnified(clip, config.magnification)
        if not models.is_network(config.model):
            return {"features": method(clip, flow)}
        if not hasattr(method, "prepare"):
            return as_prepared(clip, models.load(config.model).INPUTS, config.image_size)
        found = method.prepare(clip, flow, config.image_size)
    except UserError as error:
        raise UserError(f"{clip.key}: {error}") from None
    shapes = {name: array.shape for name, array in found.items()}
    expected = method.input_shapes(config.image_size)
    if shapes != expected:
        raise ValueError(f"{config.model} prepares {shapes}, but says {expected}")
    return found


def _compute(config: Config, clip: PreparedClip) -> dict[str, np.ndarray]:
    return inputs_of_clip(config, clip, flow_method(motion_named(config.flow).flow))


def _method(config: Config) -> Any:
    return models.build(config.model, config.options.to_dict())


def _code(model: str) -> str:
    """A digest of the code that a method's inputs are computed by: it changes as one writes it."""
    package = Path(atnet_jax.__file__).parent
    files = [path for folder in _CODE for path in sorted((package / folder).rglob("*.py"))]
    digest = hashlib.sha256(atnet_jax.__version__.encode())
    for path in (Path(str(models.load(model).__file__)), *files):
        digest.update(path.read_bytes())
    return digest.hexdigest()
