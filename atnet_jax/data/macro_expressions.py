"""Macro-expression pictures: names and labels in memory, the pictures streamed from disk."""

import dataclasses
import hashlib
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import grain
import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int, UInt8

from atnet_jax.data.composite import resize
from atnet_jax.data.folds import hold_back
from atnet_jax.data.record import newest, text
from atnet_jax.errors import UserError

# Four threads read and decode about 2,000 pictures a second on two cores, more were slower there:
# reading a record holds Python's lock. Ahead of the training they hold 64 pictures, 3 MB.
_READ = grain.ReadOptions(num_threads=4, prefetch_buffer_size=64)


@dataclasses.dataclass(frozen=True)
class MacroPictures:
    """The pictures of one or several prepared data sets, one set after the other.

    What is held of a picture is its class and whose it is: twelve bytes.

    Attributes:
      names: of the data sets.
      labels: 0 negative, 1 positive, 2 surprise.
      dataset: each picture's data set, an index into `names`.
      subject: each picture's subject, an index into `subjects`.
      subjects: (data set, subject), in the order of first appearance.
      sha256: over names, labels and encoded pictures: equal data, equal digest.
      image_size: height and width that pictures are reduced to, in pixels.
      sources: random access to the records of each data set.
    """

    names: Sequence[str]
    labels: Int[np.ndarray, " picture"]
    dataset: Int[np.ndarray, " picture"]
    subject: Int[np.ndarray, " picture"]
    subjects: Sequence[tuple[str, str]]
    sha256: str
    image_size: int
    sources: Sequence[Sequence[Any]]

    def read(self, picture: int | np.integer) -> UInt8[np.ndarray, "{self.image_size} _ 1"]:
        """Reads one picture from disk.

        Raises:
          UserError: the record holds no picture.
        """
        dataset = self.dataset[picture]
        position = int(picture - np.searchsorted(self.dataset, dataset))
        encoded = np.frombuffer(self.sources[dataset][position]["image"], np.uint8)
        image = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED) if encoded.size else None
        if image is None:
            raise UserError(
                f"Record {position} of the data set {self.names[dataset]} holds no picture. Delete"
                f" the prepared data set and prepare it again."
            )
        return resize(image, self.image_size)

    def batches(
        self, pictures: Int[np.ndarray, " any"], batch_size: int
    ) -> Iterator[UInt8[np.ndarray, "batch size size 1"]]:
        """Reads pictures in the given order, a few batches ahead; the last batch may be smaller."""
        stream = grain.MapDataset.range(len(pictures)).map(lambda k: self.read(pictures[k]))
        return iter(stream.to_iter_dataset(_READ).batch(batch_size))


def load_macro_pictures(
    data_dir: str | os.PathLike[str], names: Sequence[str], image_size: int = 224
) -> MacroPictures:
    """Opens the prepared data sets and reads names and labels; no picture is decoded or kept.

    Args:
      data_dir: where `atnet prepare` put them.
      names: such as ("ck_plus", "jaffe").
      image_size: height and width that pictures are reduced to, in pixels.

    Raises:
      UserError: a data set is not prepared.
    """
    sha = hashlib.sha256()
    sources: list[Sequence[Any]] = []
    labels: list[int] = []
    dataset: list[int] = []
    subject: list[int] = []
    subjects: dict[tuple[str, str], int] = {}
    for number, name in enumerate(names):
        builder = newest(Path(data_dir), name, f"macro-expression data set {name!r}", name)
        source = builder.as_data_source("train", decoders={"image": tfds.decode.SkipDecoding()})
        for record in source:
            key = [text(record[field]) for field in ("dataset", "subject", "clip")]
            sha.update(repr((*key, record["frame"], record["label"])).encode())
            sha.update(record["image"])
            labels.append(record["label"])
            dataset.append(number)
            subject.append(subjects.setdefault((name, key[1]), len(subjects)))
        sources.append(source)
    return MacroPictures(
        names=tuple(names),
        labels=np.array(labels, np.int32),
        dataset=np.array(dataset, np.int32),
        subject=np.array(subject, np.int32),
        subjects=tuple(subjects),
        sha256=sha.hexdigest(),
        image_size=image_size,
        sources=sources,
    )


def split_by_subject(
    pictures: MacroPictures, share: float, seed: int
) -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " validation"]]:
    """Which pictures are trained on and which validate: no subject is on both sides.

    Of each data set, `share` of the subjects validate, at least one, drawn from the seed and the
    data set's own subjects: the same ones whichever other data sets there are. The subject of a
    data set of one is trained on.
    """
    kept = set()
    for name in pictures.names:
        own = sorted(subject for dataset, subject in pictures.subjects if dataset == name)
        drawn = hold_back(own, share, [seed, zlib.crc32(name.encode())])
        kept.update((name, subject) for subject in drawn)
    validates = np.array([subject in kept for subject in pictures.subjects])[pictures.subject]
    return np.flatnonzero(~validates), np.flatnonzero(validates)
