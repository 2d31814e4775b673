"""Trained networks as safetensors: a folder that PyTorch, NumPy and JAX read without this package.

Each network is one .safetensors file. networks.json holds the settings they were trained with, and
README.md is the run's model card.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util

from atnet_jax.errors import UserError
from atnet_jax.names import DETECTORS
from atnet_jax.system import files, typed_json

FILE = "networks.json"
"""Name of the description's file in the folder."""

_FORMAT = 1


@dataclass(frozen=True)
class Part:
    """One network.

    Attributes:
        name: Its name, such as "fold 3 (casme2/sub04)".
        file: Its file.
        sha256: Digest of the file's bytes.
    """

    name: str
    file: str
    sha256: str


@dataclass(frozen=True)
class Description:
    """The content of networks.json.

    Attributes:
        config: The settings that the networks were trained with.
        networks: The networks, in order.
        face: The face detector of the training data, "" if unknown.
    """

    config: Mapping[str, Any]
    networks: tuple[Part, ...]
    face: str


def write(
    out: Path,
    config: Mapping[str, Any],
    names: Sequence[str],
    variables: Sequence[Mapping[str, Any]],
    face: str,
    card: str,
) -> None:
    """Write networks to a new folder, complete or not at all.

    Args:
        out: The folder, which must not exist or be empty.
        config: The settings as JSON types.
        names: Name of each network.
        variables: `{"params": …, "batch_stats": …}` of each network, float32 arrays.
        face: The face detector of the training data.
        card: The model card, for README.md.

    Raises:
        UserError: The folder exists or cannot be written.
    """
    out = out.expanduser().absolute()
    files.refuse_existing(out)
    try:
        with files.new_folder(out) as folder:
            parts = []
            for number, (name, own) in enumerate(zip(names, variables, strict=True)):
                flat = traverse_util.flatten_dict(dict(own), sep="/")
                arrays = {path: np.ascontiguousarray(leaf) for path, leaf in flat.items()}
                # One entry only, because safetensors writes several in varying order.
                packed = safetensors.numpy.save(arrays, {"format": "np"})
                file = f"network_{number:03d}.safetensors"
                files.write_bytes_atomically(folder / file, packed)
                parts.append(Part(name, file, hashlib.sha256(packed).hexdigest()))
            described = asdict(Description(config, tuple(parts), face))
            files.write_json_atomically(folder / FILE, {"format": _FORMAT, **described})
            files.write_text_atomically(folder / "README.md", card)
    except OSError as error:
        raise UserError(f"{out}: the networks cannot be written ({error}).") from error


def read(folder: Path) -> tuple[Description, list[dict[str, Any]]]:
    """Read a folder that `write` has written.

    Args:
        folder: The folder.

    Returns:
        The description, and `{"params": …, "batch_stats": …}` of each network.

    Raises:
        UserError: A file is missing or damaged, or another version wrote the folder.
    """
    path = folder / FILE
    try:
        described = _parse(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}). Export the run again.") from error
    return described, [_read_part(folder, part) for part in described.networks]


def _parse(text: bytes) -> Description:
    """Return the description that networks.json holds; raise a ValueError if it is invalid."""
    found = typed_json.parse(text)
    if found.get("format") != _FORMAT:
        raise ValueError(f"format must be {_FORMAT}, found {found.get('format')!r}")
    described = typed_json.decode(Description, found)
    if not described.networks:
        raise ValueError("networks is empty")
    if described.face not in ("", *DETECTORS):
        raise ValueError(f"face must be one of {', '.join(DETECTORS)} or empty")
    return described


def _read_part(folder: Path, part: Part) -> dict[str, Any]:
    path = folder / part.file
    if not re.fullmatch(r"network_\d+\.safetensors", part.file):
        raise UserError(f"{folder / FILE}: {part.file!r} is not the name of a network's file.")
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}). Copy the folder again."
        ) from error
    files.refuse_pointer(path, packed)
    if hashlib.sha256(packed).hexdigest() != part.sha256:
        raise UserError(f"{path}: damaged, its SHA-256 is not that in {FILE}. Copy it again.")
    try:
        flat = safetensors.numpy.load(packed)
        tree = traverse_util.unflatten_dict(flat, sep="/")
    except (safetensors.SafetensorError, ValueError, IndexError, TypeError) as error:
        raise UserError(f"{path}: not the arrays of a network ({error}). Export again.") from error
    if not all(leaf.dtype == np.float32 and np.all(np.isfinite(leaf)) for leaf in flat.values()):
        raise UserError(f"{path}: the arrays must be finite float32 numbers. Export the run again.")
    return {"params": {}, "batch_stats": {}, **tree}
