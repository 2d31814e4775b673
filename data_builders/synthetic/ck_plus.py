"""The layout of CK+: numbered PNG frames up to the peak, and a text file with the label.

The real sequences have 10 to 60 frames; these are shorter. The folders of landmarks and facial
action codes are not written.
"""

from collections.abc import Sequence
from pathlib import Path

from data_builders.synthetic import posed
from data_builders.synthetic.clip_spec import Camera, ClipSpec, Timing
from data_builders.synthetic.layout import Layout

NEGATIVE = ("anger", "contempt", "disgust", "fear", "sadness")
# The number in a label file is the index in this list.
CODES = ("neutral", "anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
UNLABELLED = "002"
# The numbers have gaps like the real ones.
_NUMBERS = (
    *(5, 10, 11, 14, 22, 26, 28, 29, 32, 34, 35, 37, 42, 44, 45, 46),
    *range(50, 123),
    *range(124, 139),
    *range(501, 507),
)


class CkPlus(Layout):
    """Layout of CK+."""

    NAME, TITLE = "ck_plus", "CK+ (cohn-kanade-images and Emotion)"
    SUBJECTS = tuple(f"S{number:03d}" for number in _NUMBERS)
    CAMERA = Camera(640, 490, 30.0, colour=False, face_unit=290.0, peak=posed.PEAK)
    # A sequence runs from the neutral face to the peak.
    TIMING = Timing(8, 16, (2.0, 2.0), apex=(1.0, 1.0), margin=(0, 0), first=(1, 2))
    # Of the real labelled sequences, 175 are negative, 69 positive and 83 surprise.
    CLASSES = (0, 1, 2, 0, 2, 0, 1, 0, 2, 0)
    POSED = True

    def clips(self, subject_index: int, count: int, seed: int) -> list[ClipSpec]:
        """See the base class. The last clip has no label, like 266 of the real 593."""
        subject, specs = self.SUBJECTS[subject_index], []
        listed = posed.expressions(subject_index, count, self.CLASSES, NEGATIVE)
        for number, (prototype, label, _) in enumerate(listed):
            name = f"{number + 1 if number == 0 else number + 2:03d}"
            emotion = "happy" if prototype == "happiness" else prototype
            specs.append(self.draw(subject, name, emotion, label, seed, prototype=prototype))
        return [*specs, self.draw(subject, UNLABELLED, "", None, seed, prototype="others")]

    def frame_path(self, spec: ClipSpec, frame: int) -> Path:
        """See the base class."""
        name = f"{_frame_name(spec, frame)}.png"
        return Path("cohn-kanade-images", spec.subject, spec.clip, name)

    def write_annotation(self, folder: Path, specs: Sequence[ClipSpec]) -> None:
        """Write one label file per sequence, or an empty folder for an unlabelled sequence."""
        for spec in specs:
            labels = folder / "Emotion" / spec.subject / spec.clip
            labels.mkdir(parents=True)
            if spec.emotion:
                text = f"{CODES.index(spec.emotion):16.7e}\n"
                (labels / f"{_frame_name(spec, spec.last)}_emotion.txt").write_text(
                    text, encoding="ascii"
                )


def _frame_name(spec: ClipSpec, frame: int) -> str:
    return f"{spec.subject}_{spec.clip}_{frame:08d}"
