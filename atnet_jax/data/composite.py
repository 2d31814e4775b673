"""The composite: the clips of all prepared data sets as arrays in memory."""

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
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
    """A row of a data set's annotation that gives no clip, and why."""

    dataset: str
    clip: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Composite:
    """Clips of one or several databases, sorted by (dataset, subject, clip).

    Attributes:
      inputs: what the method reads, by name, each `[clip, ...]`.
      labels: 0 negative, 1 positive, 2 surprise.
      dataset: name of each clip's database.
      subject: each clip's subject, unique within its database.
      clip: each clip's name, unique within its subject.
      excluded: rows of the annotation that are no clips of it.
      preparation: how each data set was prepared: its face detector and other options.
    """

    inputs: Mapping[str, np.ndarray]
    labels: Int[np.ndarray, " clip"]
    dataset: list[str]
    subject: list[str]
    clip: list[str]
    excluded: tuple[Exclusion, ...] = ()
    preparation: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def digest(self) -> str:
        """SHA-256 over names, labels and inputs: equal data, equal digest."""
        sha = hashlib.sha256()
        for row in zip(self.dataset, self.subject, self.clip, self.labels.tolist(), strict=True):
            sha.update(repr(row).encode())
        for name in sorted(self.inputs):
            array = self.inputs[name]
            sha.update(f"{name}{array.dtype}{array.shape}".encode())
            sha.update(np.ascontiguousarray(array).data)
        return sha.hexdigest()

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
        """The control: the same clips with their labels permuted."""
        permutation = np.random.default_rng([seed, 0x5FF1E]).permutation(len(self.labels))
        return dataclasses.replace(self, labels=self.labels[permutation])


def load_composite(
    data_dir: str | os.PathLike[str],
    datasets: Sequence[str],
    flow: str,
    inputs: Sequence[str],
    image_size: int = 224,
) -> Composite:
    """Reads the prepared data sets and joins them.

    Args:
      data_dir: where `atnet prepare` put them.
      datasets: their names, such as ("casme2", "samm", "smic").
      flow: the optical flow they were prepared with, and what follows its name.
      inputs: the names of those to read.
      image_size: see `as_prepared`.

    Raises:
      UserError: a data set is not prepared, lacks a feature, or repeats a clip of another; or
        there is no such flow.
    """
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
                    f"A database in {name} is called {key[0]!r}, which the results use for"
                    f" themselves. Rename it in the manifest and prepare it again."
                )
            if key in rows:
                raise UserError(
                    f"{'/'.join(key)} is in {name} and in another of {', '.join(datasets)}."
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
    """Inputs of a clip as they were prepared, but for the size of a single face.

    Args:
      clip: with these inputs.
      names: some of `INPUTS`.
      size: height and width in pixels that a single face, the apex frame, is reduced to.
    """
    found = {name: getattr(clip, name) for name in names}
    return {name: resize(array, size) if _is_face(name) else array for name, array in found.items()}


def shapes_as_prepared(names: Sequence[str], size: int) -> dict[str, tuple[int, ...]]:
    """The shapes of what `as_prepared` gives; -1 where clips differ."""
    return {name: (size, size, 1) if _is_face(name) else INPUTS[name].shape for name in names}


def _is_face(name: str) -> bool:
    return INPUTS[name].shape == (SIZE, SIZE)


def resize(image: np.ndarray, size: int) -> UInt8[np.ndarray, "{size} {size} 1"]:
    """A grey picture at another size, averaged over areas.

    Args:
      image: uint8 `[height, width]` or `[height, width, 1]`, square.
      size: height and width of the result, in pixels.
    """
    if image.shape[0] != size:
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    return image.reshape(size, size, 1)
