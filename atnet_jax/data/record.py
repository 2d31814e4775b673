"""A clip's record: its features, and how they are read."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from atnet_jax.errors import UserError
from atnet_jax.names import CLASSES, MACRO_EXPRESSIONS
from atnet_jax.preprocessing.crops import COLOUR_APEX, COLOUR_ONSET
from atnet_jax.preprocessing.face import SIZE
from atnet_jax.preprocessing.motion import motion_named
from atnet_jax.preprocessing.prepared_clip import PreparedClip
from atnet_jax.preprocessing.window import HALF_WINDOW

Key = tuple[str, str, str]
"""Data set, subject, clip."""


INPUTS = ("apex", "adm", "flow_map", "flow", "frames", "colour", "landmarks")
"""What a method can read of a clip; see `PreparedClip`. Every clip has landmarks, found or not."""


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
            f"Prepare it with: atnet prepare --dataset={name} {motion.flags} "
            f"--manual_dir=FOLDER_OF_YOUR_COPY --data_dir={data_dir}"
        )
    return tfds.builder_from_directory(versions[-1].parent)


def text(value: bytes | str) -> str:
    """A record's text, which TFDS gives as bytes."""
    return value.decode() if isinstance(value, bytes) else value


def record_features() -> tfds.features.FeaturesDict:
    """The record of one clip.

    * apex: the face at the apex frame, grey levels 0–255.
    * adm: average direction (radians) and magnitude (pixels) of 64 flows in 64 blocks each.
    * flow_map: flow from onset to apex: horizontal, vertical, optical strain.
    * frames: the face in the frames around the apex (at most 32 on each side, within onset…offset),
      one below the other, for the features that are computed from a clip.
    * flow: the flow from onset to apex at the size of the crop: u, v in pixels.
    * colour: RGB of the face at the onset and the frame after it, and from two frames before the
      apex to two after it (within onset…offset), one below the other.
    * landmarks: x and y of both eyes, the nose and both corners of the mouth at the apex, in pixels
      of the crop; a standard face's where has_landmarks is false.
    * has_apex, has_adm, has_flow_map, has_frames, has_flow, has_colour: whether the input is
      there; it is all zero where it is not.
    * dataset, subject, clip: names, together the key.
    * emotion: as the annotation spells it; label: the class made of it.
    * onset, apex_frame, offset: frame numbers of the annotation, -1 where unknown.
    * frame_rate: frames per second, 0 where unknown.
    * crop_box: x0, y0, x1, y1 of the face in pixels of the frame, all 0 where unknown.
    """
    return tfds.features.FeaturesDict(
        {
            "apex": tfds.features.Image(
                shape=(*APEX_SHAPE, 1), dtype=np.uint8, encoding_format="png"
            ),
            "adm": tfds.features.Tensor(shape=ADM_SHAPE, dtype=np.float32),
            "flow_map": tfds.features.Tensor(shape=FLOW_MAP_SHAPE, dtype=np.float32),
            "frames": tfds.features.Image(
                shape=(None, APEX_SHAPE[1], 1), dtype=np.uint8, encoding_format="png"
            ),
            "flow": tfds.features.Tensor(
                shape=FLOW_SHAPE, dtype=np.float32, encoding=tfds.features.Encoding.ZLIB
            ),
            "colour": tfds.features.Image(
                shape=COLOUR_SHAPE, dtype=np.uint8, encoding_format="png"
            ),
            "landmarks": tfds.features.Tensor(shape=(5, 2), dtype=np.float32),
            "has_apex": tfds.features.Scalar(np.bool_),
            "has_adm": tfds.features.Scalar(np.bool_),
            "has_flow_map": tfds.features.Scalar(np.bool_),
            "has_frames": tfds.features.Scalar(np.bool_),
            "has_flow": tfds.features.Scalar(np.bool_),
            "has_colour": tfds.features.Scalar(np.bool_),
            "has_landmarks": tfds.features.Scalar(np.bool_),
            "dataset": tfds.features.Text(),
            "subject": tfds.features.Text(),
            "clip": tfds.features.Text(),
            "emotion": tfds.features.Text(),
            "label": tfds.features.ClassLabel(names=CLASSES),
            "onset": tfds.features.Scalar(np.int32),
            "apex_frame": tfds.features.Scalar(np.int32),
            "offset": tfds.features.Scalar(np.int32),
            "frame_rate": tfds.features.Scalar(np.float32),
            "crop_box": tfds.features.Tensor(shape=(4,), dtype=np.float32),
        }
    )


APEX_SHAPE = (SIZE, SIZE)
ADM_SHAPE = (64, 128)
FLOW_MAP_SHAPE = (28, 28, 3)
FLOW_SHAPE = (SIZE, SIZE, 2)
COLOUR_SHAPE = ((COLOUR_ONSET + COLOUR_APEX) * SIZE, SIZE, 3)
