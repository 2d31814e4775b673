"""Records of macro-expressions: pictures cropped to the face, one record per picture."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atnet_jax.data.record import FACE, Record
from atnet_jax.errors import UserError
from atnet_jax.preprocessing.annotation import Clip
from atnet_jax.preprocessing.face import FaceNotFoundError, crop_face, locate_face
from atnet_jax.preprocessing.frames import read_image
from atnet_jax.system.stopwatch import Stopwatch
from data_builders.jobs import ENCODING, Job
from data_builders.source import ErrorList


def picture_files(clip: Clip) -> Mapping[int, Path]:
    """Return the paths of the clip's frames by number. Only manifests can have videos instead."""
    assert isinstance(clip.frames, Mapping)
    return clip.frames


@dataclass(frozen=True)
class PicturesJob(Job):
    """Job for the pictures of one sequence: all frames of the entry's clip."""

    def cut(self, errors: ErrorList, watch: Stopwatch) -> list[tuple[str, Record]]:
        """Return the records. All pictures are cropped to the face's box in the apex.

        Args:
            errors: Collects the errors of single pictures.
            watch: Measures the time of encoding.

        Raises:
            FaceNotFoundError: The detector does not find a face in the apex.
            UserError: Collected in `errors`: a picture cannot be read or has another size.
        """
        clip, files = self.entry.clip, picture_files(self.entry.clip)
        pictures = {}
        for number, path in files.items():
            with errors.collect():
                pictures[number] = read_image(path)
        if clip.apex not in pictures:
            return []
        apex = pictures[clip.apex]
        try:
            box = locate_face(apex, self.face, self.box, notes=errors.notes)[0]
        except FaceNotFoundError as error:
            raise FaceNotFoundError(f"{files[clip.apex].name}: {error}") from None
        records = []
        for number, picture in pictures.items():
            with errors.collect():
                if picture.shape != apex.shape:
                    raise UserError(
                        f"{files[number]} has {picture.shape[1]}x{picture.shape[0]} pixels, but "
                        f"{files[clip.apex].name} has {apex.shape[1]}x{apex.shape[0]}. All "
                        f"pictures of a sequence must have one size, because they are cropped to "
                        f"the same box. Restore the original picture."
                    )
                image = crop_face(picture, box)
                with watch.stage(ENCODING):
                    encoded = FACE.encode(image)
                record = {
                    "image": encoded,
                    "dataset": clip.dataset,
                    "subject": clip.subject,
                    "clip": clip.clip,
                    "frame": number,
                    "emotion": clip.emotion,
                    "label": clip.label,
                    "crop_box": np.asarray(box, np.float32),
                }
                records.append((f"{clip.key}/{number}", record))
        return records
