"""Macro-expression pictures: labels and subjects in memory, the pictures streamed from disk."""

import dataclasses
import hashlib
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Int, UInt8

from atnet_jax.data.composite import resize
from atnet_jax.data.folds import hold_back
from atnet_jax.data.record import newest, open_records, text
from atnet_jax.errors import UserError

# Functions import Grain and TFDS, which are slow, so that other trainings do without them.

# Four threads read and decode about 2,000 pictures per second on two cores. More threads are slower
# there, because reading a record holds the GIL. The buffer of 64 pictures takes 3 MB.
_READ = {"num_threads": 4, "prefetch_buffer_size": 64}


@dataclasses.dataclass(frozen=True)
class MacroPictures:
    """Pictures of one or several prepared data sets, one set after the other.

    A picture's class, data set and subject take twelve bytes of memory; the picture stays on disk.

    Attributes:
        names: Names of the data sets.
        labels: Class of each picture: 0 negative, 1 positive, 2 surprise.
        dataset: Data set of each picture, an index into `names`.
        subject: Subject of each picture, an index into `subjects`.
        subjects: (data set, subject), in the order of first appearance.
        sha256: SHA-256 of names, labels and encoded pictures; equal for equal data.
        image_size: Height and width of the pictures that are read, in pixels.
        sources: Random access to the records of each data set.
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
        """Return one picture, read from disk.

        Args:
            picture: Index of the picture.

        Raises:
            UserError: The record contains no picture.
        """
        dataset = self.dataset[picture]
        position = int(picture - np.searchsorted(self.dataset, dataset))
        encoded = np.frombuffer(self.sources[dataset][position]["image"], np.uint8)
        image = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED) if encoded.size else None
        if image is None:
            raise UserError(
                f"Record {position} of the data set {self.names[dataset]} contains no picture."
                f" Delete the prepared data set and prepare it again."
            )
        return resize(image, self.image_size)

    def batches(
        self, pictures: Int[np.ndarray, " any"], batch_size: int
    ) -> Iterator[UInt8[np.ndarray, "batch size size 1"]]:
        """Return an iterator over batches, which threads read in advance.

        Args:
            pictures: Indices of the pictures, in the order of reading.
            batch_size: Pictures per batch; the last batch may be smaller.
        """
        import grain

        stream = grain.MapDataset.range(len(pictures)).map(lambda k: self.read(pictures[k]))
        return iter(stream.to_iter_dataset(grain.ReadOptions(**_READ)).batch(batch_size))


def load_macro_pictures(
    data_dir: str | os.PathLike[str], names: Sequence[str], image_size: int = 224
) -> MacroPictures:
    """Open prepared data sets, reading names and labels but decoding no picture.

    Args:
        data_dir: Folder of the prepared data (`--data_dir` of `atnet prepare`).
        names: Names of the data sets, such as ("ck_plus", "jaffe").
        image_size: Height and width of the pictures to read, in pixels.

    Returns:
        The pictures of all data sets, in the order of `names`.

    Raises:
        UserError: A data set is not prepared.
    """
    sha = hashlib.sha256()
    sources: list[Sequence[Any]] = []
    labels: list[int] = []
    dataset: list[int] = []
    subject: list[int] = []
    subjects: dict[tuple[str, str], int] = {}
    for number, name in enumerate(names):
        builder = newest(Path(data_dir), name, f"macro-expression data set {name!r}", name)
        source = open_records(builder)
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
    """Return the indices of training and of validation pictures; the two share no subject.

    The choice in one data set does not depend on the other data sets.

    Args:
        pictures: Pictures to divide.
        share: Share of each data set's subjects that validate, 0 to 0.5. Above 0, at least one
            subject validates, unless the data set has only one.
        seed: Seed of the choice.
    """
    kept = set()
    for name in pictures.names:
        own = sorted(subject for dataset, subject in pictures.subjects if dataset == name)
        drawn = hold_back(own, share, [seed, zlib.crc32(name.encode())])
        kept.update((name, subject) for subject in drawn)
    validates = np.array([subject in kept for subject in pictures.subjects])[pictures.subject]
    return np.flatnonzero(~validates), np.flatnonzero(validates)
