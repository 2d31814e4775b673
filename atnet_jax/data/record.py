"""The record of a prepared clip: its contents, and functions to write and read it.

To add an input, add an entry to `INPUTS` and a field of the same name to `PreparedClip`. Writing,
reading, the checks of the doctor and the input shapes of networks all use `INPUTS`.
"""

import abc
import contextlib
import math
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np

from atnet_jax.errors import UserError, nearest
from atnet_jax.names import CLASSES, DATASETS, MACRO_EXPRESSIONS, MICRO_EXPRESSIONS
from atnet_jax.preprocessing.adm import BLOCKS
from atnet_jax.preprocessing.annotation import Clip
from atnet_jax.preprocessing.crops import COLOUR_APEX, COLOUR_ONSET
from atnet_jax.preprocessing.face import SIZE
from atnet_jax.preprocessing.flow_map import MAP_SIZE
from atnet_jax.preprocessing.motion import motion_named
from atnet_jax.preprocessing.prepared_clip import STANDARD_LANDMARKS, PreparedClip
from atnet_jax.preprocessing.window import FLOWS, HALF_WINDOW

# Functions import TFDS, which is slow, so that worker processes can import this module without it.

Key = tuple[str, str, str]
"""Data set, subject, clip."""

Record = dict[str, Any]
"""A record in the form that TFDS writes and reads, with encoded pictures."""

RELEASE_NOTES = {
    "1.0.0": "First version.",
    "1.1.0": "Frames around the apex.",
    "1.2.0": "Flow from onset to apex at full size, onset and apex in colour, landmarks.",
}
"""Changes of the record format, by version."""

FIRST_VERSION, *_, VERSION = RELEASE_NOTES
"""Oldest version that can be read, and the version that is written."""


@dataclass(frozen=True, eq=False)
class Input(abc.ABC):
    """One input of a clip.

    Attributes:
        title: Name of the input in messages.
        shape: Shape of its array in `PreparedClip`; -1 for a clip-dependent length.
        since: First version of the record that contains the input.
        required: If true, a method that reads the input cannot use a clip without it.
        absent: Placeholder in the records of clips without the input; None stands for zeros.
    """

    title: str
    shape: tuple[int, ...]
    since: str = FIRST_VERSION
    required: bool = True
    absent: np.ndarray | None = None

    dtype: ClassVar[type[np.generic]]

    @abc.abstractmethod
    def feature(self) -> Any:
        """Return the TFDS feature."""

    @abc.abstractmethod
    def decode(self, stored: Any) -> np.ndarray:
        """Return the array that a record stores.

        Args:
            stored: Value of the feature in the record.

        Raises:
            ValueError: The record is damaged; the message addresses the user.
        """

    def encode(self, array: np.ndarray | None) -> Any:
        """Return the value of the feature for an array.

        Args:
            array: The array, or None to encode the placeholder.

        Raises:
            ValueError: The array has another shape or dtype.
        """
        if array is None:
            array = self.absent
        if array is None:
            array = np.zeros([abs(side) for side in self.shape], self.dtype)
        if array.dtype != self.dtype or not self._fits(array.shape):
            raise ValueError(
                f"the {self.title}: expected {np.dtype(self.dtype)} {self.shape}, found"
                f" {array.dtype} {array.shape}"
            )
        return array

    def _fits(self, shape: tuple[int, ...]) -> bool:
        return len(shape) == len(self.shape) and all(
            expected in (-1, side) for expected, side in zip(self.shape, shape, strict=True)
        )

    def _misshapen(self, shape: tuple[int, ...]) -> ValueError:
        return ValueError(f"the shape of the {self.title} is {shape}")


@dataclass(frozen=True, eq=False)
class Numbers(Input):
    """An array of floating point numbers.

    Attributes:
        packed: If true, records store the array compressed.
    """

    packed: bool = False

    dtype = np.float32

    def feature(self) -> Any:
        """See the base class."""
        import tensorflow_datasets as tfds

        encoding = tfds.features.Encoding.ZLIB if self.packed else tfds.features.Encoding.NONE
        return tfds.features.Tensor(shape=self.shape, dtype=self.dtype, encoding=encoding)

    def decode(self, stored: np.ndarray) -> np.ndarray:
        """See the base class."""
        if not self._fits(stored.shape):
            raise self._misshapen(stored.shape)
        return stored


@dataclass(frozen=True, eq=False)
class Pictures(Input):
    """Grey or RGB pictures, which a record stores one below the other in one PNG."""

    dtype = np.uint8

    @property
    def _sheet(self) -> tuple[int, int, int]:
        """Rows, columns and channels of the PNG; rows are -1 if clips differ in length."""
        channels = 3 if self.shape[-1] == 3 else 1
        *count, height, width = self.shape[:-1] if channels == 3 else self.shape
        return -1 if -1 in count else math.prod((*count, height)), width, channels

    def feature(self) -> Any:
        """See the base class."""
        import tensorflow_datasets as tfds

        rows, columns, channels = self._sheet
        shape = (None if rows == -1 else rows, columns, channels)
        return tfds.features.Image(shape=shape, dtype=self.dtype, encoding_format="png")

    def encode(self, array: np.ndarray | None) -> bytes:
        """See the base class."""
        _, columns, channels = self._sheet
        picture = super().encode(array).reshape(-1, columns, channels)
        if channels == 3:
            picture = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        return cv2.imencode(".png", picture)[1].tobytes()

    def decode(self, stored: bytes) -> np.ndarray:
        """See the base class."""
        data = np.frombuffer(stored, np.uint8)
        picture = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
        if picture is None:
            raise ValueError(f"the {self.title} cannot be decoded")
        rows, columns, channels = self._sheet
        found = np.atleast_3d(picture).shape
        whole = found[0] % SIZE == 0 if rows == -1 else found[0] == rows
        if not whole or found[1:] != (columns, channels):
            raise self._misshapen(picture.shape)
        if channels == 3:
            picture = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
        return picture.reshape(self.shape)


FACE = Pictures("face", (SIZE, SIZE))
"""Format of one grey face crop."""

# `PreparedClip` documents each input. The order is the order of the features in a record.
INPUTS: dict[str, Input] = {
    "apex": Pictures("apex picture", (SIZE, SIZE)),
    "adm": Numbers("ADM", (FLOWS, 2 * BLOCKS * BLOCKS)),
    "flow_map": Numbers("flow map", (MAP_SIZE, MAP_SIZE, 3)),
    "frames": Pictures("frames", (-1, SIZE, SIZE), since="1.1.0"),
    "flow": Numbers("flow", (SIZE, SIZE, 2), since="1.2.0", packed=True),
    "colour": Pictures(
        "pictures in colour", (COLOUR_ONSET + COLOUR_APEX, SIZE, SIZE, 3), since="1.2.0"
    ),
    "landmarks": Numbers(
        "landmarks", (5, 2), since="1.2.0", required=False, absent=STANDARD_LANDMARKS
    ),
}
"""Inputs that a method can read, by name."""


def features() -> Any:
    """Return the TFDS features of a clip's record.

    * Each of `INPUTS`, and for each a has_…, which is true if the clip has the input.
    * dataset, subject, clip: names, which together form the key.
    * emotion: emotion as spelled in the annotation; label: class derived from it.
    * onset, apex_frame, offset: frame numbers of the annotation, -1 if unknown.
    * frame_rate: frames per second, 0 if unknown.
    * crop_box: x0, y0, x1, y1 of the face in pixels of the frame, all 0 if unknown.
    """
    import tensorflow_datasets as tfds

    return tfds.features.FeaturesDict(
        {
            **{name: each.feature() for name, each in INPUTS.items()},
            **{f"has_{name}": tfds.features.Scalar(np.bool_) for name in INPUTS},
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


def to_record(clip: Clip, seen: PreparedClip) -> Record:
    """Return the record of a clip.

    Args:
        clip: Annotation of the clip.
        seen: Inputs of the clip; a None is recorded as absent.
    """
    return {
        **encode(seen, INPUTS),
        "dataset": clip.dataset,
        "subject": clip.subject,
        "clip": clip.clip,
        "emotion": clip.emotion,
        "label": clip.label,
        "onset": clip.onset,
        "apex_frame": clip.apex,
        "offset": clip.offset,
        "frame_rate": clip.frame_rate,
        "crop_box": np.asarray(seen.crop_box, np.float32),
    }


def encode(seen: PreparedClip, names: Iterable[str]) -> Record:
    """Return the features of the inputs `names` of a clip, and a has_… feature for each."""
    arrays = {name: getattr(seen, name) for name in names}
    return {
        **{name: INPUTS[name].encode(array) for name, array in arrays.items()},
        **{f"has_{name}": array is not None for name, array in arrays.items()},
    }


def from_record(record: Mapping[str, Any], names: Collection[str]) -> PreparedClip:
    """Return the clip that a record describes.

    Args:
        record: A record that `read_records` returned.
        names: Names of the inputs to decode, some of `INPUTS`. With "flow_map", the flow is decoded
            as well, because flow maps of other sizes are computed from it.

    Raises:
        UserError: The record is damaged.
    """
    key = "/".join(key_of(record))
    wanted = {*names, "flow"} if "flow_map" in names else {*names}
    there = [name for name in INPUTS if name in wanted and record.get(f"has_{name}")]
    try:
        found: dict[str, Any] = {name: INPUTS[name].decode(record[name]) for name in there}
    except ValueError as error:
        raise UserError(
            f"{key}: {error}. The record is damaged. Delete the prepared data set and prepare it"
            " again."
        ) from error
    if "frames" in found:
        found["apex_index"] = min(int(record["apex_frame"] - record["onset"]), HALF_WINDOW)
    x0, y0, x1, y1 = record["crop_box"].tolist()
    return PreparedClip(
        key, frame_rate=float(record["frame_rate"]), crop_box=(x0, y0, x1, y1), **found
    )


def key_of(record: Mapping[str, Any]) -> Key:
    """Return the key of a record's clip."""
    return text(record["dataset"]), text(record["subject"]), text(record["clip"])


def text(value: bytes | str) -> str:
    """Return a text feature, which TFDS reads as bytes, as a string."""
    return value.decode() if isinstance(value, bytes) else value


def prepared(data_dir: str | os.PathLike[str], name: str, flow: str) -> Any:
    """Return the TFDS builder of a prepared data set of micro-expression clips.

    Args:
        data_dir: Folder of the prepared data (`--data_dir` of `atnet prepare`).
        name: Name of the data set, such as "casme2".
        flow: Optical flow of the prepared data with its suffixes, a `Motion.name`.

    Raises:
        UserError: The data set is not prepared, consists of macro-expression pictures, or the flow
            is unknown.
        DamagedDataError: A file that describes it is damaged or missing.
    """
    motion = motion_named(flow)
    if name not in DATASETS:
        raise UserError(
            f"Unknown data set {name!r}.{nearest(name, MICRO_EXPRESSIONS)} Expected one of"
            f" {', '.join(MICRO_EXPRESSIONS)}; clips of any other database are in a manifest."
        )
    if name in MACRO_EXPRESSIONS:
        raise UserError(
            f"{name!r} contains pictures of macro-expressions, which serve pre-training"
            f" (--config=pretrain). Expected a data set of micro-expression clips."
        )
    title = f"data set {name!r} with flow {flow!r}"
    builder = newest(Path(data_dir), f"{name}/{motion.name}", title, f"{name} {motion.flags}")
    # Inputs may be absent, because earlier versions had fewer.
    inputs = {feature for name in INPUTS for feature in (name, f"has_{name}")}
    if missing := sorted(features().keys() - inputs - builder.info.features.keys()):
        raise DamagedDataError(
            f"The prepared data in {builder.data_dir} lack {', '.join(missing)}. Their"
            f" features.json is damaged, or another version of this package wrote them. Delete this"
            f" folder and prepare the data set again."
        )
    return builder


def newest(data_dir: Path, folder: str, what: str, options: str) -> Any:
    """Return the TFDS builder of the newest version of a prepared data set.

    Args:
        data_dir: Folder of the prepared data (`--data_dir` of `atnet prepare`).
        folder: Folder of the data set, relative to `data_dir`.
        what: Description of the data set, for the error message.
        options: Options of `atnet prepare` that prepare it, starting with the value of --dataset.

    Raises:
        UserError: The data set is not prepared.
        DamagedDataError: A file that describes it is damaged or missing.
    """
    import tensorflow_datasets as tfds

    # A killed preparation leaves a folder called incomplete.…, which this pattern skips.
    versions = sorted((data_dir / folder).glob("[0-9]*/dataset_info.json"))
    if not versions:
        raise UserError(
            f"The {what} is not prepared in {data_dir.absolute()}. Prepare it with: atnet prepare"
            f" --dataset={options} --manual_dir=FOLDER_OF_YOUR_COPY --data_dir={data_dir}"
        )
    with explained(versions[-1].parent):
        builder = tfds.builder_from_directory(versions[-1].parent)
        _ = builder.info.metadata  # TFDS reads it when it is first used.
    return builder


class DamagedDataError(UserError):
    """The files of a prepared data set are damaged or incomplete; raised by `explained`."""


@contextlib.contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn the errors of TFDS and its libraries about damaged files into one sentence.

    Args:
        folder: Folder of the prepared data set that the block reads.

    Raises:
        DamagedDataError: The block raised another error than a `UserError` or a `MemoryError`.
        Exception: One of these two.
    """
    try:
        yield
    except Exception as error:  # TFDS, protobuf and Riegeli raise many kinds of errors.
        if isinstance(error, UserError | MemoryError):
            raise
        found = f"{type(error).__name__}: {error}".splitlines()[0][:200].rstrip(".")
        raise DamagedDataError(
            f"The prepared data in {folder} cannot be read ({found}). `atnet doctor"
            f" --data_dir=FOLDER` checks every record. If a file is damaged or missing, delete this"
            f" folder and prepare the data set again."
        ) from error


class _Records(Sequence[Record]):
    """Records that `explained` guards as they are read."""

    def __init__(self, source: Sequence[Record], folder: Path) -> None:
        self._source, self._folder = source, folder

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        with explained(self._folder):
            return self._source[index]


def open_records(builder: Any) -> Sequence[Record]:
    """Return the records of a prepared data set as a sequence, with encoded pictures.

    Args:
        builder: Builder that `prepared` returned.

    Raises:
        DamagedDataError: The file of the records is missing or damaged. Reading a record raises
            this error too.
    """
    import tensorflow_datasets as tfds

    encoded = {
        name: tfds.decode.SkipDecoding()
        for name, feature in builder.info.features.items()
        if isinstance(feature, tfds.features.Image)
    }
    with explained(Path(builder.data_dir)):
        source = builder.as_data_source("train", decoders=encoded)
        return _Records(source, Path(builder.data_dir))


def read_records(builder: Any, names: Sequence[str]) -> Iterator[tuple[Key, Record]]:
    """Read the records of a prepared data set one by one.

    Args:
        builder: Builder that `prepared` returned.
        names: Names of the inputs that each clip must have, some of `INPUTS`.

    Yields:
        The key of each clip and its record.

    Raises:
        UserError: A clip lacks a required input.
    """
    for record in open_records(builder):
        key = key_of(record)
        for name in names:
            if INPUTS[name].required and not record.get(f"has_{name}"):
                raise UserError(
                    f"{'/'.join(key)} in the data set {builder.info.name} has no {name}, which"
                    f" this model needs. Add it to the manifest and prepare the data set again."
                )
        yield key, record
