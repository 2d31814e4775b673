"""The layout of JAFFE: single grey TIFF pictures in one folder, whose names say it all.

In `KA.AN1.39.tiff`, KA is the subject, AN1 her first picture of anger, and 39 a number that no
other picture has. The real set has two to four pictures of each expression and subject.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from data_builders.synthetic import posed
from data_builders.synthetic.clip_spec import Camera, ClipSpec, Timing, draw_clip

NAME = "JAFFE"
SUBJECTS = ("KA", "KL", "KM", "KR", "MK", "NA", "NM", "TM", "UY", "YM")
# Head and camera move in the second before the picture, so no two are in register.
CAMERA = Camera(256, 256, 1.0, colour=False, face_unit=165.0, peak=posed.PEAK)
TIMING = Timing(2, 2, (1.0, 1.0), apex=(1.0, 1.0), margin=(0, 0), first=(0, 1))
CLASSES = (0, 1, 2, 0, 0, 0)
CODES = {
    "anger": "AN",
    "disgust": "DI",
    "fear": "FE",
    "happiness": "HA",
    "neutral": "NE",
    "sadness": "SA",
    "surprise": "SU",
}


def clips(subject_index: int, count: int, seed: int) -> list[ClipSpec]:
    """The pictures of one subject.

    Args:
      subject_index: 0 for the first subject.
      count: how many pictures of the three classes, at most 54: nine of each emotion.
      seed: the seed of the data set.

    Returns:
      `count` pictures of an expression, then a neutral one.
    """
    subject = SUBJECTS[subject_index]

    def picture(order: int, emotion: str, take: int, label: int | None) -> ClipSpec:
        number = 1 + subject_index + len(SUBJECTS) * order
        spec = draw_clip(
            dataset="jaffe",
            subject=subject,
            clip=f"{subject}.{CODES[emotion]}{take + 1}.{number}",
            emotion=CODES[emotion],
            prototype=emotion,
            label=label,
            camera=CAMERA,
            timing=TIMING,
            seed=seed,
            posed=True,
        )
        return dataclasses.replace(spec, first=spec.apex)

    specs = [
        picture(order, expression.emotion, expression.take, expression.label)
        for order, expression in enumerate(
            posed.expressions(subject_index, count, CLASSES), start=1
        )
    ]
    return [*specs, picture(0, "neutral", 0, None)]


def frame_path(spec: ClipSpec, frame: int) -> Path:
    """Path of the picture below the database's folder."""
    del frame  # There is one alone.
    return Path(f"{spec.clip}.tiff")


def write_annotation(folder: Path, specs: Sequence[ClipSpec]) -> None:
    """JAFFE needs no annotation file: the names say the emotion."""
    del folder, specs
