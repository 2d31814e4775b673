"""The layout of SMIC-HS: folders named after the classes, with bitmaps from onset to offset."""

from pathlib import Path

from data_builders.synthetic.clip_spec import Camera, ClipSpec, Timing, draw_emotion
from data_builders.synthetic.layout import Layout

EMOTIONS = ("negative", "positive", "surprise")
ABBREVIATIONS = ("ne", "po", "sur")
PROTOTYPES = (
    {"disgust": 3, "repression": 1, "sadness": 1, "fear": 1},
    {"happiness": 1},
    {"surprise": 1},
)
_NUMBERS = (1, 2, 3, 4, 5, 6, 8, 9, 11, 12, 13, 14, 15, 18, 19, 20)


class Smic(Layout):
    """Layout of SMIC-HS."""

    NAME, TITLE = "smic", "SMIC-HS"
    SUBJECTS = tuple(f"s{number:02d}" for number in _NUMBERS)
    # The expressions are stronger than in CASME II and SAMM. The released SMIC features have
    # magnitudes of 0.4 to 0.6 pixels per frame, less than 0.4 of which is the shift of odd frames.
    CAMERA = Camera(
        640, 480, 100.0, colour=False, face_unit=285.0, parity_shift=(0.2, 0.4), peak=(4.5, 7.0)
    )
    # A folder holds onset to offset, so the middle frame lies near the apex.
    TIMING = Timing(11, 58, (2.4, 2.5), apex=(0.45, 0.55), margin=(0, 0), first=(550_000, 999_000))
    # 70 negative, 51 positive, 43 surprise in the composite: about four, three and three of ten.
    CLASSES = (0, 1, 2, 0, 1, 2, 0, 1, 2, 0)

    def clips(self, subject_index: int, count: int, seed: int) -> list[ClipSpec]:
        """See the base class. All clips of SMIC belong to the three classes."""
        subject = self.SUBJECTS[subject_index]
        specs: list[ClipSpec] = []
        for number in range(count):
            label = self.CLASSES[(subject_index + number) % len(self.CLASSES)]
            serial = 1 + sum(spec.label == label for spec in specs)
            name = f"{subject}_{ABBREVIATIONS[label]}_{serial:02d}"
            prototype = draw_emotion(PROTOTYPES[label], seed, f"smic/{name}")
            specs.append(
                self.draw(subject, name, EMOTIONS[label], label, seed, prototype=prototype)
            )
        return specs

    def frame_path(self, spec: ClipSpec, frame: int) -> Path:
        """See the base class."""
        folder = Path("SMIC_all_raw", "HS", spec.subject, "micro", spec.emotion, spec.clip)
        return folder / f"image{frame}.bmp"
