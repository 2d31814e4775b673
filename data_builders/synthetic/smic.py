"""The layout of SMIC-HS: folders that say the class, bitmaps from onset to offset."""

from collections.abc import Sequence
from pathlib import Path

from data_builders.synthetic.clip_spec import Camera, ClipSpec, Timing, draw_clip, draw_emotion

NAME = "SMIC-HS"
_NUMBERS = (1, 2, 3, 4, 5, 6, 8, 9, 11, 12, 13, 14, 15, 18, 19, 20)
SUBJECTS = tuple(f"s{number:02d}" for number in _NUMBERS)
# The expressions are the strongest of the three: the released SMIC features hold magnitudes of 0.4
# to 0.6 pixels per frame, of which the shift of odd frames makes up less than 0.4.
CAMERA = Camera(
    640, 480, 100.0, colour=False, face_unit=285.0, parity_shift=(0.2, 0.4), peak=(4.5, 7.0)
)
# A folder holds onset to offset, so the middle frame lies near the apex.
TIMING = Timing(11, 58, (2.4, 2.5), apex=(0.45, 0.55), margin=(0, 0), first=(550_000, 999_000))
# 70 negative, 51 positive, 43 surprise in the composite: about four, three and three of ten.
CLASSES = (0, 1, 2, 0, 1, 2, 0, 1, 2, 0)
EMOTIONS = ("negative", "positive", "surprise")
ABBREVIATIONS = ("ne", "po", "sur")
PROTOTYPES = (
    {"disgust": 3, "repression": 1, "sadness": 1, "fear": 1},
    {"happiness": 1},
    {"surprise": 1},
)


def clips(subject_index: int, count: int, seed: int) -> list[ClipSpec]:
    """The clips of one subject.

    Args:
      subject_index: 0 for the first subject.
      count: how many clips.
      seed: the seed of the data set.

    Returns:
      `count` clips; SMIC drops none.
    """
    subject = SUBJECTS[subject_index]
    specs: list[ClipSpec] = []
    for number in range(count):
        label = CLASSES[(subject_index + number) % len(CLASSES)]
        serial = 1 + sum(spec.label == label for spec in specs)
        name = f"{subject}_{ABBREVIATIONS[label]}_{serial:02d}"
        specs.append(
            draw_clip(
                dataset="smic",
                subject=subject,
                clip=name,
                emotion=EMOTIONS[label],
                prototype=draw_emotion(PROTOTYPES[label], seed, f"smic/{name}"),
                label=label,
                camera=CAMERA,
                timing=TIMING,
                seed=seed,
            )
        )
    return specs


def frame_path(spec: ClipSpec, frame: int) -> Path:
    """Path of a raw frame below the database's folder."""
    return Path(
        "SMIC_all_raw", "HS", spec.subject, "micro", spec.emotion, spec.clip, f"image{frame}.bmp"
    )


def cropped_frame_path(spec: ClipSpec, frame: int) -> Path:
    """Path of a cropped frame: here the subject's number is not padded."""
    subject = f"s{int(spec.subject[1:])}"
    clip = subject + spec.clip.removeprefix(spec.subject)
    return Path(
        "SMIC_all_cropped", "HS", subject, "micro", spec.emotion, clip, f"reg_image{frame}.bmp"
    )


def write_annotation(folder: Path, specs: Sequence[ClipSpec]) -> None:
    """SMIC needs no annotation file: the folders say the class."""
    del folder, specs
