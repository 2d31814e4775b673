"""Folders of weights from which training can start, whichever program wrote them.

A folder contains the arrays as an Orbax checkpoint, `arrays/`. Its `about.json` records the origin
of the arrays and the checksum of the checkpoint's files.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from flax import traverse_util

from atnet_jax.errors import UserError
from atnet_jax.system import files

_ABOUT = "about.json"
_ARRAYS = "arrays"
_COLLECTIONS = ("params", "batch_stats")


@dataclasses.dataclass(frozen=True)
class Weights:
    """Arrays of all or some layers, with the network's names.

    Attributes:
        params: Trainable parameters, nested dicts of host arrays without a fold axis.
        batch_stats: Running statistics of batch normalisation, in the same form.
        about: Origin of the arrays, any JSON values.
    """

    params: Mapping[str, Any]
    batch_stats: Mapping[str, Any]
    about: Mapping[str, Any]


def save(directory: Path, weights: Weights) -> None:
    """Write weights to a new or empty folder. The folder is complete or does not exist.

    Args:
        directory: The folder.
        weights: The weights.

    Raises:
        UserError: The folder exists and is not empty, the path is a file, or writing fails.
    """
    directory = directory.expanduser().resolve()
    arrays = {
        name: traverse_util.unflatten_dict(_flat(getattr(weights, name))) for name in _COLLECTIONS
    }
    try:
        with files.new_folder(directory) as folder:
            with ocp.StandardCheckpointer() as checkpointer:
                checkpointer.save(folder / _ARRAYS, arrays)
            checksum = _files_digest(folder / _ARRAYS)
            about = {"about": dict(weights.about), "sha256": checksum}
            files.write_json_atomically(folder / _ABOUT, about)
    except OSError as error:
        raise UserError(f"{directory}: The weights cannot be written ({error}).") from error


def load(directory: Path) -> Weights:
    """Return the weights of a folder as host arrays.

    Args:
        directory: The folder.

    Raises:
        UserError: The folder does not exist, is not a folder of weights, or is damaged.
    """
    directory = directory.expanduser().absolute()
    if not directory.is_dir():
        raise UserError(f"{directory}: No such folder of weights.")
    if not (directory / _ABOUT).is_file():
        within = directory / "weights"
        hint = "Give a folder that pre-training or `atnet import-caffe` wrote."
        if (within / _ABOUT).is_file():
            hint = f"Did you mean {within}?"
        raise UserError(f"{directory} is not a folder of weights: it contains no {_ABOUT}. {hint}")
    try:
        record = json.loads((directory / _ABOUT).read_text(encoding="utf-8"))
        about, checksum = dict(record["about"]), record["sha256"]
        # Checked before Orbax reads the files, because its threads print tracebacks about damage.
        intact = _files_digest(directory / _ARRAYS) == checksum
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(
            f"{directory}: The weights cannot be read ({error}). Create the folder again."
        ) from error
    if not intact:
        raise UserError(
            f"{directory}: The weights are damaged: their files changed after they were written."
            f" Create the folder again."
        )
    with ocp.StandardCheckpointer() as checkpointer:
        tree = checkpointer.restore(directory / _ARRAYS)
    return Weights(tree["params"], tree["batch_stats"], about)


def digest(weights: Weights) -> str:
    """Return the SHA-256 over the names, shapes, types and contents of the arrays."""
    checksum = hashlib.sha256()
    for collection in _COLLECTIONS:
        for path, array in sorted(_flat(getattr(weights, collection)).items()):
            name = "/".join((collection, *path))
            checksum.update(f"{name} {array.shape} {array.dtype.str}\n".encode())
            checksum.update(array.tobytes())
    return checksum.hexdigest()


def _files_digest(directory: Path) -> str:
    """Return the SHA-256 over the names and contents of all files in a folder."""
    checksum = hashlib.sha256()
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        checksum.update(f"{path.relative_to(directory).as_posix()} {content}\n".encode())
    return checksum.hexdigest()


def overlay(state: Any, weights: Weights) -> tuple[Any, list[str]]:
    """Replace the parameters and statistics of every fold by the weights.

    All other parts of the training state stay unchanged.

    Args:
        state: State of a group of folds (`TrainState`); the first axis of its leaves is the fold.
        weights: Weights of all or some layers of the network.

    Returns:
        The new state, on the device, and the names that the weights lack and that stay unchanged.
        These are names of layers, or of single parameters if the weights have part of a layer.

    Raises:
        UserError: The weights have a layer that the network lacks, or one of another shape.
    """
    replaced: dict[str, Any] = {}
    absent, partly = set(), set()
    of_model = f"The weights are for the model {weights.about.get('model', 'unknown')!r}"
    for collection in _COLLECTIONS:
        leaves: dict[Any, Any] = traverse_util.flatten_dict(getattr(state, collection))
        given = _flat(getattr(weights, collection))
        for path, array in given.items():
            name = "/".join(path)
            if path not in leaves:
                raise UserError(
                    f"The network has no {name}, which the weights contain. {of_model}. Choose"
                    " weights for the network that is trained."
                )
            shape = tuple(leaves[path].shape[1:])
            if array.shape != shape:
                raise UserError(
                    f"{name} has the shape {array.shape} in the weights, but {shape} in the"
                    f" network. {of_model}. Choose weights for the network that is trained."
                )
            leaves[path] = jnp.broadcast_to(
                jnp.array(array, leaves[path].dtype), leaves[path].shape
            )
        absent |= leaves.keys() - given.keys()
        partly |= {path[:-1] for path in given}
        replaced[collection] = traverse_util.unflatten_dict(leaves)
    names = {"/".join(path if path[:-1] in partly else path[:-1]) for path in absent}
    return state.replace(**replaced), sorted(names)


def _flat(tree: Mapping[str, Any]) -> dict[tuple[str, ...], np.ndarray]:
    """Map the path of each leaf to a host array."""
    return {path: np.asarray(leaf) for path, leaf in traverse_util.flatten_dict(tree).items()}
