"""CK+: 593 sequences from a neutral face to the peak of an expression, 327 of them labelled."""

import re
from pathlib import Path

from atnet_jax.errors import UserError
from atnet_jax.preprocessing import frame_files
from data_builders import source
from data_builders.macro_expression import MacroExpressionBuilder, last_frames, no_class

IMAGES = "cohn-kanade-images"
EMOTIONS = "Emotion"

# An emotion's code is its index in this mapping.
LABEL_RULE: dict[str, int | None] = {
    "neutral": None,
    "anger": 0,
    "contempt": 0,
    "disgust": 0,
    "fear": 0,
    "happy": 1,
    "sadness": 0,
    "surprise": 2,
}

_SUBJECT = re.compile(r"S[0-9]{3}")
_SEQUENCE = re.compile(r"[0-9]{3}")


def read_emotion(path: Path) -> str:
    """Return the emotion of a file that contains only its code, such as `3.0000000e+00`.

    Raises:
        UserError: The file cannot be read, or contains anything else.
    """
    try:
        with path.open("rb") as file:
            text = file.read(100).decode("ascii", errors="replace").strip()
        code = float(text)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from None
    except ValueError:
        raise UserError(f"{path} contains {text!r}, expected the code of an emotion.") from None
    names = tuple(LABEL_RULE)
    if code not in range(len(names)):
        known = ", ".join(f"{code} {name}" for code, name in enumerate(names))
        raise UserError(f"{path} contains the unknown emotion {text}, expected one of {known}.")
    return names[int(code)]


def read_sequences(top: Path, errors: source.ErrorList) -> dict[tuple[str, str], Path]:
    """Return the folders of the sequences, such as S005/001, by subject and sequence.

    Args:
        top: The folder of the subjects' folders.
        errors: Collects the folders with other names.

    Raises:
        UserError: The folder is missing.
    """
    sequences = {}
    for subject in source.subfolders(top, errors):
        if not _SUBJECT.fullmatch(subject.name):
            errors.messages.append(f"{subject} is not named like a subject (such as S005).")
            continue
        for sequence in source.subfolders(subject, errors):
            if _SEQUENCE.fullmatch(sequence.name):
                sequences[subject.name, sequence.name] = sequence
            else:
                errors.messages.append(f"{sequence} is not named like a sequence (such as 001).")
    return sequences


class Builder(MacroExpressionBuilder):
    """Builder of CK+ from its folders of frames and of emotion files."""

    def read_source(self) -> source.Source:
        """Return the clips of the folder, whose layout README.md beside this file describes.

        Raises:
            UserError: The folder of emotion files is missing, or the copy has errors.
        """
        errors = self.new_errors()
        emotions = self.manual_dir / EMOTIONS
        if not emotions.is_dir():
            raise UserError(
                f"The folder {emotions} does not exist. The labels are delivered with the set in a "
                f"separate file (Emotion_labels.zip). Unpack it beside {IMAGES}."
            )
        found = []
        images = read_sequences(self.manual_dir / IMAGES, errors)
        labels = read_sequences(emotions, errors)
        for key, folder in images.items():
            if errors.leaves_out(str(folder), *key):
                continue
            with errors.collect():
                found.append(self._read_sequence(*key, folder, labels.get(key)))
        for key, folder in labels.items():
            if key not in images and frame_files.visible(folder):
                errors.messages.append(
                    f"{folder} labels a sequence without a folder in {IMAGES}. "
                    f"Check that the copy of the set is complete."
                )
        return self.check(found, errors)

    def _read_sequence(
        self, subject: str, clip: str, folder: Path, labels: Path | None
    ) -> source.Entry | source.Exclusion:
        prefix = f"{subject}_{clip}_"
        files = frame_files.visible(labels) if labels else []
        if not files:
            return source.Exclusion(str(folder), subject, clip, "the sequence has no emotion file")
        if len(files) > 1:
            raise UserError(
                f"{labels}: Expected one emotion file, found {', '.join(f.name for f in files)}."
            )
        match = re.fullmatch(prefix + r"([0-9]{1,9})_emotion\.txt", files[0].name)
        if match is None:
            raise UserError(
                f"{files[0]} is not named like an emotion file of this sequence "
                f"(such as {prefix}00000011_emotion.txt)."
            )
        source.check_inside(files[0], self.manual_dir)
        emotion = read_emotion(files[0])
        label = LABEL_RULE[emotion]
        if label is None:
            return source.Exclusion(str(folder), subject, clip, no_class(emotion))
        pattern = re.compile(prefix + "([0-9]{1,9})" + frame_files.PICTURE, re.IGNORECASE)
        name = frame_files.FrameName(pattern, f"{prefix}00000011.png")
        frames = frame_files.numbered_frames(folder, name, only=True)
        if not frames or int(match[1]) != max(frames):
            raise UserError(
                f"{files[0]} labels frame {int(match[1])}, but the last frame in {folder} is "
                f"{max(frames, default='missing')}. Check that the copy of the set is complete."
            )
        chosen = last_frames(frames, folder)
        return self.make_entry(subject, clip, emotion, label, chosen, max(chosen), folder)
