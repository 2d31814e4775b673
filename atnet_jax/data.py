"""The composite: the clips of all prepared data sets as arrays in memory."""

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int, UInt8

from atnet_jax.classes import RESERVED_NAMES
from atnet_jax.errors import UserError
from atnet_jax.prepare import MACRO_EXPRESSIONS
from atnet_jax.preprocessing.crops import COLOUR_ONSET
from atnet_jax.preprocessing.face import SIZE
from atnet_jax.preprocessing.prepared_clip import PreparedClip
from atnet_jax.preprocessing.window import HALF_WINDOW
from data_builders.variants import motion_named

Key = tuple[str, str, str]
"""Data set, subject, clip."""

INPUTS = ("apex", "adm", "flow_map", "flow", "frames", "colour", "landmarks")
"""What a method can read of a clip; see `PreparedClip`. Every clip has landmarks, found or not."""


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
      data_dir: where `python -m atnet_jax.prepare` put them.
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


def read_records(builder: Any, inputs: Sequence[str]) -> Iterator[tuple[Key, dict[str, Any]]]:
    """The records of a prepared data set, one after the other; pictures not asked for stay encoded.

    Args:
      builder: as `prepared` gives it.
      inputs: the features wanted.

    Yields:
      (data set, subject, clip) and the record.

    Raises:
      UserError: a clip lacks a feature.
    """
    skipped = {
        name: tfds.decode.SkipDecoding()
        for name, feature in builder.info.features.items()
        if isinstance(feature, tfds.features.Image) and name not in inputs
    }
    for record in builder.as_data_source("train", decoders=skipped):
        key = (text(record["dataset"]), text(record["subject"]), text(record["clip"]))
        for feature in inputs:
            if feature != "landmarks" and not record.get(f"has_{feature}"):
                raise UserError(
                    f"{'/'.join(key)} in the data set {builder.info.name} has no {feature}, which"
                    f" this model reads. Add it to the manifest and prepare it again."
                )
        yield key, record


def prepared_clip(key: Key, record: Mapping[str, Any], inputs: Sequence[str]) -> PreparedClip:
    """A record as a method reads it, without what it does not read.

    Args:
      key: data set, subject, clip.
      record: as `read_records` gives it for the same inputs.
      inputs: some of `INPUTS`.
    """
    found: dict[str, Any] = {
        name: record[name] for name in ("adm", "flow_map", "flow") if name in inputs
    }
    if "flow_map" in inputs and record.get("has_flow"):
        found["flow"] = record["flow"]
    if "apex" in inputs:
        found["apex"] = record["apex"][..., 0]
    if "frames" in inputs:
        found["frames"] = record["frames"].reshape(-1, SIZE, SIZE)
        found["apex_index"] = min(int(record["apex_frame"] - record["onset"]), HALF_WINDOW)
    if "colour" in inputs:
        colour = record["colour"].reshape(-1, SIZE, SIZE, 3)
        found["colour_onset"], found["colour_apex"] = colour[:COLOUR_ONSET], colour[COLOUR_ONSET:]
    if record.get("has_landmarks"):
        found |= {"landmarks": record["landmarks"], "landmarks_found": True}
    return PreparedClip(key="/".join(key), frame_rate=float(record["frame_rate"]), **found)


def prepared(data_dir: str | os.PathLike[str], name: str, flow: str) -> Any:
    """The TFDS builder of a prepared data set; see `load_composite` for the arguments.

    Raises:
      UserError: it is not prepared or is none of clips, or there is no such flow.
    """
    motion = motion_named(flow)
    if name in MACRO_EXPRESSIONS:
        raise UserError(
            f"{name!r} holds pictures of macro-expressions, which are for pre-training"
            f" (configs/pretrain.py); config.datasets names clips of micro-expressions here."
        )
    data_dir = Path(data_dir)
    # What a killed preparation leaves behind is called incomplete.….
    folder = data_dir / name / motion.name
    versions = sorted(folder.glob("[0-9]*/dataset_info.json"))
    if not versions:
        raise UserError(
            f"The data set {name!r} with flow {flow!r} is not prepared in "
            f"{data_dir.absolute()}. "
            f"Prepare it with: python -m atnet_jax.prepare --dataset={name} {motion.flags} "
            f"--manual_dir=FOLDER_OF_YOUR_COPY --data_dir={data_dir}"
        )
    return tfds.builder_from_directory(versions[-1].parent)


def text(value: bytes | str) -> str:
    """A record's text, which TFDS gives as bytes."""
    return value.decode() if isinstance(value, bytes) else value


def resize(image: np.ndarray, size: int) -> UInt8[np.ndarray, "{size} {size} 1"]:
    """A grey picture at another size, averaged over areas.

    Args:
      image: uint8 `[height, width]` or `[height, width, 1]`, square.
      size: height and width of the result, in pixels.
    """
    if image.shape[0] != size:
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    return image.reshape(size, size, 1)
