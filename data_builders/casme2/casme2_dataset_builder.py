"""CASME II: 145 clips of 24 subjects in the composite, 200 frames per second."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from atnet_jax.errors import UserError
from atnet_jax.preprocessing.frame_files import FrameName
from data_builders import source
from data_builders.micro_expression import MicroExpressionBuilder
from data_builders.sheet import Columns, Sheet, with_frames

# The release that the composite follows comes first. The frame numbers are the same in both.
SPREADSHEETS = ("CASME2-coding-20140508.xlsx", "CASME2-coding-20190701.xlsx")
FRAMES = source.FrameFolders(
    re.compile(r"sub[0-9]{1,3}", re.IGNORECASE),
    "sub01",
    raw=("CASME2_RAW_selected", "CASME2-RAW"),
    cropped=("Cropped", "Cropped-updated"),
)

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

# Sadness in the release of 2014, and surprise in that of 2019.
RELABELLED = frozenset({("sub24", "EP07_01"), ("sub24", "EP07_04f"), ("sub24", "EP10_03")})
_RELABELLED = "surprise in the 2019 release; the composite follows the 2014 release: sadness"

_FRAME = FrameName(
    re.compile(r"(?:reg_)?img([0-9]{1,9})\.(?:jpg|jpeg|png|bmp)", re.IGNORECASE), "img46.jpg"
)


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
    name = _subject(row["Subject"], ""), source.cell_text(row["Filename"])
    if name in RELABELLED and source.cell_text(row["Estimated Emotion"]).casefold() == "surprise":
        return _RELABELLED
    return None


def about_sheet(path: Path, manual_dir: Path, exclusions: Sequence[source.Exclusion]) -> str:
    """Return a note that names the spreadsheet and its release.

    Args:
        path: The spreadsheet that was read.
        manual_dir: The copy.
        exclusions: The clips that were excluded.
    """
    note = f"annotation: {path.relative_to(manual_dir)}"
    if others := [name for name in SPREADSHEETS if (path.parent / name).is_file()][1:]:
        note += f" ({others[0]} is not read)"
    # The content decides, because users rename the file.
    relabelled = [f"{row.subject}/{row.clip}" for row in exclusions if row.reason == _RELABELLED]
    if relabelled:
        note += (
            f", the release of 2019, in which {', '.join(relabelled)} are surprise. They are left "
            f"out, because the composite follows the release of 2014, in which they are sadness"
        )
    return note


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
        errors = self.new_errors()
        path = source.find_file(self.manual_dir, SPREADSHEETS)
        entries, exclusions = SHEET.read(path, errors)
        frames, note = FRAMES.find([path.parent, self.manual_dir], self.face)
        entries = with_frames(
            entries, lambda clip: frames / clip.subject / clip.clip, _FRAME, errors
        )
        notes = [about_sheet(path, self.manual_dir, exclusions), note]
        return source.check_source(self.name, source.Source(entries, exclusions, notes), errors)
