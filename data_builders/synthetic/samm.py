"""The layout of SAMM: a sheet of facial action codes and numbered grey JPEG frames."""

from collections.abc import Sequence
from pathlib import Path

import openpyxl

from data_builders.synthetic import action_units
from data_builders.synthetic.clip_spec import Camera, ClipSpec, Timing, draw_emotion, random_stream
from data_builders.synthetic.layout import Layout

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
_NUMBERS = (*range(6, 8), *range(9, 27), 28, *range(30, 38))
_HEADER_ROW = 14
_TITLE = (
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


class Samm(Layout):
    """Layout of SAMM."""

    NAME, TITLE = "samm", "SAMM"
    SUBJECTS = tuple(f"{number:03d}" for number in _NUMBERS)
    CAMERA = Camera(960, 650, 200.0, colour=False, face_unit=395.0)
    TIMING = Timing(30, 101, (3.1, 1.9), apex=(0.3, 0.65), margin=(4, 12), first=(120, 9000))
    # 92 negative, 26 positive, 15 surprise in the composite: about seven, two and one of ten.
    CLASSES = (0, 1, 2, 0, 0, 0, 1, 0, 0, 0)

    def clips(self, subject_index: int, count: int, seed: int) -> list[ClipSpec]:
        """See the base class."""
        subject = self.SUBJECTS[subject_index]

        def clip(name: str, emotion: str, label: int | None = None) -> ClipSpec:
            prototype = "others" if emotion == "Other" else emotion.lower()
            return self.draw(
                subject, name, emotion, label, seed, prototype=prototype, brief=label is None
            )

        specs = []
        for number in range(count):
            label = self.CLASSES[(subject_index + number) % len(self.CLASSES)]
            inducement = int(random_stream(seed, f"samm/{subject}/{number}").integers(1, 8))
            name = f"{subject}_{inducement}_{number + 1}"
            emotion = draw_emotion(EMOTIONS[label], seed, f"samm/{subject}/{name}")
            specs.append(clip(name, emotion, label))
        if subject_index % 2 == 0:
            specs.append(clip(f"{subject}_7_99", "Other"))
        return specs

    def frame_path(self, spec: ClipSpec, frame: int) -> Path:
        """See the base class. The number is padded to 5 or 4 digits."""
        padding = 5 if spec.last > 9999 or spec.onset % 3 else 4
        return Path(spec.subject, spec.clip, f"{spec.subject}_{frame:0{padding}d}.jpg")

    def write_annotation(self, folder: Path, specs: Sequence[ClipSpec]) -> None:
        """Write SAMM_Micro_FACS_Codes_v2.xlsx, with the header in row 14 and formulas."""
        book = openpyxl.Workbook()
        sheet = book.active
        assert sheet is not None
        sheet.title = "MICRO_ONLY"
        for text in _TITLE:
            sheet.append([text])
        for _ in range(len(_TITLE) + 1, _HEADER_ROW):
            sheet.append([])
        header = ["Subject", "Filename", "Inducement Code", "Onset Frame", "Apex Frame"]
        header += ["Offset Frame", "Duration", "Micro", "Action Units", "Estimated Emotion"]
        sheet.append([*header, "Objective Classes", "Notes"])
        for row, spec in enumerate(specs, start=_HEADER_ROW + 1):
            units = action_units.notation(spec.activations)
            sheet.append(
                [
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
            )
        book.save(folder / "SAMM_Micro_FACS_Codes_v2.xlsx")
