"""CK+: 327 labelled of 593 sequences, from a neutral face to the peak of an expression."""

import re
from pathlib import Path

from atnet_jax.errors import UserError
from atnet_jax.preprocessing import frame_files
from data_builders import source
from data_builders.macro_expression import MacroExpressionBuilder, last_frames, no_class

IMAGES = "cohn-kanade-images"
EMOTIONS = "Emotion"

# An emotion's code is its place here.
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
    """The emotion in a file that holds nothing but its code, such as `3.0000000e+00`.

    Raises:
        UserError: It holds anything else.
    """
    try:
        with path.open("rb") as file:
            text = file.read(100).decode("ascii", errors="replace").strip()
        code = float(text)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError:
        raise UserError(f"{path}: holds {text!r}, expected the code of an emotion") from None
    names = tuple(LABEL_RULE)
    if code not in range(len(names)):
        known = ", ".join(f"{code} {name}" for code, name in enumerate(names))
        raise UserError(f"{path}: unknown emotion {text}, expected one of {known}")
    return names[int(code)]


def read_sequences(top: Path, errors: source.ErrorList) -> dict[tuple[str, str], Path]:
    """The folders such as S005/001, by subject and sequence; other folders are errors.

    Raises:
        UserError: The folder is missing.
    """
    sequences = {}
    for subject in source.subfolders(top, errors):
        if not _SUBJECT.fullmatch(subject.name):
            errors.messages.append(f"{subject}: not named as a subject (such as S005)")
            continue
        for sequence in source.subfolders(subject, errors):
            if _SEQUENCE.fullmatch(sequence.name):
                sequences[subject.name, sequence.name] = sequence
            else:
                errors.messages.append(f"{sequence}: not named as a sequence (such as 001)")
    return sequences


class Builder(MacroExpressionBuilder):
    """CK+ from its folders of frames and of emotion files."""

    def read_source(self) -> source.Source:
        """See the base class; README.md beside this file shows the folder's layout."""
        errors = source.ErrorList()
        emotions = self.manual_dir / EMOTIONS
        if not emotions.is_dir():
            raise UserError(
                f"{emotions}: no such folder. The labels come with the set, in a file of their own "
                f"(Emotion_labels.zip); unpack it beside {IMAGES}"
            )
        found = []
        images = read_sequences(self.manual_dir / IMAGES, errors)
        labels = read_sequences(emotions, errors)
        for key, folder in images.items():
            with errors.collect():
                found.append(self._read_sequence(*key, folder, labels.get(key)))
        for key, folder in labels.items():
            if key not in images and frame_files.visible(folder):
                errors.messages.append(
                    f"{folder}: labels a sequence without a folder in {IMAGES}; "
                    f"is the copy of the set complete?"
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
                f"{labels}: expected one emotion file, found {', '.join(f.name for f in files)}"
            )
        match = re.fullmatch(prefix + r"([0-9]{1,9})_emotion\.txt", files[0].name)
        if match is None:
            raise UserError(
                f"{files[0]}: not named as an emotion file of this sequence "
                f"(such as {prefix}00000011_emotion.txt)"
            )
        source.check_inside(files[0], self.manual_dir)
        emotion = read_emotion(files[0])
        label = LABEL_RULE[emotion]
        if label is None:
            return source.Exclusion(str(folder), subject, clip, no_class(emotion))
        name = re.compile(prefix + "([0-9]{1,9})" + frame_files.PICTURE, re.IGNORECASE)
        frames = frame_files.numbered_frames(folder, name, only=True)
        if not frames or int(match[1]) != max(frames):
            raise UserError(
                f"{files[0]}: labels frame {int(match[1])}, but the last frame in {folder} is "
                f"{max(frames, default='missing')}; is the copy of the set complete?"
            )
        chosen = last_frames(frames, folder)
        return self.make_entry(subject, clip, emotion, label, chosen, max(chosen), folder)
