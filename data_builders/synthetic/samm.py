"""The layout of SAMM: a sheet of facial action codes and numbered grey JPEG frames."""

from collections.abc import Sequence
from pathlib import Path

import openpyxl

from data_builders.synthetic import action_units
from data_builders.synthetic.clip_spec import (
    Camera,
    ClipSpec,
    Timing,
    draw_clip,
    draw_emotion,
    random_stream,
)

NAME = "SAMM"
_NUMBERS = (*range(6, 8), *range(9, 27), 28, *range(30, 38))
SUBJECTS = tuple(f"{number:03d}" for number in _NUMBERS)
CAMERA = Camera(960, 650, 200.0, colour=False, face_unit=395.0)
TIMING = Timing(30, 101, (3.1, 1.9), apex=(0.3, 0.65), margin=(4, 12), first=(120, 9000))
# 92 negative, 26 positive, 15 surprise in the composite: about seven, two and one of ten.
CLASSES = (0, 1, 2, 0, 0, 0, 1, 0, 0, 0)
EMOTIONS = (
    {"Anger": 57, "Contempt": 12, "Disgust": 9, "Fear": 8, "Sadness": 6},
    {"Happiness": 1},
    {"Surprise": 1},
)
OBJECTIVE_CLASSES = {
    "Happiness": 1,
    "Surprise": 2,
    "Anger": 3,
    "Disgust": 4,
    "Sadness": 5,
    "Fear": 6,
    "Contempt": 7,
    "Other": 7,
}
HEADER_ROW = 14
TITLE = (
    "Micro-facial movements, coded with the Facial Action Coding System",
    "Synthetic: no person was filmed",
    None,
    "Onset Frame: first frame of the movement",
    "Apex Frame: frame of the strongest movement",
    "Offset Frame: last frame of the movement",
    "Duration: frames from onset to offset, at 200 frames per second",
    "Action Units: L and R are movements of one side of the face only",
    "Objective Classes: classes I to VII, from the action units alone",
)


def clips(subject_index: int, count: int, seed: int) -> list[ClipSpec]:
    """The clips of one subject.

    Args:
      subject_index: 0 for the first subject.
      count: how many clips of the three classes.
      seed: the seed of the data set.

    Returns:
      `count` usable clips, then those the composite drops.
    """
    subject = SUBJECTS[subject_index]

    def clip(name: str, emotion: str, label: int | None, brief: bool = False) -> ClipSpec:
        return draw_clip(
            dataset="samm",
            subject=subject,
            clip=name,
            emotion=emotion,
            prototype="others" if emotion == "Other" else emotion.lower(),
            label=label,
            camera=CAMERA,
            timing=TIMING,
            seed=seed,
            brief=brief,
        )

    specs = []
    for number in range(count):
        label = CLASSES[(subject_index + number) % len(CLASSES)]
        inducement = int(random_stream(seed, f"samm/{subject}/{number}").integers(1, 8))
        name = f"{subject}_{inducement}_{number + 1}"
        emotion = draw_emotion(EMOTIONS[label], seed, f"samm/{subject}/{name}")
        specs.append(clip(name, emotion, label))
    if subject_index % 2 == 0:
        specs.append(clip(f"{subject}_7_99", "Other", None, brief=True))
    return specs


def frame_path(spec: ClipSpec, frame: int) -> Path:
    """Path of a frame below the database's folder; the number is padded to 5 or 4 digits."""
    padding = 5 if spec.last > 9999 or spec.onset % 3 else 4
    return Path(spec.subject, spec.clip, f"{spec.subject}_{frame:0{padding}d}.jpg")


def write_annotation(folder: Path, specs: Sequence[ClipSpec]) -> None:
    """Writes SAMM_Micro_FACS_Codes_v2.xlsx: header in row 14, durations as formulas."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "MICRO_ONLY"
    for row, text in enumerate(TITLE, start=1):
        sheet.cell(row, 1, text)
    header = ["Subject", "Filename", "Inducement Code", "Onset Frame", "Apex Frame"]
    header += ["Offset Frame", "Duration", "Micro", "Action Units", "Estimated Emotion"]
    header += ["Objective Classes", "Notes"]
    for column, text in enumerate(header, start=1):
        sheet.cell(HEADER_ROW, column, text)
    for row, spec in enumerate(specs, start=HEADER_ROW + 1):
        units = action_units.notation(spec.activations)
        values = [
            spec.subject,
            spec.clip,
            int(spec.clip.split("_")[1]),
            spec.onset,
            spec.annotated_apex,
            spec.offset,
            f"=F{row}-D{row}+1",
            "Micro - 1/2",
            int(units) if units.isdecimal() else units,
            spec.emotion,
            OBJECTIVE_CLASSES[spec.emotion],
            None,
        ]
        for column, value in enumerate(values, start=1):
            sheet.cell(row, column, value)
    book.save(folder / "SAMM_Micro_FACS_Codes_v2.xlsx")
