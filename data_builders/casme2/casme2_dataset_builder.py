"""CASME II: 145 clips of 24 subjects in the composite, 200 frames per second."""

import re
from collections.abc import Mapping

from atnet_jax.errors import UserError
from data_builders import source
from data_builders.micro_expression import MicroExpressionBuilder
from data_builders.sheet import Columns, Sheet, with_frames

SPREADSHEET = "CASME2-coding-20140508.xlsx"
RAW = ("CASME2_RAW_selected", "CASME2-RAW")
CROPPED = ("Cropped",)

# This rule yields the composite's 145 clips. The paper's text (section IV-A) merges anger, disgust,
# sadness and fear instead, which does not yield the authors' own list of samples.
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


def _subject(cell: object, where: str) -> str:
    """Return `sub01` for the sheet's 01."""
    text = source.cell_text(cell)
    match = re.fullmatch(r"(?:sub)?([0-9]{1,3})", text)
    if match is None:
        raise UserError(f"{where}: Subject is {text!r}, expected a number such as 01.")
    return f"sub{int(match[1]):02d}"


def _unusable(row: Mapping[str, object]) -> str | None:
    apex = source.cell_text(row["ApexFrame"])
    if apex == "/":
        return "the apex is not annotated"
    if apex == source.cell_text(row["OnsetFrame"]) != "":
        return "the annotated apex equals the onset"
    return None


SHEET = Sheet(
    dataset="casme2",
    columns=Columns(
        *("Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Estimated Emotion")
    ),
    rule=LABEL_RULE,
    frame_rate=200.0,
    subject=_subject,
    request_from="http://casme.psych.ac.cn/casme/e2",
    unusable=_unusable,
)


class Builder(MicroExpressionBuilder):
    """Builder of CASME II from its coding spreadsheet and its folder of frames."""

    def read_source(self) -> source.Source:
        """See the base class. README.md beside this file describes the folder's layout."""
        errors = source.ErrorList()
        entries, exclusions = SHEET.read(self.manual_dir / SPREADSHEET, errors)
        frames, note = source.frame_folder(self.manual_dir, self.face, raw=RAW, cropped=CROPPED)
        entries = with_frames(
            entries, lambda clip: frames / clip.subject / clip.clip, _FRAME, errors
        )
        return source.check_source(self.name, source.Source(entries, exclusions, [note]), errors)
