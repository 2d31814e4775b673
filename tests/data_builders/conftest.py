"""Tiny copies of the databases, in their own layouts."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openpyxl
import pytest
import tensorflow_datasets as tfds

CASME2_HEADER = (
    *("Subject", "Filename", None, "OnsetFrame", "ApexFrame", "OffsetFrame", None),
    *("Action Units", "Estimated Emotion"),
)
SAMM_HEADER = (
    *("Subject", "Filename", "Inducement Code", "Onset Frame", "Apex Frame", "Offset Frame"),
    *("Duration", "Micro", "Action Units", "Estimated Emotion", "Objective Classes", "Notes"),
)


def write_frames(folder: Path, names: Iterable[str], seed: int = 0) -> None:
    """Grey pictures that drift a little from frame to frame."""
    folder.mkdir(parents=True, exist_ok=True)
    texture = np.random.default_rng(seed).integers(0, 256, (12, 15), np.uint8)
    texture = cv2.resize(texture, (80, 64), interpolation=cv2.INTER_CUBIC)
    for index, name in enumerate(names):
        shift = np.array([[1, 0, 0.4 * index], [0, 1, -0.2 * index]])
        picture = cv2.warpAffine(texture, shift, (80, 64), borderMode=cv2.BORDER_REFLECT)
        assert cv2.imwrite(str(folder / name), picture)


def write_sheet(
    path: Path, rows: Iterable[Sequence[object]], *, title: str = "Sheet1", before: int = 0
) -> None:
    """A spreadsheet, its first row after `before` rows of other text."""
    workbook = openpyxl.Workbook()
    sheet = workbook.worksheets[0]
    sheet.title = title
    for _ in range(before):
        sheet.append(["a line of text before the header"])
    for row in rows:
        sheet.append(list(row))
    path.parent.mkdir(parents=True, exist_ok=True)
    workbook.save(path)


def casme2_row(subject, clip, onset, apex, offset, emotion):
    return (subject, clip, None, onset, apex, offset, None, 4, emotion)


def samm_row(subject, clip, onset, apex, offset, emotion):
    return (subject, clip, 1, onset, apex, offset, "=F1-D1+1", "Micro", 4, emotion, 1, None)


def numbered(pattern: str, numbers: Iterable[int]) -> list[str]:
    return [pattern.format(number) for number in numbers]


# Pictures of small macro-expression sets. The position in the list determines a picture's content.
PICTURES = {
    "ck_plus": [
        *numbered("cohn-kanade-images/S005/001/S005_001_{:08d}.png", range(1, 6)),
        *numbered("cohn-kanade-images/S005/002/S005_002_{:08d}.png", range(1, 5)),
        *numbered("cohn-kanade-images/S010/004/S010_004_{:08d}.png", range(1, 7)),
        *numbered("cohn-kanade-images/S010/006/S010_006_{:08d}.png", range(1, 5)),
        *numbered("cohn-kanade-images/S011/001/S011_001_{:08d}.png", range(1, 5)),
        *numbered("cohn-kanade-images/S011/002/S011_002_{:08d}.png", range(1, 5)),
        *numbered("cohn-kanade-images/S999/003/S999_003_{:08d}.png", range(97, 102)),
    ],
    "oulu_casia": [
        *numbered("VL/Strong/P001/Anger/{:03d}.jpeg", range(5)),
        *numbered("VL/Strong/P001/Happiness/{:03d}.jpeg", range(4)),
        *numbered("VL/Strong/P002/Surprise/{:03d}.jpeg", range(6)),
        *numbered("VL/Weak/P001/Anger/{:03d}.jpeg", range(4)),
        *numbered("VL/Dark/P001/Anger/{:03d}.jpeg", range(4)),
        *numbered("NI/Strong/P001/anger/{:03d}.jpeg", range(4)),
        *numbered("NI/Strong/P002/Sadness/{:03d}.jpeg", range(5)),
    ],
    "jaffe": [
        *("KA.AN1.39.tiff", "KA.AN2.40.tiff", "KA.DI1.42.tiff", "KA.FE4.48.tiff"),
        *("KA.HA1.29.tiff", "KA.NE1.26.tiff", "KL.SU3.166.tiff", "KL.SA1.161.tiff"),
        "YM.NE3.51.tiff",
    ],
    "mug": [
        *numbered("subjects3/001/anger/take000/img_{:04d}.jpg", range(7)),
        *numbered("subjects3/001/happiness/take002/img_{:04d}.jpg", range(6)),
        *numbered("subjects3/001/neutral/take000/img_{:04d}.jpg", range(5)),
        *numbered("subjects3/002/session0/surprise/take001/img_{:04d}.jpg", range(10, 15)),
        *numbered("subjects3/002/session1/Surprise/take001/img_{:04d}.jpg", range(5)),
        *numbered("subjects3/002/session1/fear/take001nsg/img_{:04d}.jpg", range(5)),
    ],
    "image_folder": [
        *("happiness/anna/1.png", "happiness/anna/2.jpg", "happiness/3.bmp", "anger/anna/1.png"),
        *("anger/bert/x.y.tif", "Contempt/bert/1.JPEG", "surprise/carl/1.tiff", "surprise/3.bmp"),
        *("neutral/anna/1.png", "neutral/9.png", "negative/dora/1.png", "positive/dora/1.png"),
    ],
}
EMOTION_FILES = {
    "Emotion/S005/001/S005_001_00000005_emotion.txt": "   3.0000000e+00\n",
    "Emotion/S010/004/S010_004_00000006_emotion.txt": "   7.0000000e+00\n",
    "Emotion/S010/006/S010_006_00000004_emotion.txt": "   5.0000000e+00\n",
    "Emotion/S011/002/S011_002_00000004_emotion.txt": "   0.0000000e+00\n",
    "Emotion/S999/003/S999_003_00000101_emotion.txt": "   2.0000000e+00\n",
}


class Trees:
    """Writers of small copies of the databases."""

    PICTURES = PICTURES

    def macro(self, dataset: str, folder: Path) -> Path:
        """A macro-expression set of one-coloured pictures, every third of them in three channels.

        The grey level is four times the picture's place in the list, counted from 1.
        """
        for place, name in enumerate(PICTURES[dataset]):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            shape = (32, 40) if place % 3 else (32, 40, 3)
            assert cv2.imwrite(str(path), np.full(shape, 4 * (place + 1), np.uint8))
        if dataset == "ck_plus":
            (folder / "Emotion/S011/001").mkdir(parents=True)
            for name, text in EMOTION_FILES.items():
                (folder / name).parent.mkdir(parents=True)
                (folder / name).write_text(text)
        return folder

    @staticmethod
    def shown(dataset: str, image: np.ndarray) -> str:
        """Which picture of such a set this is a crop of."""
        level = image.mean()
        assert np.abs(image - level).max() < 1
        return PICTURES[dataset][round(level / 4) - 1]

    write_frames = staticmethod(write_frames)
    write_sheet = staticmethod(write_sheet)
    casme2_row = staticmethod(casme2_row)
    samm_row = staticmethod(samm_row)

    CASME2_ROWS = (
        casme2_row("02", "EP01_11f", 46, 47, 49, "repression"),
        casme2_row("01", "EP02_01f", 8, 10, 11, "happiness"),
        casme2_row(1, "EP19_05f", 5, 6, 7, "disgust"),
        casme2_row("02", 7, 1, 2, 3, "surprise"),
        casme2_row("02", "EP03_02f", 1, 2, 3, "others"),
        casme2_row("02", "EP03_03f", 1, 2, 3, "sadness"),
        casme2_row("02", "EP03_04f", 1, 2, 3, "fear"),
        casme2_row("04", "EP12_01f", 1, "/", 3, "disgust"),
        casme2_row("05", "EP09_05f", 4, 4, 6, "repression"),
    )
    SAMM_ROWS = (
        samm_row("006", "006_1_2", 5562, 5563, 5564, "Anger"),
        samm_row("006", "006_1_3", 3940, 3941, 3942, "Contempt"),
        samm_row(28, "028_4_1", 1101, 1113, 1105, "Disgust"),
        samm_row("028", "028_4_3", 424, 425, 427, "Surprise"),
        samm_row("035", "035_5_2", 10, 11, 12, "Happiness"),
        samm_row("035", "035_6_1", 10, 11, 12, "Other"),
    )

    def casme2_sheet(self, folder: Path, rows: Iterable[Sequence[object]]) -> Path:
        path = folder / "CASME2-coding-20140508.xlsx"
        write_sheet(path, [CASME2_HEADER, *rows])
        return path

    def samm_sheet(self, folder: Path, rows: Iterable[Sequence[object]]) -> Path:
        path = folder / "SAMM_Micro_FACS_Codes_v2.xlsx"
        write_sheet(path, [SAMM_HEADER, *rows], title="MICRO_ONLY", before=13)
        return path

    def casme2(self, folder: Path, *, frames: str = "CASME2_RAW_selected") -> Path:
        """Four clips that count and five that do not; a frame more at each end than annotated."""
        self.casme2_sheet(folder, self.CASME2_ROWS)
        prefix = "reg_" if frames == "Cropped" else ""
        for seed, (subject, clip, _, onset, _, offset, *_) in enumerate(self.CASME2_ROWS[:4]):
            names = [f"{prefix}img{number}.jpg" for number in range(onset - 1, offset + 2)]
            write_frames(folder / frames / f"sub{int(subject):02d}" / str(clip), names, seed)
        return folder

    def samm(self, folder: Path, *, subfolder: str = "") -> Path:
        """Five clips that count and one that does not; numbers padded to 5 and to 4 digits."""
        self.samm_sheet(folder, self.SAMM_ROWS)
        for seed, (subject, clip, _, onset, _, offset, *_) in enumerate(self.SAMM_ROWS[:5]):
            digits = 5 if seed % 2 else 4
            names = [
                f"{int(subject):03d}_{number:0{digits}d}.jpg" for number in range(onset, offset + 1)
            ]
            write_frames(folder / subfolder / f"{int(subject):03d}" / clip, names, seed)
        return folder

    def smic(self, folder: Path, *, cropped: bool = False) -> Path:
        """Three clips of 4, 3 and 5 frames."""
        top = folder / ("SMIC_all_cropped" if cropped else "SMIC_all_raw") / "HS"
        clips = (
            (1, "negative", "ne", 98, 4),
            (1, "surprise", "sur", 5, 3),
            (20, "positive", "po", 7, 5),
        )
        for seed, (subject, emotion, code, first, count) in enumerate(clips):
            name = f"s{subject}" if cropped else f"s{subject:02d}"
            prefix = "reg_" if cropped else ""
            write_frames(
                top / name / "micro" / emotion / f"{name}_{code}_01",
                [f"{prefix}image{first + index:06d}.bmp" for index in range(count)],
                seed,
            )
        return folder


@pytest.fixture
def trees() -> Trees:
    return Trees()


@pytest.fixture
def read_records() -> Callable[[Path], list[dict[str, Any]]]:
    """Reopens prepared data without its builder, as training does."""

    def read(path: Path) -> list[dict[str, Any]]:
        records = tfds.builder_from_directory(path).as_data_source("train")
        texts = ("dataset", "subject", "clip", "emotion")
        return [
            {key: value.decode() if key in texts else value for key, value in record.items()}
            for record in records
        ]

    return read
