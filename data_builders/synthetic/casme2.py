"""The layout of CASME II: a coding sheet and numbered JPEG frames."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import openpyxl

from data_builders.synthetic import action_units
from data_builders.synthetic.clip_spec import Camera, ClipSpec, Timing, draw_emotion, random_stream
from data_builders.synthetic.layout import Layout

EMOTIONS = ({"disgust": 63, "repression": 27}, {"happiness": 1}, {"surprise": 1})


class Casme2(Layout):
    """Layout of CASME II."""

    NAME, TITLE = "casme2", "CASME II"
    SUBJECTS = tuple(f"sub{number:02d}" for number in range(1, 27))
    CAMERA = Camera(640, 480, 200.0, colour=True, face_unit=305.0)
    TIMING = Timing(24, 140, (2.2, 3.6), apex=(0.3, 0.65), margin=(4, 16), first=(20, 400))
    # 88 negative, 32 positive, 25 surprise in the composite: about six, two and two of ten.
    CLASSES = (0, 1, 2, 0, 0, 1, 0, 0, 2, 0)

    def clips(self, subject_index: int, count: int, seed: int) -> list[ClipSpec]:
        """See the base class. The last clips are the rows that the composite excludes."""
        subject = self.SUBJECTS[subject_index]

        def clip(name: str, emotion: str, label: int | None = None) -> ClipSpec:
            prototype = emotion if emotion in action_units.PROTOTYPES else "others"
            return self.draw(
                subject, name, emotion, label, seed, prototype=prototype, brief=label is None
            )

        specs = []
        for number in range(count):
            label = self.CLASSES[(subject_index + number) % len(self.CLASSES)]
            name = _clip_name(subject, number, seed)
            emotion = draw_emotion(EMOTIONS[label], seed, f"casme2/{subject}/{name}")
            specs.append(clip(name, emotion, label))
        if subject_index % 2 == 0:
            specs.append(clip("EP15_01", "others"))
        if subject_index == 0:
            specs.append(dataclasses.replace(clip("EP12_01f", "disgust"), annotated_apex="/"))
        if subject_index == 1:
            at_onset = clip("EP09_05f", "happiness")
            specs.append(dataclasses.replace(at_onset, annotated_apex=at_onset.onset))
            specs.append(clip("EP18_03", "sadness"))
        if subject_index == 2:
            specs.append(clip("EP13_02", "fear"))
        return specs

    def frame_path(self, spec: ClipSpec, frame: int) -> Path:
        """See the base class. The number is not padded."""
        return Path("CASME2_RAW_selected", spec.subject, spec.clip, f"img{frame}.jpg")

    def write_annotation(self, folder: Path, specs: Sequence[ClipSpec]) -> None:
        """Write CASME2-coding-20140508.xlsx, with two blank columns and subjects as text."""
        book = openpyxl.Workbook()
        sheet = book.active
        assert sheet is not None
        sheet.title = "Sheet1"
        header = ["Subject", "Filename", None, "OnsetFrame", "ApexFrame", "OffsetFrame", None]
        sheet.append([*header, "Action Units", "Estimated Emotion"])
        for spec in specs:
            units = action_units.notation(spec.activations)
            number_like = spec.clip.isdecimal() and not spec.clip.startswith("0")
            sheet.append(
                [
                    spec.subject.removeprefix("sub"),
                    int(spec.clip) if number_like else spec.clip,
                    None,
                    spec.onset,
                    spec.annotated_apex,
                    spec.offset,
                    None,
                    int(units) if units.isdecimal() else units,
                    spec.emotion,
                ]
            )
        book.save(folder / "CASME2-coding-20140508.xlsx")


def _clip_name(subject: str, number: int, seed: int) -> str:
    # As in the real sheet, a few names look like numbers, with and without a leading zero.
    if number == 1 and subject in ("sub01", "sub02"):
        return "1102" if subject == "sub01" else "0902"
    episode = int(random_stream(seed, f"casme2/{subject}/{number}").integers(1, 9))
    return f"EP{episode:02d}_{number + 1:02d}{'f' if number % 2 == 0 else ''}"
