"""The layout of JAFFE: single grey TIFF pictures in one folder, annotated only by their names.

In `KA.AN1.39.tiff`, KA is the subject, AN1 her first picture of anger, and 39 the unique number of
the picture. The real set has two to four pictures of each expression and subject.
"""

import dataclasses
from pathlib import Path

from data_builders.synthetic import posed
from data_builders.synthetic.clip_spec import Camera, ClipSpec, Timing
from data_builders.synthetic.layout import Layout

CODES = {
    "anger": "AN",
    "disgust": "DI",
    "fear": "FE",
    "happiness": "HA",
    "neutral": "NE",
    "sadness": "SA",
    "surprise": "SU",
}


class Jaffe(Layout):
    """Layout of JAFFE."""

    NAME, TITLE = "jaffe", "JAFFE"
    SUBJECTS = ("KA", "KL", "KM", "KR", "MK", "NA", "NM", "TM", "UY", "YM")
    # Head and camera move in the second before the picture, so pictures are not aligned.
    CAMERA = Camera(256, 256, 1.0, colour=False, face_unit=165.0, peak=posed.PEAK)
    TIMING = Timing(2, 2, (1.0, 1.0), apex=(1.0, 1.0), margin=(0, 0), first=(0, 1))
    CLASSES = (0, 1, 2, 0, 0, 0)
    POSED = True
    MOST_CLIPS = 54  # Nine of each emotion.

    def clips(self, subject_index: int, count: int, seed: int) -> list[ClipSpec]:
        """See the base class. The last picture is neutral."""
        subject = self.SUBJECTS[subject_index]
        listed = posed.expressions(subject_index, count, self.CLASSES)
        specs = []
        # The neutral picture comes first in the numbering.
        for order, (emotion, label, take) in enumerate([posed.NEUTRAL, *listed]):
            code = CODES[emotion]
            number = 1 + subject_index + len(self.SUBJECTS) * order
            name = f"{subject}.{code}{take + 1}.{number}"
            spec = self.draw(subject, name, code, label, seed, prototype=emotion)
            specs.append(dataclasses.replace(spec, first=spec.apex))
        return [*specs[1:], specs[0]]

    def frame_path(self, spec: ClipSpec, frame: int) -> Path:
        """See the base class. A clip is one picture."""
        return Path(f"{spec.clip}.tiff")
