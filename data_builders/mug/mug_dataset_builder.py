"""MUG: posed emotions of 52 subjects, each take from a neutral face to the apex and back."""

import re
from collections.abc import Iterator
from pathlib import Path

from atnet_jax.errors import UserError
from atnet_jax.preprocessing import frame_files
from atnet_jax.preprocessing.apex import middle_frame
from atnet_jax.words import numbered
from data_builders import source
from data_builders.macro_expression import FRAMES, MacroExpressionBuilder, no_class

TOP = "subjects3"

LABEL_RULE: dict[str, int | None] = {
    "anger": 0,
    "disgust": 0,
    "fear": 0,
    "happiness": 1,
    "neutral": None,
    "sadness": 0,
    "surprise": 2,
}

_SUBJECT = re.compile(r"[0-9]{3}")
_SESSION = re.compile(r"session[0-9]+")
_TAKE = re.compile(r"take[0-9]+(.*)")
_FRAME = frame_files.FrameName(
    re.compile(r"img_([0-9]{1,9})" + frame_files.PICTURE, re.IGNORECASE), "img_0000.jpg"
)


def middle_frames(folder: Path) -> tuple[dict[int, Path], int]:
    """Return the `FRAMES` frames around the middle of a take, and the number of the middle one.

    Args:
        folder: The folder of the take.

    Raises:
        UserError: A frame is missing, or there are too few frames for the first and the last to be
            neutral.
    """
    frames = frame_files.numbered_frames(folder, _FRAME, only=True)
    if len(frames) < FRAMES + 2:
        raise UserError(
            f"{folder}: Found {numbered(len(frames), 'frame')}, expected at least"
            f" {FRAMES + 2}, the first and "
            f"the last of which are neutral. Check that the copy of the set is complete."
        )
    # A missing frame would shift the middle.
    frames = source.clip_frames(frames, min(frames), max(frames), folder)
    numbers = list(frames)
    middle = middle_frame(numbers)
    chosen = numbers[middle - FRAMES // 2 : middle + FRAMES // 2 + 1]
    return {number: frames[number] for number in chosen}, numbers[middle]


def read_emotions(top: Path, errors: source.ErrorList) -> Iterator[tuple[str, str, Path]]:
    """Yield the folders of emotions, such as 001/anger or 002/session1/anger.

    Args:
        top: The folder of the subjects' folders.
        errors: Collects other folders.

    Yields:
        Subject, a prefix for the names of takes that distinguishes sessions, and the folder.

    Raises:
        UserError: The folder is missing.
    """
    for subject in source.subfolders(top, errors):
        if not _SUBJECT.fullmatch(subject.name):
            errors.messages.append(f"{subject} is not named like a subject (such as 001).")
            continue
        folders = source.subfolders(subject, errors)
        if not folders:
            errors.messages.append(f"{subject} has no folder of an emotion (such as anger).")
        for folder in folders:
            if _SESSION.fullmatch(folder.name):
                for emotion in source.subfolders(folder, errors):
                    yield subject.name, f"{folder.name}_", emotion
            else:
                yield subject.name, "", folder


class Builder(MacroExpressionBuilder):
    """Builder of MUG from its folders of frames."""

    def read_source(self) -> source.Source:
        """See the base class. README.md beside this file describes the folder's layout."""
        errors = self.new_errors()
        found = []
        for subject, prefix, folder in read_emotions(self.manual_dir / TOP, errors):
            with errors.collect():
                label = source.find_label(folder.name, LABEL_RULE, str(folder))
                emotion = folder.name.casefold()
                takes = source.subfolders(folder, errors)
                if not takes:
                    raise UserError(f"{folder} has no folder of a take (such as take000).")
                for take in takes:
                    with errors.collect():
                        clip = f"{prefix}{emotion}_{take.name}"
                        if errors.leaves_out(str(take), subject, clip):
                            continue
                        found.append(self._read_take(subject, clip, emotion, label, take))
        return self.check(found, errors)

    def _read_take(
        self, subject: str, clip: str, emotion: str, label: int | None, take: Path
    ) -> source.Entry | source.Exclusion:
        match = _TAKE.fullmatch(take.name)
        if match is None:
            raise UserError(f"{take} is not named like a take (such as take000).")
        if label is None:
            return source.Exclusion(str(take), subject, clip, no_class(emotion))
        if match[1]:
            reason = f"the take's name ends in {match[1]!r}"
            return source.Exclusion(str(take), subject, clip, reason)
        frames, apex = middle_frames(take)
        return self.make_entry(subject, clip, emotion, label, frames, apex, take)
