"""Oulu-CASIA: six emotions of 80 subjects, from a neutral face to the peak, from two cameras."""

import re
from pathlib import Path

from atnet_jax.errors import UserError
from atnet_jax.preprocessing import frame_files
from data_builders import source
from data_builders.macro_expression import MacroExpressionBuilder, last_frames

CAMERAS = ("VL", "NI")
LIGHT = "Strong"

LABEL_RULE: dict[str, int] = {
    "anger": 0,
    "disgust": 0,
    "fear": 0,
    "happiness": 1,
    "sadness": 0,
    "surprise": 2,
}

_SUBJECT = re.compile(r"P[0-9]{3}")
_FRAME = frame_files.FrameName(
    re.compile(r"([0-9]{1,9})" + frame_files.PICTURE, re.IGNORECASE), "000.jpeg"
)


def find_cameras(manual_dir: Path) -> dict[str, Path]:
    """Return the folders VL and NI, or one of them, by name.

    Args:
        manual_dir: The copy of the set. The folders are in it or in one of its subfolders.

    Raises:
        UserError: Neither of the two exists, or they exist in several folders.
    """
    tops = [manual_dir, *(path for path in frame_files.visible(manual_dir) if path.is_dir())]
    found = {top: [name for name in CAMERAS if (top / name).is_dir()] for top in tops}
    found = {top: names for top, names in found.items() if names}
    if not found:
        raise UserError(
            f"{manual_dir} and its subfolders have no folder {' or '.join(CAMERAS)}. "
            f"Pass the copy of the set as --manual_dir."
        )
    if len(found) > 1:
        raise UserError(
            f"{manual_dir} has folders {' or '.join(CAMERAS)} in "
            f"{' and in '.join(map(str, found))}. Pass the one to use as --manual_dir."
        )
    ((top, names),) = found.items()
    return {name: top / name for name in names}


class Builder(MacroExpressionBuilder):
    """Builder of Oulu-CASIA from its folders of frames."""

    def read_source(self) -> source.Source:
        """See the base class. README.md beside this file describes the folder's layout."""
        errors = self.new_errors()
        entries, notes, missing = [], [], []
        cameras = find_cameras(self.manual_dir)
        for camera in CAMERAS:
            if camera not in cameras:
                notes.append(
                    f"the folder {camera} is missing: all pictures are from the other camera"
                )
                continue
            for subject in source.subfolders(cameras[camera] / LIGHT, errors):
                if not _SUBJECT.fullmatch(subject.name):
                    errors.messages.append(f"{subject} is not named like a subject (such as P001).")
                    continue
                folders = source.subfolders(subject, errors)
                if not folders:
                    errors.messages.append(
                        f"{subject} has no folder of an emotion (such as Anger)."
                    )
                for folder in folders:
                    clip = f"{camera}_{LIGHT}_{folder.name.capitalize()}"
                    if errors.leaves_out(str(folder), subject.name, clip):
                        continue
                    with errors.collect():
                        entries.append(self._read_sequence(subject.name, clip, folder))
                found = {folder.name.casefold() for folder in folders}
                missing += [subject / name.capitalize() for name in LABEL_RULE if name not in found]
        if missing:
            first = missing[0].relative_to(self.manual_dir)
            notes.append(f"missing folders of emotions: {len(missing)}, such as {first}")
        return self.check(entries, errors, notes)

    def _read_sequence(self, subject: str, clip: str, folder: Path) -> source.Entry:
        label = source.find_label(folder.name, LABEL_RULE, str(folder))
        emotion = folder.name.casefold()
        frames = last_frames(frame_files.numbered_frames(folder, _FRAME, only=True), folder)
        return self.make_entry(subject, clip, emotion, label, frames, max(frames), folder)
