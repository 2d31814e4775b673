"""Prepared macro-expression sets of a few small pictures, as the builders' records."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import tensorflow_datasets as tfds

from data_builders.macro_expression import record_features


class Picture(NamedTuple):
    subject: str
    label: int
    image: np.ndarray | None  # Square; None: the record holds no picture.


def write_set(data_dir: Path, name: str, pictures: Sequence[Picture]) -> None:
    """Prepares the data set `name` in `data_dir`, in the given order."""

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> tfds.core.DatasetInfo:
            return tfds.core.DatasetInfo(
                builder=self, features=record_features(), disable_shuffling=True
            )

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            del dl_manager
            return {"train": self._generate_examples()}

        def _generate_examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
            for number, (subject, label, image) in enumerate(pictures):
                png = b"" if image is None else cv2.imencode(".png", image)[1].tobytes()
                yield (
                    number,
                    {
                        "image": png,
                        "dataset": name,
                        "subject": subject,
                        "clip": f"{number:05d}",
                        "frame": 0,
                        "emotion": "as the label",
                        "label": label,
                        "crop_box": np.zeros(4, np.float32),
                    },
                )

    Builder.name = name
    tfds.disable_progress_bar()
    Builder(data_dir=str(data_dir)).download_and_prepare(file_format="array_record")
