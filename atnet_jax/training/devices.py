"""The devices of a run: accelerators, or the CPUs of this machine, each with a unit of its own.

A small network cannot keep several CPUs busy, so that its folds train side by side.
"""

import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from atnet_jax.config import Config
from atnet_jax.data.folds import Unit
from atnet_jax.errors import UserError
from atnet_jax.system import backend, cpus, memory
from atnet_jax.training.batches import BatchPlan
from atnet_jax.training.engine import Trainer, make_trainer
from atnet_jax.training.group_size import USABLE, bytes_of_a_unit

# The instructions of AVX2 on every CPU, and no estimates of 1/√x, which differ between makers.
_DETERMINISTIC = (
    "--xla_gpu_deterministic_ops=true",
    "--xla_cpu_max_isa=AVX2",
    "--xla_cpu_enable_platform_dependent_math=false",
)


def set_options(config: Config) -> None:
    """Set the options that JAX reads when it first looks for devices, so call this before.

    Each CPU becomes a device, unless JAX_NUM_CPU_DEVICES or XLA_FLAGS says otherwise or JAX has
    started. With `config.deterministic`, XLA's flags give the same bits in repeated runs and, on
    CPUs, on other processors.

    Args:
        config: Any configuration.

    Raises:
        UserError: JAX has started without the flags of `config.deterministic`.
    """
    flags = os.environ.get("XLA_FLAGS", "").split()
    missing = [flag for flag in _DETERMINISTIC if flag not in flags]
    if config.get("deterministic") and missing:
        if backend.has_started():
            raise UserError(
                "config.deterministic is True, but JAX has started without the options that this"
                " requires. Start a new process, and train before anything else uses JAX, or set"
                f" XLA_FLAGS={shlex.quote(' '.join(_DETERMINISTIC))} before."
            )
        os.environ["XLA_FLAGS"] = " ".join([*flags, *missing])
    chosen = any(flag.startswith("--xla_force_host_platform_device_count") for flag in flags)
    chosen |= jax.config.values["jax_num_cpu_devices"] >= 0
    if not chosen and not backend.has_started():
        jax.config.update("jax_num_cpu_devices", cpus.count())


def make_trainer_of(
    config: Config,
    inputs: Mapping[str, np.ndarray],
    plan: BatchPlan,
    units: Sequence[Unit],
    available: int | None = None,
) -> Trainer:
    """Return a trainer for these units on the devices of this process.

    On a CPU, units that share batches train on one device, because they share work. So do all units
    with `config.deterministic`, because XLA compiles a program for one device to other sums than
    the same program for several. Others take as many devices as there are units,
    config.engine.folds_per_batch allows and memory holds.

    Args:
        config: The settings of the run.
        inputs: Inputs of all clips; only their shapes and sizes are used.
        plan: The source of batches.
        units: The units to train.
        available: Memory that is available on this machine, in bytes. None asks the system.
    """
    devices: list[Any] = jax.local_devices()[: len(units)]
    if devices[0].platform == "cpu":
        one = config.recipe.shared_batches or config.deterministic
        most = 1 if one else config.engine.folds_per_batch
        devices = devices[: most or None]
    trainer = make_trainer(config, inputs, devices)
    if devices[0].platform != "cpu" or len(devices) == 1:
        return trainer
    if available is None:
        available = memory.available()
    needed = bytes_of_a_unit(trainer, inputs, plan, units[0])
    needed += sum(array.nbytes for array in inputs.values())  # Each device has a copy.
    fitting = max(1, int(USABLE * available // needed))
    return trainer if fitting >= len(devices) else make_trainer(config, inputs, devices[:fitting])
