"""Trained networks of a run, loaded from its workdir."""

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Array, Float, Float32
from tqdm import tqdm

from atnet_jax import models
from atnet_jax.config import Config, restore
from atnet_jax.errors import UserError
from atnet_jax.evaluation import model_card
from atnet_jax.evaluation.record import FILE, Record, read
from atnet_jax.models import Network
from atnet_jax.system import backend
from atnet_jax.training import exchange
from atnet_jax.training.checkpoint import FoldCheckpoints
from atnet_jax.training.engine import (
    PRECISIONS,
    TrainState,
    apply_network,
    compiler_options,
    make_trainer,
)
from atnet_jax.training.loop import read_network
from atnet_jax.words import numbered

# Smallest number of networks for which loading shows a progress bar.
_MANY = 8


@dataclasses.dataclass(frozen=True, eq=False)
class Networks:
    """Trained networks of one method: one per fold and seed, or one trained on all subjects.

    Attributes:
        config: Settings of the training.
        network: Architecture of all networks.
        names: Name of each network, such as "fold 3 (casme2/sub04)" or "all subjects".
        variables: Variables of each network, {"params": …, "batch_stats": …}, as host arrays.
        face: Face detector that cropped the training data, "" if unknown or if several were used.
        notes: Warnings for users of the networks.
        card: Model card of the run as Markdown, "" if it has none.
    """

    config: Config
    network: Network
    names: tuple[str, ...]
    variables: tuple[Mapping[str, Any], ...]
    face: str = ""
    notes: tuple[str, ...] = ()
    card: str = ""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs of a network."""
        return tuple(input_shapes(self.config))

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over the networks' names and arrays."""
        checksum = hashlib.sha256()
        for name, variables in zip(self.names, self.variables, strict=True):
            checksum.update(f"{name}\n".encode())
            for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
                array = np.asarray(leaf)
                where = jax.tree_util.keystr(path)
                checksum.update(f"{where} {array.shape} {array.dtype.str}\n".encode())
                checksum.update(np.ascontiguousarray(array).data)
        return checksum.hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields, to be pickled or copied; what is compiled stays here."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @functools.cached_property
    def _probabilities(self) -> Callable[..., jax.Array]:
        """Function from variables and inputs to probabilities, compiled per number of clips."""
        return jax.jit(
            lambda variables, inputs: jax.nn.softmax(logits(self, variables, inputs)),
            compiler_options=compiler_options(backend.platform()),
        )

    def scores(self, inputs: Mapping[str, np.ndarray]) -> Float32[np.ndarray, "network clip 3"]:
        """Return the class probabilities of each clip from each network.

        Args:
            inputs: Inputs of the clips by name, `[clip, ...]`; see `input_shapes`.

        Raises:
            UserError: An input is missing or has another shape.
        """
        check_inputs(self.config, inputs)
        return np.stack(
            [np.asarray(self._probabilities(variables, inputs)) for variables in self.variables]
        )


def check_inputs(config: Config, inputs: Mapping[str, np.ndarray]) -> int:
    """Check that arrays are the inputs of `config.model`, a network.

    Args:
        config: The settings of the network.
        inputs: Inputs by name, `[clip, ...]`.

    Returns:
        The number of clips.

    Raises:
        UserError: An input is missing, has another shape, holds another number of clips or values
            that are not finite.
    """
    clips = 0
    for name, shape in input_shapes(config).items():
        if name not in inputs:
            raise UserError(
                f"The input {name!r} is missing, which {config.model} reads. load_inputs(config)"
                f" and inputs_of_clip(config, clip) return all inputs."
            )
        found = np.shape(inputs[name])
        if found[1:] != shape or not found or not found[0]:
            expected = ", ".join(map(str, ("clips", *shape)))
            raise UserError(f"The input {name!r} has the shape {found}, expected ({expected}).")
        if clips and found[0] != clips:
            raise UserError(
                f"The input {name!r} holds {numbered(found[0], 'clip')}, another input {clips}."
            )
        if not np.all(np.isfinite(inputs[name])):
            raise UserError(f"The input {name!r} contains values that are not finite.")
        clips = found[0]
    return clips


def input_shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """Return the shape of each input of one clip by name; `config.model` must be a network."""
    return _network(config).input_shapes(config.data.image_size)


def unit_shapes(config: Config) -> TrainState:
    """Return the shapes of the training state of one unit; `config.model` must be a network."""
    shapes = input_shapes(config)
    return make_trainer(
        config, {name: np.zeros((1, *shapes[name])) for name in shapes}
    ).unit_shapes()


def one_network(config: Config, name: str, variables: Mapping[str, Any]) -> Networks:
    """Return one trained network, ready to be applied.

    Args:
        config: The settings it was trained with.
        name: Its name, such as "fold 3 (casme2/sub04)".
        variables: `{"params": …, "batch_stats": …}` as host arrays.
    """
    return Networks(config, _network(config), (name,), (variables,), notes=tuple(_notes(config)))


def _network(config: Config) -> Network:
    return models.find(config.model).build_network(config.options.to_dict())


def logits(
    trained: Networks, variables: Mapping[str, Any], inputs: Mapping[str, Any]
) -> Float[Array, "clip 3"]:
    """Return the logits of each clip from one network; a pure function of the arrays.

    Args:
        trained: The networks.
        variables: Variables of one of the networks, {"params": …, "batch_stats": …}.
        inputs: Inputs of the clips by name, `[clip, ...]`; see `input_shapes`.
    """
    batch = {name: jnp.asarray(inputs[name], jnp.float32) for name in trained.inputs}
    with jax.default_matmul_precision(PRECISIONS[trained.config.recipe.precision]):
        return apply_network(
            trained.network,
            trained.config.recipe.precision,
            variables["params"],
            variables["batch_stats"],
            batch,
            train=False,
        )


def load_networks(workdir: str | os.PathLike[str]) -> Networks:
    """Load the networks of a finished run with one or several seeds, or of an exported folder.

    Args:
        workdir: The workdir of the run, or a folder written by `export_safetensors`.

    Returns:
        The networks of all folds and seeds.

    Raises:
        UserError: The folder has no run, the run has not finished, its method is not a network,
            checkpoints are missing or damaged, or another version of this program wrote the run.
    """
    workdir = Path(workdir).expanduser()
    if not workdir.is_dir():
        what = "this is a file" if workdir.is_file() else "no such folder"
        raise UserError(f"{workdir}: {what}. Pass the workdir of a run of `atnet train`.")
    if (workdir / exchange.FILE).exists():
        return _load_exchanged(workdir)
    folders = [workdir]
    if not (workdir / FILE).exists():
        seeds = sorted(
            (path.parent for path in workdir.glob(f"seed_*/{FILE}")),
            key=lambda folder: (len(folder.name), folder.name),
        )
        folders = seeds or folders
    runs = [_load_run(folder, len(folders) > 1) for folder in folders]
    return dataclasses.replace(
        runs[0],
        names=tuple(name for run in runs for name in run.names),
        variables=tuple(variables for run in runs for variables in run.variables),
        card=_read_card(workdir / model_card.FILE),
    )


def export_safetensors(networks: Networks, out: str | os.PathLike[str]) -> None:
    """Write networks to a new folder of .safetensors files; `load_networks` reads it back.

    Args:
        networks: The networks, from `load_networks`.
        out: The folder, which must not exist or be empty.

    Raises:
        UserError: The folder exists or cannot be written, or the networks have no model card.
    """
    if not networks.card:
        raise UserError(
            f"These networks have no model card. Rerun the command of their run, which writes"
            f" {model_card.FILE}, and load the networks from its workdir."
        )
    exchange.write(
        Path(out),
        json.loads(networks.config.to_json()),
        networks.names,
        networks.variables,
        networks.face,
        networks.card,
    )


def _load_exchanged(folder: Path) -> Networks:
    described, variables = exchange.read(folder)
    try:
        config = restore(described.config)
    except UserError as error:
        raise UserError(f"{folder / exchange.FILE}: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{folder / exchange.FILE}: config is not the settings of a run. Export the run again."
        ) from error
    expected = _shapes(unit_shapes(config).network)
    for part, own in zip(described.networks, variables, strict=True):
        if _shapes(own) != expected:
            raise UserError(
                f"{folder / part.file}: the arrays do not match {config.model} with the settings in"
                f" {exchange.FILE}. Export the run again."
            )
    return Networks(
        config=config,
        network=_network(config),
        names=tuple(part.name for part in described.networks),
        variables=tuple(variables),
        face=described.face,
        notes=tuple(_notes(config)),
        card=_read_card(folder / "README.md"),
    )


def _read_card(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _shapes(variables: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    leaves: dict[str, Any] = traverse_util.flatten_dict(dict(variables), sep="/")
    return {path: leaf.shape for path, leaf in leaves.items()}


def _load_run(folder: Path, several_seeds: bool) -> Networks:
    record = read(folder)
    if record.task == "pretrain":
        raise UserError(
            f"{folder} is a pre-training run, whose network knows only macro-expressions. Train a"
            f" run with --config.init_from={folder / 'weights'}, and pass that run."
        )
    model, chosen = record.model, record.folds.run
    if model in models.names() and models.find(model).kind != "network":
        raise UserError(
            f"{folder} is a run of {model}, which classifies features with an SVM and keeps no"
            " trained network. Pass a run of a network, such as --config=final."
        )
    try:
        config = restore(record.config)
    except UserError as error:
        raise UserError(f"{folder / FILE}: {error}") from error
    if not config.engine.keep_networks:
        raise UserError(
            f"{folder} is a run with config.engine.keep_networks=False, which keeps no trained"
            " network. Pass a run that keeps its networks, such as --config=final."
        )
    shape_of_a_unit = unit_shapes(config)
    names, variables = [], []
    with FoldCheckpoints(folder / "checkpoints") as checkpoints:
        for number in tqdm(
            chosen, "loading networks", unit=" networks", disable=len(chosen) < _MANY or None
        ):
            name = record.folds.names[number]
            done = checkpoints.epochs_done(number)
            if done < config.recipe.num_epochs:
                hint = (
                    "Rerun the command of the run, which resumes"
                    if (folder / "checkpoints").is_dir()
                    else "Merged runs have no checkpoints: pass one of the parts"
                )
                raise UserError(
                    f"{folder}: fold {number} ({name}) has a checkpoint of {done} of"
                    f" {numbered(config.recipe.num_epochs, 'epoch')}. {hint}."
                )
            variables.append(read_network(checkpoints, number, shape_of_a_unit))
            whose = "all subjects" if config.task == "final" else f"fold {number} ({name})"
            names.append(f"seed {config.seeds[0]}, {whose}" if several_seeds else whose)
    return Networks(
        config=config,
        network=_network(config),
        names=tuple(names),
        variables=tuple(variables),
        face=_face(record),
        notes=tuple(_notes(config)),
    )


def _face(record: Record) -> str:
    """Return the face detector of all data sets, "" if they differ or the record has none."""
    detectors = {options.get("face") for options in record.preparation.values()}
    return str(detectors.pop()) if len(detectors) == 1 else ""


def _notes(config: Config) -> list[str]:
    notes = []
    if config.shuffle_labels:
        notes.append(
            "These networks come from a control run: they were trained on permuted labels, so their"
            " predictions are meaningless."
        )
    return notes
