"""What benchmarks/tpu.py and gpu.py share: compiling a step for devices that are not at hand."""

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app, flags

from atnet_jax import models
from atnet_jax.config import Config, default_config
from atnet_jax.data.folds import Unit, make_folds
from atnet_jax.errors import UserError
from atnet_jax.training.batches import BatchPlan
from atnet_jax.training.engine import PRECISIONS, make_trainer
from atnet_jax.training.group_size import units_at_once
from benchmarks import task

# Rounds of the compiled loop over steps; no other loop of a network has as many.
STEPS = 7

_MODEL = flags.DEFINE_string("model", "fusion", "Method; every network can be compiled.")
_PRECISION = flags.DEFINE_enum(
    "precision", "bfloat16", list(PRECISIONS), "See config.recipe.precision."
)
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 224, "Size of apex frames in pixels.", 8)
PARTS = flags.DEFINE_integer("parts", 25, "Number of parts to print.", lower_bound=1)
_HLO = flags.DEFINE_string("hlo", None, "Also write the compiled program to this file.")
_OUT = flags.DEFINE_string("out", None, "Also write all figures to this JSON file.")


def run(
    argv: Sequence[str],
    estimate: Callable[[Config], tuple[dict[str, Any], str]],
    show: Callable[[dict[str, Any]], None],
) -> None:
    """Estimate the cost of the configuration that the flags select; print and write the figures.

    Args:
        argv: Arguments that are no flags, with the program's name first.
        estimate: Function that returns the figures and the text of the program.
        show: Function that prints the figures.

    Raises:
        UsageError: There are such arguments.
    """
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {' '.join(argv[1:])}.")
    try:
        config = default_config(_MODEL.value)
        config.recipe.precision = _PRECISION.value
        config.data.image_size = _IMAGE_SIZE.value
        found, text = estimate(config)
    except UserError as error:
        sys.exit(f"Error: {error}")
    show(found)
    if _HLO.value:
        Path(_HLO.value).write_text(text, encoding="utf-8")
    if _OUT.value:
        Path(_OUT.value).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled training program.

    Attributes:
        text: Its HLO, in which a loop of `STEPS` rounds takes optimiser steps.
        memory: The memory that the compiler plans, as JAX describes it.
        network: Name of the network's class.
        folds: Number of folds of the evaluation.
        folds_at_once: Number of folds that the program trains, on all devices.
        steps: Optimiser steps of a fold's training.
        seconds: Time of the compilation.
    """

    text: str
    memory: Any
    network: str
    folds: int
    folds_at_once: int
    steps: int
    seconds: float

    def described(self, config: Config) -> dict[str, Any]:
        """Return what was compiled, and how, for the figures."""
        return {
            "model": config.model,
            "precision": config.recipe.precision,
            "image_size": config.data.image_size,
            "batch_size": config.recipe.batch_size,
            "jax": jax.__version__,
            "compile_seconds": self.seconds,
            "folds": self.folds,
        }

    def memory_bytes(self, device: int) -> dict[str, int]:
        """Return the memory of a device and what the compiler plans to use of it, in bytes."""
        return {
            "of_the_device": device,
            "arguments": self.memory.argument_size_in_bytes,
            "temporary": self.memory.temp_size_in_bytes,
        }


def compile_steps(
    config: Config, devices: Sequence[Any], memory: int, folds_per_device: int = 0
) -> Program:
    """Compile a program that takes `STEPS` optimiser steps.

    Args:
        config: The settings; one seed of its protocol is trained.
        devices: The devices, from `jax.experimental.topologies`.
        memory: Memory of each device in bytes.
        folds_per_device: Folds that a device trains in one program; 0 takes the automatic choice.

    Returns:
        The program.

    Raises:
        UserError: The method is no network.
    """
    composite = task.random_composite(config.model, task.CLIPS, config.data.image_size)
    folds = make_folds(config.protocol, composite)
    units = [Unit(0, fold, composite.labels) for fold in folds]
    trainer = make_trainer(config, composite.inputs, devices)
    plan = BatchPlan(config, units)
    config.engine.folds_per_batch = folds_per_device * len(devices)
    size = units_at_once(config, trainer, composite.inputs, plan, units, memory)
    group = [*units, *[units[-1]] * size][:size]
    # One block of steps: an incomplete last batch costs no more.
    block = plan.blocks(group, 0)[0]
    block = jax.tree.map(lambda leaf: np.repeat(leaf[:1], STEPS, axis=0), block)
    start = time.perf_counter()
    compiled = trainer.lower_epoch(composite.inputs, [block]).compile()
    seconds = time.perf_counter() - start
    network = models.find(config.model).build_network(config.options.to_dict()).for_training()
    return Program(
        text=compiled.as_text() or "",
        memory=compiled.memory_analysis(),
        network=type(network).__name__,
        folds=len(units),
        folds_at_once=size,
        steps=config.recipe.num_epochs * plan.steps,
        seconds=seconds,
    )
