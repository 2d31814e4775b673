"""Several methods under one protocol: the whole of one of the paper's tables."""

import os
from pathlib import Path

import ml_collections
from ml_collections.config_dict import placeholder

from atnet_jax import experiment, models, processes, report
from atnet_jax.config import Config, default_config
from atnet_jax.errors import UserError
from atnet_jax.workdir import lock

# Settings that all methods share.
_SHARED = ("datasets", "data_dir", "flow", "image_size", "folds", "shuffle_labels")
# Settings of networks: None leaves each method its own.
_OF_NETWORKS = {
    "init_from": str,
    "selection": str,
    "num_epochs": int,
    "steps_per_epoch": int,
    "decay_epochs": int,
    "learning_rate": float,
    "checkpoint_every": int,
    "folds_per_batch": int,
    "precision": str,
    "deterministic": bool,
}


def suite_config(protocol: str, methods: tuple[str, ...]) -> Config:
    """The settings of a suite; each is explained in `atnet_jax.config`.

    Args:
      protocol: "cde" or "hde".
      methods: names of methods or presets.
    """
    config: Config = ml_collections.ConfigDict()
    config.methods = methods
    config.seeds = (0,)
    config.protocol = protocol
    default = default_config(methods[0])
    for field in _SHARED:
        config[field] = default[field]
    for field, kind in _OF_NETWORKS.items():
        config[field] = placeholder(kind)
    config.lock()
    return config


def run(config: Config, workdir: str | os.PathLike[str]) -> Path | None:
    """Runs every method with every seed and returns the path of the report on all.

    Each has a workdir of its own, `workdir/METHOD/seed_N`: a method that is through is not run
    again, and one that was interrupted goes on where it was. Methods without randomness (features
    and an SVM) are run with the first seed alone.

    Raises:
      UserError: see `experiment.train_and_evaluate`; no method or seed is given, or one twice.
    """
    workdir = Path(workdir)
    for field in ("methods", "seeds"):
        if not config[field] or len(set(config[field])) < len(config[field]):
            raise UserError(
                f"config.{field} is {tuple(config[field])}, expected one or several different ones."
            )
    folders = []
    with lock(workdir):
        for number, method in enumerate(config.methods, start=1):
            settings = method_config(config, method)
            print(f"\n[{number} of {len(config.methods)}] {method}")
            own = {seed: workdir / method / f"seed_{seed}" for seed in settings.seeds}
            experiment.run_seeds(settings, own)
            folders += own.values()
        if not processes.is_first():
            return None
        path = workdir / "report.html"
        report.write(folders, path)
    return path


def method_config(config: Config, method: str) -> Config:
    """The settings of one method of a suite."""
    settings = default_config(method)
    settings.protocol = config.protocol
    settings.update({field: config[field] for field in _SHARED})
    network = models.is_network(settings.model)
    settings.seeds = tuple(config.seeds) if network else tuple(config.seeds)[:1]
    for field in _OF_NETWORKS:
        if config[field] is None or not network:
            continue
        # Pre-trained weights are those of the apex frame's stream.
        if field == "init_from" and "apex" not in models.load(settings.model).INPUTS:
            continue
        settings[field] = config[field]
    return settings
