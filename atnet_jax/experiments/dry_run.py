"""Description of what a training would do, from its data and a trial of a few steps."""

import copy
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import jax

from atnet_jax import models
from atnet_jax.config import Config, check, method_config, splitting
from atnet_jax.data.composite import Composite
from atnet_jax.data.folds import Unit, make_folds, select_folds
from atnet_jax.errors import UserError
from atnet_jax.experiments.suite import study_parts
from atnet_jax.models.handcrafted import svm
from atnet_jax.training.batches import BatchPlan
from atnet_jax.training.engine import make_trainer
from atnet_jax.training.feed import InMemory
from atnet_jax.training.group_size import explained, units_at_once
from atnet_jax.training.loop import read_start, train_units
from atnet_jax.training.method_inputs import load_inputs
from atnet_jax.words import numbered

# The first epoch of a trial compiles, the second one is timed.
_EPOCHS, _STEPS = 2, 5


class _Trial(NamedTuple):
    """Measurements of a trial.

    Attributes:
        steps: Optimiser steps of a unit in the whole training; 0 without steps.
        at_once: Units that train at once.
        seconds: Estimated duration of the training of all units.
        disk: Estimated size of the finished checkpoints and curves, in bytes.
    """

    steps: int
    at_once: int
    seconds: float
    disk: float


def describe(config: Config, workdir: Path) -> Iterator[str]:
    """Describe a training without starting it.

    A few steps are trained in a temporary folder to measure time, memory and disk. Inputs that a
    method computes are computed and kept as for the training. The workdir is neither read nor
    written.

    Args:
        config: A checked configuration.
        workdir: Folder that the training would get.

    Yields:
        Lines about each method as soon as it is measured, and then about memory and disk.

    Raises:
        UserError: The data are not prepared or do not fit the configuration, or the task is
            "pretrain".
    """
    if config.task == "pretrain":
        raise UserError("--dry_run does not support the task 'pretrain'. Start the training.")
    seconds, disk = 0.0, 0.0
    for name, settings in _parts(config):
        composite = load_inputs(settings)
        units = _units(settings, composite)
        folds = [unit.fold for unit in units if unit.seed == settings.seeds[0]]
        numbers = {fold.number for fold in select_folds(folds, settings.folds)}
        chosen = [unit for unit in units if unit.fold.number in numbers]
        trial = _try(settings, composite, units, chosen)
        seconds, disk = seconds + trial.seconds, disk + trial.disk
        folds = f"{len(numbers)} of {numbered(len(folds), 'fold')}"
        seeds = f" with each of {len(settings.seeds)} seeds" if len(settings.seeds) > 1 else ""
        steps = f", {trial.steps:,} steps each, {trial.at_once} at once" if trial.steps else ""
        yield (
            f"{name}: {numbered(len(composite.labels), 'clip')}, {folds}{seeds}{steps}, about"
            f" {_duration(trial.seconds)} without compiling and scoring"
        )
    folder = next(parent for parent in (workdir, *workdir.absolute().parents) if parent.exists())
    free = shutil.disk_usage(folder).free
    yield (
        f"In all: about {_duration(seconds)} on {jax.device_count()} ×"
        f" {jax.devices()[0].device_kind}; {_gigabytes(disk)} of disk when finished"
        f" ({_gigabytes(free)} free); {_memory()}"
    )
    yield "Nothing was written to the workdir. Leave out --dry_run to start."


def _parts(config: Config) -> Iterator[tuple[str, Config]]:
    """Yield the name and the settings of each run of one method."""
    if config.task == "table":
        for method in config.methods:
            yield method, check(method_config(config, config.protocol, method))
    elif config.task == "leaderboard":
        for protocol in config.protocols:
            for method in config.methods:
                yield f"{protocol} {method}", check(method_config(config, protocol, method))
    elif config.task == "reproduce":
        for varied, settings in study_parts(config).items():
            yield f"{config.model}, varied: {varied}", settings
    else:
        yield config.model, config


def _units(config: Config, composite: Composite) -> list[Unit]:
    share = config.validation_share if config.selection == "nested" else 0.0
    return [
        Unit(seed, fold, composite.labels)
        for seed in config.seeds
        for fold in make_folds(splitting(config), composite, share, seed)
    ]


def _try(config: Config, composite: Composite, units: list[Unit], chosen: list[Unit]) -> _Trial:
    """Train a group of units for a few steps in a temporary folder, and project to all of them."""
    if models.find(config.model).kind == "features":
        unit, features = chosen[0], composite.inputs["features"]
        machine = models.find(config.model).build_features(config.options.to_dict()).machine()
        started = monotonic()
        labels = composite.labels[unit.fold.train]
        svm.fit_predict(features[unit.fold.train], labels, features[unit.fold.test], machine)
        return _Trial(0, 1, (monotonic() - started) * len(chosen), 0)
    inputs = composite.inputs
    plan = BatchPlan(config, units)
    trainer = make_trainer(config, inputs, jax.local_devices()[: len(chosen)])
    at_once = units_at_once(config, trainer, inputs, plan, chosen)
    trial = copy.deepcopy(config)
    trial.recipe.num_epochs = _EPOCHS
    if config.recipe.steps_per_epoch:
        trial.recipe.steps_per_epoch = min(_STEPS, config.recipe.steps_per_epoch)
    trial.update({"score_every": _EPOCHS, "engine": {"profile": False, "folds_per_batch": at_once}})
    tried = BatchPlan(trial, units).steps
    group = [unit for unit in chosen if unit.seed == chosen[0].seed][:at_once]
    start, _ = read_start(config, inputs)
    with tempfile.TemporaryDirectory(prefix="atnet_trial_") as name, explained(config, at_once):
        folder = Path(name)
        results = train_units(
            trial, InMemory(inputs), units, group, {group[0].seed: folder}, start
        ).values()
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    of_step = sum(result.seconds[-1] for result in results) / len(group) / tried
    everything = plan.steps * config.recipe.num_epochs
    return _Trial(
        steps=everything,
        at_once=at_once,
        seconds=float(of_step) * everything * len(chosen),
        disk=size / len(group) * len(chosen),
    )


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=max(1, round(seconds))))


def _gigabytes(size: int | float) -> str:
    return f"{size / 1e9:.2f} GB"


def _memory() -> str:
    """Return the largest memory of this process and of its first device so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak *= 1 if sys.platform == "darwin" else 1024  # Linux counts in KiB.
    of_device = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    more = f", {_gigabytes(of_device)} of device memory" if of_device else ""
    return f"{_gigabytes(peak)} of memory{more}"
