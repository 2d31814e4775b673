"""JAFFE: 213 pictures of seven expressions, posed by ten Japanese women."""

import re
from pathlib import Path

from atnet_jax.errors import UserError
from atnet_jax.preprocessing import frame_files
from data_builders import source
from data_builders.macro_expression import MacroExpressionBuilder, no_class

# Emotion and class of each code in the pictures' names.
EMOTIONS: dict[str, tuple[str, int | None]] = {
    "AN": ("anger", 0),
    "DI": ("disgust", 0),
    "FE": ("fear", 0),
    "HA": ("happiness", 1),
    "NE": ("neutral", None),
    "SA": ("sadness", 0),
    "SU": ("surprise", 2),
}

_PICTURE = re.compile(
    r"([A-Z]{2})\.(([A-Z]{2})[0-9]\.[0-9]{1,3})" + frame_files.PICTURE, re.IGNORECASE
)


class Builder(MacroExpressionBuilder):
    """Builder of JAFFE from its pictures, whose names contain all annotation."""

    def read_source(self) -> source.Source:
        """See the base class. README.md beside this file describes the folder's layout."""
        errors = self.new_errors()
        found = []
        for path in frame_files.visible(self.manual_dir, notes=False):
            with errors.collect():
                found.append(self._read_picture(path))
        return self.check(found, errors)

    def _read_picture(self, path: Path) -> source.Entry | source.Exclusion:
        match = _PICTURE.fullmatch(path.name)
        if match is None:
            raise UserError(
                f"{path} is not named like a picture of JAFFE (such as KA.AN1.39.tiff). "
                f"Remove it or restore its name."
            )
        subject, clip, code = (part.upper() for part in match.groups())
        if code not in EMOTIONS:
            raise UserError(
                f"{path}: Unknown emotion {code!r}. Expected one of {', '.join(EMOTIONS)}."
            )
        emotion, label = EMOTIONS[code]
        if label is None:
            return source.Exclusion(str(path), subject, clip, no_class(emotion))
        return self.make_entry(subject, clip, emotion, label, {0: path}, 0, path)
