"""The composite: the clips of all prepared data sets as arrays in memory."""

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import Int, UInt8

from atnet_jax.data.record import Key, prepared, read_records
from atnet_jax.errors import UserError
from atnet_jax.names import RESERVED_NAMES


@dataclasses.dataclass(frozen=True)
class Composite:
    """Clips of one or several databases, sorted by (dataset, subject, clip).

    Attributes:
      inputs: what the method reads, each `[clip, ...]`: "apex" uint8 `[clip, size, size, 1]`,
        "adm" float32 `[clip, 64, 128]`, "flow_map" float32 `[clip, 28, 28, 3]`.
      labels: 0 negative, 1 positive, 2 surprise.
      dataset: name of each clip's database.
      subject: each clip's subject, unique within its database.
      clip: each clip's name, unique within its subject.
      excluded: rows of the annotation that are no clips of it: (dataset, clip, reason).
      preparation: how each data set was prepared: its face detector and other options.
    """

    inputs: Mapping[str, np.ndarray]
    labels: Int[np.ndarray, " clip"]
    dataset: list[str]
    subject: list[str]
    clip: list[str]
    excluded: Sequence[tuple[str, str, str]] = ()
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
      inputs: the features to read: "apex", "adm", "flow_map".
      image_size: height and width that apex frames are reduced to, in pixels.

    Raises:
      UserError: a data set is not prepared, lacks a feature, or repeats a clip of another; or
        there is no such flow.
    """
    rows: dict[Key, tuple[int, dict[str, np.ndarray]]] = {}
    excluded: list[tuple[str, str, str]] = []
    preparation: dict[str, Any] = {}
    for name in datasets:
        builder = prepared(data_dir, name, flow)
        metadata = builder.info.metadata or {}
        preparation[name] = metadata.get("options", {})
        excluded += [
            (name, f"{row['subject']}/{row['clip']}", row["reason"])
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
            features = {feature: record[feature] for feature in inputs}
            if "apex" in features:
                features["apex"] = resize(features["apex"], image_size)
            rows[key] = int(record["label"]), features

    keys = sorted(rows)
    return Composite(
        inputs={feature: np.stack([rows[key][1][feature] for key in keys]) for feature in inputs},
        labels=np.array([rows[key][0] for key in keys], np.int32),
        dataset=[key[0] for key in keys],
        subject=[key[1] for key in keys],
        clip=[key[2] for key in keys],
        excluded=excluded,
        preparation=preparation,
    )


def resize(image: np.ndarray, size: int) -> UInt8[np.ndarray, "{size} {size} 1"]:
    """A grey picture at another size, averaged over areas.

    Args:
      image: uint8 `[height, width]` or `[height, width, 1]`, square.
      size: height and width of the result, in pixels.
    """
    if image.shape[0] != size:
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    return image.reshape(size, size, 1)
