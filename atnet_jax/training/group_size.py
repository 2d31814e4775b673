"""Number of units that train at once in the memory of the devices."""

import collections
import contextlib
import math
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from atnet_jax.config import Config
from atnet_jax.data.folds import Unit
from atnet_jax.errors import UserError
from atnet_jax.system import cpus
from atnet_jax.system.memory import available
from atnet_jax.training.batches import BatchPlan
from atnet_jax.training.engine import Trainer
from atnet_jax.words import numbered

# The compiler's estimate ignores fragmentation and the workspace of library calls.
_USABLE = 0.8
# On a CPU, shared work is computed once per group, so large groups are faster than small ones.
_SHARING_ON_CPU = 40
# On a TPU, the recurrent layers of more units exceed the fast memory: by the compiler's estimate, a
# unit of ATNet costs 5.5 M cycles a step alone, 4.3 M among 9 or 17 and 5.7 M among 68.
_AT_ONCE_ON_TPU = 20


def units_at_once(
    config: Config,
    trainer: Trainer,
    inputs: Mapping[str, np.ndarray],
    plan: BatchPlan,
    units: Sequence[Unit],
    memory: int | None = None,
) -> int:
    """Return the number of units to train in one program, a multiple of the number of devices.

    Args:
        config: The settings of the run.
        trainer: The compiled functions.
        inputs: Inputs of all clips; only their shapes and sizes are used.
        plan: The source of batches.
        units: The units to train.
        memory: Memory of each device in bytes. None asks the device, and means a CPU if the device
            does not know.
    """
    devices = trainer.mesh.size
    together = len(units)
    if config.recipe.shared_batches:  # Only units of the same seed share batches.
        together = max(collections.Counter(unit.seed for unit in units).values())
    if together <= devices:
        return devices
    wanted = config.engine.folds_per_batch
    if not wanted:
        if memory is None:
            memory = (trainer.mesh.devices.flat[0].memory_stats() or {}).get("bytes_limit")
        if memory:
            needed = _bytes_of_a_unit(trainer, inputs, plan, units[0])
            shared = sum(array.nbytes for array in inputs.values())
            fitting = max(1, int((_USABLE * memory - shared) // needed))
            on_tpu = trainer.mesh.devices.flat[0].platform == "tpu"
            if on_tpu and not config.recipe.shared_batches:
                fitting = min(fitting, _AT_ONCE_ON_TPU)
            wanted = devices * fitting
        elif config.recipe.shared_batches:
            wanted = devices * _SHARING_ON_CPU
        else:
            wanted = max(devices, min(cpus.count(), together))
            if wanted > devices:
                needed = _bytes_of_a_unit(trainer, inputs, plan, units[0])
                wanted = min(wanted, max(devices, int(_USABLE * available() // needed)))
    return even_size(wanted, together, devices)


def even_size(wanted: int, units: int, devices: int) -> int:
    """Return the size of groups of about equally many units.

    Args:
        wanted: Largest number of units in a group.
        units: Total number of units.
        devices: Number of devices; the size is rounded up to a multiple of it.
    """
    size = math.ceil(units / math.ceil(units / wanted))
    return math.ceil(size / devices) * devices


def _bytes_of_a_unit(
    trainer: Trainer, inputs: Mapping[str, np.ndarray], plan: BatchPlan, unit: Unit
) -> int:
    """Return the memory that the compiler plans for one unit per device, state included.

    Args:
        trainer: The functions to compile.
        inputs: Inputs of all clips; only their shapes are used.
        plan: The source of batches.
        unit: Any unit.
    """
    blocks = plan.blocks([unit] * trainer.mesh.size, 0)
    compiled = trainer.lower_epoch(inputs, blocks).compile()
    analysis: Any = compiled.memory_analysis()
    return analysis.temp_size_in_bytes + analysis.output_size_in_bytes


@contextlib.contextmanager
def explained(config: Config, units: int) -> Generator[None, None, None]:
    """Turn the device's "out of memory" error into advice.

    Args:
        config: The settings of the run.
        units: Number of units that train at once.

    Raises:
        UserError: The device has too little memory for the group.
        JaxRuntimeError: Any other error of the device.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise UserError(
            f"The device has too little memory for {numbered(units, 'fold')} at once with batches"
            f" of {config.recipe.batch_size} clips. Lower"
            f" {'config.engine.folds_per_batch' if units > 1 else 'config.recipe.batch_size'}. The"
            f" checkpoints are kept."
        ) from error
