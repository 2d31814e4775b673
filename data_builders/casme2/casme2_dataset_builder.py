"""CASME II: 145 clips of 24 subjects in the composite, 200 frames per second."""

import re
from pathlib import Path

from atnet_jax.errors import UserError
from data_builders import source
from data_builders.micro_expression import MicroExpressionBuilder

SPREADSHEET = "CASME2-coding-20140508.xlsx"
COLUMNS = (
    "Subject",
    "Filename",
    "OnsetFrame",
    "ApexFrame",
    "OffsetFrame",
    "Estimated Emotion",
)
RAW = ("CASME2_RAW_selected", "CASME2-RAW")
CROPPED = ("Cropped",)
FRAME_RATE = 200.0

# The rule that gives the composite's 145 clips. The paper's text (section IV-A) merges anger,
# disgust, sadness and fear instead, which does not give its own list of samples.
LABEL_RULE: dict[str, int | None] = {
    "happiness": 1,
    "surprise": 2,
    "disgust": 0,
    "repression": 0,
    "others": None,
    "sadness": None,
    "fear": None,
}

_FRAME = re.compile(r"(?:reg_)?img([0-9]{1,9})\.(?:jpg|jpeg|png|bmp)", re.IGNORECASE)


def read_annotations(
    path: Path, errors: source.ErrorList
) -> tuple[list[source.Annotation], list[source.Exclusion]]:
    """The clips of the spreadsheet that count, and those left out.

    Args:
        path: The coding spreadsheet.
        errors: Takes up what is wrong with single rows.

    Raises:
        UserError: The spreadsheet cannot be read or lacks a column.
    """
    annotations, exclusions = [], []
    rows = source.read_sheet(path, COLUMNS, request_from="http://casme.psych.ac.cn/casme/e2")
    for number, row in rows:
        where = f"{path.name}, row {number}"
        with errors.collect():
            subject = _subject(row["Subject"], where)
            clip = source.cell_name(row["Filename"], "Filename", where)
            emotion = source.cell_text(row["Estimated Emotion"])
            label = source.find_label(emotion, LABEL_RULE, where)
            apex = source.cell_text(row["ApexFrame"])
            reason = None
            if label is None:
                reason = f"emotion {emotion} is not in the composite"
            elif apex == "/":
                reason = "no apex is annotated"
            elif apex == source.cell_text(row["OnsetFrame"]) != "":
                reason = "the annotated apex is the onset"
            if reason is not None or label is None:
                exclusions.append(source.Exclusion(where, subject, clip, str(reason)))
                continue
            onset, apex, offset = (
                source.cell_integer(row[column], column, where)
                for column in ("OnsetFrame", "ApexFrame", "OffsetFrame")
            )
            annotations.append(
                source.Annotation(where, subject, clip, emotion, label, onset, apex, offset)
            )
    return annotations, exclusions


def _subject(cell: object, where: str) -> str:
    """`sub01` of the sheet's 01."""
    text = source.cell_text(cell)
    match = re.fullmatch(r"(?:sub)?([0-9]{1,3})", text)
    if match is None:
        raise UserError(f"{where}: Subject is {text!r}, expected a number such as 01")
    return f"sub{int(match[1]):02d}"


class Builder(MicroExpressionBuilder):
    """CASME II from its coding spreadsheet and its folder of frames."""

    def read_source(self) -> source.Source:
        """See the base class; README.md beside this file shows the folder's layout."""
        errors = source.ErrorList()
        annotations, exclusions = read_annotations(self.manual_dir / SPREADSHEET, errors)
        frames, note = source.frame_folder(self.manual_dir, self.face, raw=RAW, cropped=CROPPED)
        entries = source.annotated_entries(
            self.name,
            annotations,
            lambda annotation: frames / annotation.subject / annotation.clip,
            _FRAME,
            FRAME_RATE,
            errors,
        )
        return source.check_source(self.name, source.Source(entries, exclusions, [note]), errors)
