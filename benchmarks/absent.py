"""Compilation of one optimiser step of this engine for devices that need not be at hand."""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from atnet_jax import models
from atnet_jax.config import Config
from atnet_jax.data.folds import Unit, make_folds
from atnet_jax.training.batches import BatchPlan
from atnet_jax.training.engine import make_trainer
from atnet_jax.training.group_size import units_at_once
from benchmarks import task

# Rounds of the compiled loop over steps; no other loop of a network has as many.
STEPS = 7


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
    compiled = trainer.compile_epoch(composite.inputs, [block])
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
