"""SAMM: 133 clips of 28 subjects in the composite, 200 frames per second."""

import re
from pathlib import Path

from atnet_jax.errors import UserError
from data_builders import source
from data_builders.micro_expression import MicroExpressionBuilder

SPREADSHEET = "SAMM_Micro_FACS_Codes_v2.xlsx"
SHEET = "MICRO_ONLY"
COLUMNS = (
    "Subject",
    "Filename",
    "Onset Frame",
    "Apex Frame",
    "Offset Frame",
    "Estimated Emotion",
)
FRAME_RATE = 200.0

LABEL_RULE: dict[str, int | None] = {
    "happiness": 1,
    "surprise": 2,
    "anger": 0,
    "contempt": 0,
    "disgust": 0,
    "fear": 0,
    "sadness": 0,
    "other": None,
}

# The sheet's apex of this clip is a slip of the pen; the authors' release used frame 1103.
APEX_CORRECTIONS = {("028_4_1", 1113): 1103}

_FRAME = re.compile(r"[0-9]+_([0-9]{1,9})\.(?:jpg|jpeg|png|bmp)", re.IGNORECASE)


def read_annotations(
    path: Path, errors: source.ErrorList
) -> tuple[list[source.Annotation], list[source.Exclusion], list[str]]:
    """The clips of the spreadsheet that count, those left out, and notes on corrections.

    Args:
        path: The spreadsheet of FACS codes.
        errors: Takes up what is wrong with single rows.

    Raises:
        UserError: The spreadsheet cannot be read or lacks a column.
    """
    annotations, exclusions, corrections = [], [], []
    rows = source.read_sheet(
        path, COLUMNS, sheet=SHEET, request_from="https://helward.mmu.ac.uk/STAFF/m.yap/dataset.php"
    )
    for number, row in rows:
        where = f"{path.name}, row {number}"
        with errors.collect():
            subject = _subject(row["Subject"], where)
            clip = source.cell_name(row["Filename"], "Filename", where)
            emotion = source.cell_text(row["Estimated Emotion"])
            label = source.find_label(emotion, LABEL_RULE, where)
            if label is None:
                reason = f"emotion {emotion} is not in the composite"
                exclusions.append(source.Exclusion(where, subject, clip, reason))
                continue
            onset, apex, offset = (
                source.cell_integer(row[column], column, where)
                for column in ("Onset Frame", "Apex Frame", "Offset Frame")
            )
            corrected = APEX_CORRECTIONS.get((clip, apex), apex)
            if corrected != apex:
                corrections.append(
                    f"{where} ({clip}): apex {apex} corrected to {corrected}, "
                    f"the frame that the authors' release used"
                )
            annotations.append(
                source.Annotation(where, subject, clip, emotion, label, onset, corrected, offset)
            )
    return annotations, exclusions, corrections


def _subject(cell: object, where: str) -> str:
    """The composite names subject 006 `6`."""
    text = source.cell_text(cell)
    if not re.fullmatch(r"[0-9]{1,3}", text):
        raise UserError(f"{where}: Subject is {text!r}, expected a number such as 006")
    return str(int(text))


class Builder(MicroExpressionBuilder):
    """SAMM from its spreadsheet of FACS codes and its folders of frames."""

    def read_source(self) -> source.Source:
        """See the base class; README.md beside this file shows the folder's layout."""
        errors = source.ErrorList()
        annotations, exclusions, notes = read_annotations(self.manual_dir / SPREADSHEET, errors)
        subfolder = self.manual_dir / "SAMM"
        frames = subfolder if subfolder.is_dir() else self.manual_dir
        entries = source.annotated_entries(
            self.name,
            annotations,
            lambda annotation: frames / f"{int(annotation.subject):03d}" / annotation.clip,
            _FRAME,
            FRAME_RATE,
            errors,
        )
        return source.check_source(self.name, source.Source(entries, exclusions, notes), errors)
