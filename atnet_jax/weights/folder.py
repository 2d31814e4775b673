"""A folder of weights: what training can start from, whichever program it comes from.

It holds the arrays as an Orbax checkpoint, `arrays/`, and in `about.json` where they come from and
the checksum of that checkpoint's files.
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
    """Arrays by layer, named as the network names them; they may be of some layers only.

    Attributes:
      params: trainable parameters, nested dicts of host arrays without a fold axis.
      batch_stats: running statistics of batch normalisation, likewise.
      about: where they come from; anything that JSON can hold.
    """

    params: Mapping[str, Any]
    batch_stats: Mapping[str, Any]
    about: Mapping[str, Any]


def save(directory: Path, weights: Weights) -> None:
    """Writes weights to a new or empty folder, which is complete or not there at all.

    Raises:
      UserError: there is something else of that name, or it cannot be written.
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
        raise UserError(f"{directory}: the weights cannot be written ({error}).") from error


def load(directory: Path) -> Weights:
    """Reads a folder of weights as host arrays.

    Raises:
      UserError: there is no such folder, it is none of weights, or it is damaged.
    """
    directory = directory.expanduser().absolute()
    if not directory.is_dir():
        raise UserError(f"{directory}: no such folder of weights.")
    if not (directory / _ABOUT).is_file():
        within = directory / "weights"
        hint = "give one that pre-training or `atnet import-caffe` wrote."
        if (within / _ABOUT).is_file():
            hint = f"do you mean {within}?"
        raise UserError(f"{directory} is no folder of weights, it holds no {_ABOUT}; {hint}")
    try:
        record = json.loads((directory / _ABOUT).read_text(encoding="utf-8"))
        about, checksum = dict(record["about"]), record["sha256"]
        # Before Orbax sees them: its threads print tracebacks of their own about damaged files.
        intact = _files_digest(directory / _ARRAYS) == checksum
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(
            f"{directory}: the weights cannot be read ({error}). Make the folder again."
        ) from error
    if not intact:
        raise UserError(
            f"{directory}: the weights are damaged, they are not the files that were written. Make"
            f" the folder again."
        )
    with ocp.StandardCheckpointer() as checkpointer:
        tree = checkpointer.restore(directory / _ARRAYS)
    return Weights(tree["params"], tree["batch_stats"], about)


def digest(weights: Weights) -> str:
    """SHA-256 over the names, shapes, types and contents of the arrays."""
    checksum = hashlib.sha256()
    for collection in _COLLECTIONS:
        for path, array in sorted(_flat(getattr(weights, collection)).items()):
            name = "/".join((collection, *path))
            checksum.update(f"{name} {array.shape} {array.dtype.str}\n".encode())
            checksum.update(array.tobytes())
    return checksum.hexdigest()


def _files_digest(directory: Path) -> str:
    """SHA-256 over the names and contents of all files in a folder."""
    checksum = hashlib.sha256()
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        checksum.update(f"{path.relative_to(directory).as_posix()} {content}\n".encode())
    return checksum.hexdigest()


def overlay(state: Any, weights: Weights) -> tuple[Any, list[str]]:
    """Lays weights over the parameters and statistics of every fold.

    The rest of training's state stays as it is.

    Args:
      state: of a group of folds (`TrainState`), whose leaves have the fold as their first axis.
      weights: of all layers of the network or some.

    Returns:
      The new state, on the device, and what the weights do not hold and stays as it was: names of
      layers, or of single parameters of a layer that the weights hold in part.

    Raises:
      UserError: the weights hold a layer that the network lacks, or one of another shape.
    """
    replaced: dict[str, Any] = {}
    absent, partly = set(), set()
    of_model = f"They are weights of the model {weights.about.get('model', 'unknown')!r}"
    for collection in _COLLECTIONS:
        leaves: dict[Any, Any] = traverse_util.flatten_dict(getattr(state, collection))
        given = _flat(getattr(weights, collection))
        for path, array in given.items():
            name = "/".join(path)
            if path not in leaves:
                raise UserError(f"The network has no {name}, which the weights hold. {of_model}.")
            shape = tuple(leaves[path].shape[1:])
            if array.shape != shape:
                raise UserError(
                    f"The weights' {name} has the shape {array.shape}, the network's {shape}."
                    f" {of_model}."
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
    """Path → host array."""
    return {path: np.asarray(leaf) for path, leaf in traverse_util.flatten_dict(tree).items()}
