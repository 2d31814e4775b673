"""The composite: the clips of all prepared data sets, held as arrays in memory."""

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Int, UInt8

from atnet_jax.data.record import INPUTS, Key, from_record, prepared, read_records
from atnet_jax.errors import UserError
from atnet_jax.names import CLASSES, RESERVED_NAMES
from atnet_jax.preprocessing.face import SIZE
from atnet_jax.preprocessing.prepared_clip import PreparedClip


@dataclasses.dataclass(frozen=True, order=True)
class Exclusion:
    """A row of a data set's annotation that was left out.

    Attributes:
        dataset: Name of the data set.
        clip: Subject and clip, such as "sub01/EP02_01f".
        reason: The reason, in words.
    """

    dataset: str
    clip: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Composite:
    """Clips of one or several databases, sorted by (dataset, subject, clip).

    Attributes:
        inputs: Inputs of the method by name, each `[clip, ...]`.
        labels: Class of each clip: 0 negative, 1 positive, 2 surprise.
        dataset: Name of each clip's database.
        subject: Name of each clip's subject, unique within its database.
        clip: Name of each clip, unique within its subject.
        excluded: Annotation rows that were left out.
        preparation: Options with which each data set was prepared, such as its face detector.
    """

    inputs: Mapping[str, np.ndarray]
    labels: Int[np.ndarray, " clip"]
    dataset: list[str]
    subject: list[str]
    clip: list[str]
    excluded: tuple[Exclusion, ...] = ()
    preparation: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def digest(self) -> str:
        """Return the SHA-256 of names, labels and inputs; it is equal for equal data."""
        sha = hashlib.sha256()
        for row in zip(self.dataset, self.subject, self.clip, self.labels.tolist(), strict=True):
            sha.update(repr(row).encode())
        for name in sorted(self.inputs):
            array = self.inputs[name]
            sha.update(f"{name}{array.dtype}{array.shape}".encode())
            sha.update(np.ascontiguousarray(array).data)
        return sha.hexdigest()

    def clip_digests(self) -> list[dict[str, str]]:
        """Return the SHA-256 of every input of each clip, by name of the input.

        A digest covers type, shape and values. It is the same on every machine, whatever the
        order of the clips and the compression of the files.
        """
        return [
            {name: _sha256(self.inputs[name][clip]) for name in sorted(self.inputs)}
            for clip in range(len(self.labels))
        ]

    def table(self) -> dict[str, list[Any]]:
        """Return the clips as columns, which `pandas.DataFrame` or `polars.DataFrame` take.

        Returns:
            "dataset", "subject", "clip", "label" (index into `CLASSES`) and "class" (its name),
            each a list with one entry for each clip.
        """
        labels = self.labels.tolist()
        return {
            "dataset": list(self.dataset),
            "subject": list(self.subject),
            "clip": list(self.clip),
            "label": labels,
            "class": [CLASSES[label] for label in labels],
        }

    def with_shuffled_labels(self, seed: int) -> "Composite":
        """Return the same clips with their labels permuted by `seed`, as a control."""
        permutation = np.random.default_rng([seed, 0x5FF1E]).permutation(len(self.labels))
        return dataclasses.replace(self, labels=self.labels[permutation])


def load_composite(
    data_dir: str | os.PathLike[str],
    datasets: Sequence[str],
    flow: str,
    inputs: Sequence[str],
    image_size: int = 224,
) -> Composite:
    """Load the prepared data sets into one composite.

    Args:
        data_dir: Folder of the prepared data (`--data_dir` of `atnet prepare`).
        datasets: Names of the data sets, such as ("casme2", "samm", "smic").
        flow: Optical flow of the prepared data with its suffixes, a `Motion.name`.
        inputs: Names of the inputs to load, some of `INPUTS`.
        image_size: Height and width of the apex frame in pixels, see `as_prepared`.

    Returns:
        The clips of all data sets, sorted by (dataset, subject, clip).

    Raises:
        UserError: A data set is not prepared, lacks an input, contains a clip of another data set
            or a database with a reserved name, or the flow is unknown.
    """
    data_dir = Path(data_dir).expanduser()
    for what, names in (("datasets", datasets), ("inputs", inputs)):
        if isinstance(names, str):
            raise UserError(f"{what} is {names!r}, expected several names, such as ({names!r},).")
    if not datasets:
        raise UserError("datasets is empty, expected the names of prepared data sets.")
    if unknown := sorted(set(inputs) - set(INPUTS)):
        raise UserError(f"Unknown input {unknown[0]!r}. The inputs are {', '.join(INPUTS)}.")
    rows: dict[Key, tuple[int, dict[str, np.ndarray]]] = {}
    excluded: list[Exclusion] = []
    preparation: dict[str, Any] = {}
    for name in datasets:
        builder = prepared(data_dir, name, flow)
        metadata = builder.info.metadata or {}
        preparation[name] = metadata.get("options", {})
        excluded += [
            Exclusion(name, f"{row['subject']}/{row['clip']}", row["reason"])
            for row in metadata.get("excluded", [])
        ]
        for key, record in read_records(builder, inputs):
            if key[0] in RESERVED_NAMES:
                raise UserError(
                    f"A database in {name} is called {key[0]!r}, a name reserved for the results."
                    f" Rename it in the manifest and prepare the data set again."
                )
            if key in rows:
                raise UserError(
                    f"Clip {'/'.join(key)} of {name} is also in another of the data sets"
                    f" {', '.join(datasets)}. Keep it in one of them."
                )
            found = as_prepared(from_record(record, inputs), inputs, image_size)
            rows[key] = int(record["label"]), found

    keys = sorted(rows)
    return Composite(
        inputs={feature: np.stack([rows[key][1][feature] for key in keys]) for feature in inputs},
        labels=np.array([rows[key][0] for key in keys], np.int32),
        dataset=[key[0] for key in keys],
        subject=[key[1] for key in keys],
        clip=[key[2] for key in keys],
        excluded=tuple(excluded),
        preparation=preparation,
    )


def as_prepared(clip: PreparedClip, names: Sequence[str], size: int) -> dict[str, np.ndarray]:
    """Return inputs of a clip as they were prepared, with the apex frame resized.

    Args:
        clip: Clip that has these inputs.
        names: Names of the inputs, some of `INPUTS`.
        size: Height and width of the apex frame in the result, in pixels.
    """
    found = {name: getattr(clip, name) for name in names}
    return {name: resize(array, size) if _is_face(name) else array for name, array in found.items()}


def shapes_as_prepared(names: Sequence[str], size: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of each array from `as_prepared`; -1 stands for a clip-dependent length.

    Args:
        names: Names of the inputs, some of `INPUTS`.
        size: Height and width of the apex frame, in pixels.
    """
    return {name: (size, size, 1) if _is_face(name) else INPUTS[name].shape for name in names}


def _sha256(array: np.ndarray) -> str:
    little_endian = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    sha = hashlib.sha256(f"{array.dtype.name}{array.shape}".encode())
    sha.update(little_endian.data)
    return sha.hexdigest()


def _is_face(name: str) -> bool:
    return INPUTS[name].shape == (SIZE, SIZE)


def resize(image: np.ndarray, size: int) -> UInt8[np.ndarray, "{size} {size} 1"]:
    """Return a grey picture resized by area averaging.

    Args:
        image: A square picture, uint8 `[height, width]` or `[height, width, 1]`.
        size: Height and width of the result, in pixels.
    """
    if image.shape[0] != size:
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    return image.reshape(size, size, 1)
