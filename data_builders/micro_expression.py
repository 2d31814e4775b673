"""What the builders of all micro-expression databases share: the record and how it comes about."""

import abc
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

import atnet_jax
from atnet_jax.classes import CLASSES
from atnet_jax.errors import UserError
from atnet_jax.preprocessing import optical_flow
from atnet_jax.preprocessing.face import Box, read_boxes
from data_builders.records import ADM_SHAPE, APEX_SHAPE, FLOW_MAP_SHAPE, Job, make_record
from data_builders.source import ErrorList, Source, count_classes, file_digest
from data_builders.workers import map_in_order


def record_features() -> tfds.features.FeaturesDict:
    """The record of one clip.

    * apex: the face at the apex frame, grey levels 0–255.
    * adm: average direction (radians) and magnitude (pixels) of 64 flows in 64 blocks each.
    * flow_map: flow from onset to apex: horizontal, vertical, optical strain.
    * has_apex, has_adm, has_flow_map: whether the input is there; it is all zero where it is not.
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
            "has_apex": tfds.features.Scalar(np.bool_),
            "has_adm": tfds.features.Scalar(np.bool_),
            "has_flow_map": tfds.features.Scalar(np.bool_),
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


class MicroExpressionBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Base of the builders; a subclass says only how its database's folder is read.

    The configuration is the optical flow method, so that the inputs of several methods can lie side
    by side. All clips are in one split, `train`: the protocols split them by subject. Their order
    is that of dataset, subject and clip.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First version."}
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name=name, description=f"Optical flow method {name}.")
        for name in optical_flow.METHODS
    ]

    def __init__(
        self,
        *,
        manual_dir: Path,
        face: str = "mtcnn",
        boxes: Path | None = None,
        circular: bool = False,
        num_workers: int | None = None,
        **kwargs: Any,
    ):
        """Constructs a builder.

        Args:
            manual_dir: The user's copy of the database.
            face: The face detector, or 'none' for frames that are cropped already.
            boxes: A file of face boxes, for clips whose face is not found.
            circular: Whether the ADM's mean directions are circular means.
            num_workers: Number of processes; by default one for each CPU.
            **kwargs: `data_dir`, `config` (the flow method) and `version` of TFDS.
        """
        self.manual_dir = manual_dir
        self.face = face
        self.boxes = boxes
        self.circular = circular
        self.num_workers = num_workers
        super().__init__(**kwargs)
        assert self.builder_config is not None
        self.flow: str = self.builder_config.name

    @abc.abstractmethod
    def read_source(self) -> Source:
        """Reads the annotation, applies the label rule and finds every frame.

        Raises:
            UserError: The copy of the database is incomplete or its annotation has errors; those of
                single clips are all in one message.
        """

    @cached_property
    def source(self) -> Source:
        """The clips in the folder, and those left out; read once."""
        return self.read_source()

    def options(self) -> dict[str, Any]:
        """What decides the records' content: data prepared with other options are other data.

        Raises:
            UserError: The boxes file cannot be read; see also `read_source`.
        """
        return {
            "face": self.face,
            "boxes": None if self.boxes is None else file_digest(self.boxes),
            "flow": self.flow,
            "circular": self.circular,
            "source": self.source.digest(),
        }

    def metadata(self) -> dict[str, Any]:
        """What is kept beside the records, in metadata.json."""
        subjects: dict[str, set[str]] = {}
        for entry in self.source.entries:
            subjects.setdefault(entry.clip.dataset, set()).add(entry.clip.subject)
        return {
            "options": self.options(),
            "counts": count_classes(self.source.entries),
            "subjects": {dataset: len(names) for dataset, names in sorted(subjects.items())},
            "excluded": [vars(exclusion) for exclusion in self.source.exclusions],
            "notes": list(self.source.notes),
            "atnet_jax_version": atnet_jax.__version__,
        }

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=record_features(),
            # The order is that of the names, not that of their hashes.
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager  # Nothing is downloaded.
        assert self.info.metadata is not None
        self.info.metadata.update(self.metadata())
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields key and record of every clip, or raises the errors of all clips at the end."""
        errors = ErrorList()
        entries, boxes = self.source.entries, self._read_boxes()
        jobs = [
            Job(
                entry,
                self.face,
                boxes.get((entry.clip.dataset, entry.clip.subject, entry.clip.clip)),
                self.flow,
                self.circular,
            )
            for entry in entries
        ]
        records = map_in_order(make_record, jobs, self.num_workers)
        for entry, record in zip(
            entries, tqdm(records, self.name, len(jobs), unit="clip", disable=None), strict=True
        ):
            if isinstance(record, str):
                errors.messages.append(record)
            else:
                yield entry.clip.key, record
        errors.raise_all(self.name)

    def _read_boxes(self) -> dict[tuple[str, str, str], Box]:
        """The boxes by clip; one that names no clip is most likely a slip of the pen."""
        if self.boxes is None:
            return {}
        boxes = read_boxes(self.boxes)
        known = {
            (entry.clip.dataset, entry.clip.subject, entry.clip.clip)
            for entry in self.source.entries
        }
        datasets = {dataset for dataset, _, _ in known}
        known |= {
            (dataset, exclusion.subject, exclusion.clip)
            for dataset in datasets
            for exclusion in self.source.exclusions
        }
        unknown = ["/".join(key) for key in boxes if key[0] in datasets and key not in known]
        if unknown:
            raise UserError(f"{self.boxes}: no such clip: {', '.join(unknown)}")
        return boxes
