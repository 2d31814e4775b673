"""Base class of the builders of macro-expression sets, and the features of their records."""

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
from atnet_jax.words import numbered
from data_builders import source
from data_builders.builder import ExpressionBuilder
from data_builders.pictures import PicturesJob, picture_files

# Number of pictures taken from each sequence: the strongest one and its neighbours.
FRAMES = 3


def record_features() -> tfds.features.FeaturesDict:
    """Return the features of the record of one picture.

    * image: the face, grey levels 0–255.
    * dataset, subject, clip: names. The clip is the sequence, or the picture in sets without
      sequences. Together with the frame, they form the key.
    * frame: number of the picture within its sequence, or 0 in sets without sequences.
    * emotion: the name that the set uses; label: its class.
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
    """Base class of the builders. A subclass only implements how its set's folder is read.

    The frames of an entry's clip are the pictures to prepare. The face is detected in the clip's
    apex. The builders have no TFDS configurations.
    """

    def features(self) -> tfds.features.FeaturesDict:
        """See `record_features`."""
        return record_features()

    def make_job(self, entry: source.Entry, box: Box | None) -> PicturesJob:
        """See the base class."""
        return PicturesJob(entry, self.face, box)

    def options(self) -> dict[str, Any]:
        """See the base class."""
        # Uncompressed pictures all have the same file size, so the digest includes their contents.
        return {**super().options(), "source": self.source.digest(contents=True)}

    def metadata(self) -> dict[str, Any]:
        """See the base class. `counts` counts the pictures, `sequences` their sequences."""
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
        """Return the entry of a sequence of this set, or of a single picture.

        Args:
            subject: Name of the subject.
            clip: Name of the sequence or picture.
            emotion: The emotion's name in the set.
            label: Its class: 0 negative, 1 positive, 2 surprise.
            frames: The pictures by number.
            apex: Number of the picture in which the face is detected.
            where: File or folder of the entry, for messages.

        Raises:
            UserError: A picture is not a file, or a link leads out of the set's folder.
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
        """Return the source made of the entries and exclusions found by `read_source`.

        Args:
            found: The entries and exclusions in any order.
            errors: The errors found so far.
            notes: Notes for the user.

        Raises:
            UserError: There are errors, two sequences have one name, or the set has no sequence.
        """
        entries = [item for item in found if isinstance(item, source.Entry)]
        exclusions = [item for item in found if isinstance(item, source.Exclusion)]
        return source.check_source(self.name, source.Source(entries, exclusions, notes), errors)


def no_class(emotion: str) -> str:
    """Return the reason for excluding an emotion."""
    return f"emotion {emotion} does not belong to any of the three classes"


def last_frames(frames: Mapping[int, Path], folder: Path) -> dict[int, Path]:
    """Return the last `FRAMES` frames of a sequence from a neutral face to the expression's peak.

    Args:
        frames: All frames by number, ascending.
        folder: Their folder, for messages.

    Raises:
        UserError: There are too few frames to include a neutral one, or one of the last frames is
            missing.
    """
    if len(frames) <= FRAMES:
        raise UserError(
            f"{folder}: Found {numbered(len(frames), 'frame')}, expected at least"
            f" {FRAMES + 1}, the first of "
            f"which is neutral. Check that the copy of the set is complete."
        )
    last = max(frames)
    return source.clip_frames(frames, last - FRAMES + 1, last, folder)
