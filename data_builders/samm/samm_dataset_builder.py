"""SAMM: 133 clips of 28 subjects in the composite, 200 frames per second."""

import dataclasses
import re
from pathlib import Path

from atnet_jax.errors import UserError
from atnet_jax.preprocessing.frame_files import FrameName
from data_builders import source
from data_builders.micro_expression import MicroExpressionBuilder
from data_builders.sheet import Columns, Sheet, with_frames

SPREADSHEET = "SAMM_Micro_FACS_Codes_v2.xlsx"
FRAMES = source.FrameFolders(re.compile(r"[0-9]{3}"), "006", raw=("SAMM",))

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

# The sheet's apex of this clip is a typo. The authors' release used frame 1103.
APEX_CORRECTIONS = {("028_4_1", 1113): 1103}

_FRAME = FrameName(
    re.compile(r"[0-9]+_([0-9]{1,9})\.(?:jpg|jpeg|png|bmp)", re.IGNORECASE), "006_05562.jpg"
)


def _subject(cell: object, where: str) -> str:
    """Return the composite's name of a subject: `6` for the sheet's 006."""
    text = source.cell_text(cell)
    if not re.fullmatch(r"[0-9]{1,3}", text):
        raise UserError(f"{where}: Subject is {text!r}, expected a number such as 006.")
    return str(int(text))


SHEET = Sheet(
    dataset="samm",
    columns=Columns(
        *("Subject", "Filename", "Onset Frame", "Apex Frame", "Offset Frame", "Estimated Emotion")
    ),
    rule=LABEL_RULE,
    frame_rate=200.0,
    subject=_subject,
    request_from="https://helward.mmu.ac.uk/STAFF/m.yap/dataset.php",
    title="MICRO_ONLY",
)


def read_annotations(
    path: Path, errors: source.ErrorList
) -> tuple[list[source.Entry], list[source.Exclusion], list[str]]:
    """Read the spreadsheet and correct its known typo.

    Args:
        path: The spreadsheet.
        errors: Collects the errors of single rows.

    Returns:
        The clips and exclusions of `Sheet.read`, and a note on each correction.
    """
    entries, exclusions = SHEET.read(path, errors)
    notes = []
    for place, entry in enumerate(entries):
        clip = entry.clip
        apex = APEX_CORRECTIONS.get((clip.clip, clip.apex), clip.apex)
        if apex != clip.apex:
            entries[place] = source.Entry(dataclasses.replace(clip, apex=apex), entry.where)
            notes.append(
                f"{entry.where} ({clip.clip}): apex {clip.apex} corrected to {apex}, "
                f"the frame that the authors' release used"
            )
    return entries, exclusions, notes


class Builder(MicroExpressionBuilder):
    """Builder of SAMM from its spreadsheet of FACS codes and its folders of frames."""

    def read_source(self) -> source.Source:
        """See the base class. README.md beside this file describes the folder's layout."""
        errors = self.new_errors()
        path = source.find_file(self.manual_dir, [SPREADSHEET])
        entries, exclusions, notes = read_annotations(path, errors)
        frames, note = FRAMES.find([path.parent, self.manual_dir], self.face)
        entries = with_frames(
            entries, lambda clip: frames / f"{int(clip.subject):03d}" / clip.clip, _FRAME, errors
        )
        source_found = source.Source(entries, exclusions, [note, *notes])
        return source.check_source(self.name, source_found, errors)
