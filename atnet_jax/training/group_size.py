"""How many units the devices hold at once, and memory that stays mapped on a CPU."""

import collections
import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from atnet_jax.config import Config
from atnet_jax.data.folds import Unit
from atnet_jax.errors import UserError
from atnet_jax.training.batches import BatchPlan
from atnet_jax.training.engine import Trainer

# The compiler's estimate leaves out fragmentation and the workspace of library calls.
_USABLE = 0.8
# On a CPU: what units share is made once a group, so many of them are faster than few.
_SHARING_ON_CPU = 40


def units_at_once(
    config: Config,
    trainer: Trainer,
    inputs: Mapping[str, np.ndarray],
    plan: BatchPlan,
    units: Sequence[Unit],
) -> int:
    """How many units to train in one program: a multiple of the number of devices.

    Args:
      config: see `atnet_jax.config`.
      trainer: of the network.
      inputs: of all clips; only their shapes and sizes are used.
      plan: makes the batches.
      units: those to train.
    """
    devices = trainer.mesh.size
    together = len(units)
    if config.recipe.shared_batches:  # Which is only within a seed.
        together = max(collections.Counter(unit.seed for unit in units).values())
    if together <= devices:
        return devices
    wanted = config.engine.folds_per_batch
    if not wanted:
        stats = trainer.mesh.devices.flat[0].memory_stats()
        if stats and "bytes_limit" in stats:
            needed = _bytes_of_a_unit(trainer, inputs, plan, units[0])
            shared = sum(array.nbytes for array in inputs.values())
            wanted = devices * max(1, int((_USABLE * stats["bytes_limit"] - shared) // needed))
        else:
            wanted = devices * (_SHARING_ON_CPU if config.recipe.shared_batches else 1)
    return even_size(wanted, together, devices)


def even_size(wanted: int, units: int, devices: int) -> int:
    """The size of groups of at most `wanted` units that all are about equally full."""
    size = math.ceil(units / math.ceil(units / wanted))
    return math.ceil(size / devices) * devices


def _bytes_of_a_unit(
    trainer: Trainer, inputs: Mapping[str, np.ndarray], plan: BatchPlan, unit: Unit
) -> int:
    """What the compiler plans for one unit a device: its state and all that a step leaves lying."""
    units = [unit] * trainer.mesh.size
    shapes: Any = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in inputs.items()}
    compiled = trainer.epoch.lower(trainer.shapes(), shapes, plan.blocks(units, 0), 0.1).compile()
    analysis = compiled.memory_analysis()
    return analysis.temp_size_in_bytes + analysis.output_size_in_bytes


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turns the device's "out of memory" into what to do about it.

    Raises:
      UserError: the device has too little memory for as many units.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise UserError(
            "The device's memory does not hold as many folds, or as large batches, at once. Set a"
            " smaller config.engine.folds_per_batch, or config.recipe.batch_size if that is 1; the"
            " checkpoints are kept."
        ) from error
