"""What the builders of all macro-expression sets share: the record and how it comes about."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from atnet_jax.data.record import FACE
from atnet_jax.errors import UserError
from atnet_jax.names import CLASSES
from atnet_jax.preprocessing.annotation import Clip
from atnet_jax.preprocessing.face import Box
from data_builders import source
from data_builders.builder import ExpressionBuilder
from data_builders.pictures import PicturesJob, picture_files

# So many pictures are taken of a sequence: the strongest and its neighbours.
FRAMES = 3


def record_features() -> tfds.features.FeaturesDict:
    """The record of one picture.

    * image: the face, grey levels 0–255.
    * dataset, subject, clip: names; clip is that of the sequence, or of the picture where there are
      no sequences. With the frame they are the key.
    * frame: number of the picture within its sequence, 0 where it is no part of one.
    * emotion: as the set names it; label: the class made of it.
    * crop_box: x0, y0, x1, y1 of the face in pixels of the picture.
    """
    return tfds.features.FeaturesDict(
        {
            "image": FACE.feature(),
            "dataset": tfds.features.Text(),
            "subject": tfds.features.Text(),
            "clip": tfds.features.Text(),
            "frame": tfds.features.Scalar(np.int32),
            "emotion": tfds.features.Text(),
            "label": tfds.features.ClassLabel(names=CLASSES),
            "crop_box": tfds.features.Tensor(shape=(4,), dtype=np.float32),
        }
    )


class MacroExpressionBuilder(ExpressionBuilder, skip_registration=True):
    """Base of the builders; a subclass says only how its set's folder is read.

    The frames of an entry's clip are the pictures to prepare, and its apex is the one that the face
    is found in. There are no configurations.
    """

    def features(self) -> tfds.features.FeaturesDict:
        """See `record_features`."""
        return record_features()

    def make_job(self, entry: source.Entry, box: Box | None) -> PicturesJob:
        """See the base class."""
        return PicturesJob(entry, self.face, box)

    def options(self) -> dict[str, Any]:
        """See the base class."""
        # Pictures without compression all have one size, so their names and sizes say too little.
        return {**super().options(), "source": self.source.digest(contents=True)}

    def metadata(self) -> dict[str, Any]:
        """See the base class; `counts` is of pictures, `sequences` of what they are taken from."""
        entries = self.source.entries
        pictures = (entry for entry in entries for _ in picture_files(entry.clip))
        return {
            **super().metadata(),
            "counts": source.count_classes(pictures),
            "sequences": source.count_classes(entries),
        }

    def make_entry(
        self,
        subject: str,
        clip: str,
        emotion: str,
        label: int,
        frames: Mapping[int, Path],
        apex: int,
        where: Path,
    ) -> source.Entry:
        """A sequence of this set, or a single picture; `where` is the file or folder it comes from.

        Raises:
            UserError: A picture is no file, or a link leads out of the set's folder.
        """
        for path in frames.values():
            source.check_inside(path, self.manual_dir)
        return source.Entry(
            Clip(
                dataset=self.name,
                subject=subject,
                clip=clip,
                label=label,
                emotion=emotion,
                onset=min(frames),
                apex=apex,
                offset=max(frames),
                frame_rate=0.0,
                frames=frames,
            ),
            str(where),
        )

    def check(
        self,
        found: Sequence[source.Entry | source.Exclusion],
        errors: source.ErrorList,
        notes: Sequence[str] = (),
    ) -> source.Source:
        """What `read_source` returns.

        Raises:
            UserError: There are errors, a sequence is named twice, or there is none at all.
        """
        entries = [item for item in found if isinstance(item, source.Entry)]
        exclusions = [item for item in found if isinstance(item, source.Exclusion)]
        return source.check_source(self.name, source.Source(entries, exclusions, notes), errors)


def no_class(emotion: str) -> str:
    """Why an emotion is left out."""
    return f"emotion {emotion} is none of the three classes"


def last_frames(frames: Mapping[int, Path], folder: Path) -> dict[int, Path]:
    """The last frames of a sequence that goes from a neutral face to the peak of an expression.

    Args:
        frames: All frames by number, ascending.
        folder: Where they are, for messages.

    Raises:
        UserError: There are too few for one of them to be neutral, or one of the last is missing.
    """
    if len(frames) <= FRAMES:
        raise UserError(
            f"{folder}: only {len(frames)} of at least {FRAMES + 1} frames, the first of which is "
            f"neutral; is the copy of the set complete?"
        )
    last = max(frames)
    return source.clip_frames(frames, last - FRAMES + 1, last, folder)
