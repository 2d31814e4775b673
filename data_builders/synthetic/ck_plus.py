"""The layout of CK+: numbered PNG frames up to the peak, and a text file for a label.

The real sequences have 10 to 60 frames; these are shorter. Its folders of landmarks and facial
action codes are not written.
"""

from collections.abc import Sequence
from pathlib import Path

from data_builders.synthetic import posed
from data_builders.synthetic.clip_spec import Camera, ClipSpec, Timing, draw_clip

NAME = "CK+ (cohn-kanade-images and Emotion)"
# Numbers with gaps, as the real ones.
_NUMBERS = (
    *(5, 10, 11, 14, 22, 26, 28, 29, 32, 34, 35, 37, 42, 44, 45, 46),
    *range(50, 123),
    *range(124, 139),
    *range(501, 507),
)
SUBJECTS = tuple(f"S{number:03d}" for number in _NUMBERS)
CAMERA = Camera(640, 490, 30.0, colour=False, face_unit=290.0, peak=posed.PEAK)
# From the neutral face to the peak.
TIMING = Timing(8, 16, (2.0, 2.0), apex=(1.0, 1.0), margin=(0, 0), first=(1, 2))
# 175 negative, 69 positive, 83 surprise of the labelled sequences.
CLASSES = (0, 1, 2, 0, 2, 0, 1, 0, 2, 0)
NEGATIVE = ("anger", "contempt", "disgust", "fear", "sadness")
# The number in a label file is the place in this list.
CODES = ("neutral", "anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
UNLABELLED = "002"


def clips(subject_index: int, count: int, seed: int) -> list[ClipSpec]:
    """The sequences of one subject.

    Args:
      subject_index: 0 for the first subject.
      count: how many labelled sequences.
      seed: the seed of the data set.

    Returns:
      `count` labelled sequences, then one without a label, as 266 of the real 593 are.
    """

    def clip(name: str, prototype: str, emotion: str, label: int | None) -> ClipSpec:
        return draw_clip(
            dataset="ck_plus",
            subject=SUBJECTS[subject_index],
            clip=name,
            emotion=emotion,
            prototype=prototype,
            label=label,
            camera=CAMERA,
            timing=TIMING,
            seed=seed,
            posed=True,
        )

    specs = []
    for number, expression in enumerate(posed.expressions(subject_index, count, CLASSES, NEGATIVE)):
        name = f"{number + 1 if number == 0 else number + 2:03d}"
        emotion = "happy" if expression.emotion == "happiness" else expression.emotion
        specs.append(clip(name, expression.emotion, emotion, expression.label))
    specs.append(clip(UNLABELLED, "others", "", None))
    return specs


def _frame_name(spec: ClipSpec, frame: int) -> str:
    return f"{spec.subject}_{spec.clip}_{frame:08d}"


def frame_path(spec: ClipSpec, frame: int) -> Path:
    """Path of a frame below the database's folder."""
    name = f"{_frame_name(spec, frame)}.png"
    return Path("cohn-kanade-images", spec.subject, spec.clip, name)


def write_annotation(folder: Path, specs: Sequence[ClipSpec]) -> None:
    """Writes a label file of one number per sequence; an unlabelled one has an empty folder."""
    for spec in specs:
        labels = folder / "Emotion" / spec.subject / spec.clip
        labels.mkdir(parents=True)
        if spec.emotion:
            text = f"{CODES.index(spec.emotion):16.7e}\n"
            (labels / f"{_frame_name(spec, spec.last)}_emotion.txt").write_text(text)
