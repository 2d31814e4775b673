"""SMIC, high-speed part: 164 clips of 16 subjects in the composite, 100 frames per second."""

import re
from pathlib import Path

from atnet_jax.errors import UserError
from atnet_jax.names import CLASSES
from atnet_jax.preprocessing import frame_files
from atnet_jax.preprocessing.annotation import Clip
from atnet_jax.preprocessing.apex import middle_frame
from data_builders import source
from data_builders.micro_expression import MicroExpressionBuilder

FRAME_RATE = 100.0

_SUBJECT = re.compile(r"s([0-9]{1,2})", re.IGNORECASE)
_CLIP = re.compile(r"s([0-9]{1,2})_([A-Za-z]+)_([0-9]+)", re.IGNORECASE)
_FRAME = frame_files.FrameName(
    re.compile(r"(?:reg_)?image([0-9]{1,9})\.(?:bmp|jpg|jpeg|png)", re.IGNORECASE),
    "image559757.bmp",
)

# VIS and NIR are the parts of the other two cameras.
FRAMES = source.FrameFolders(
    _SUBJECT,
    "s01",
    raw=("SMIC_all_raw/HS",),
    cropped=("SMIC_all_cropped/HS",),
    other_parts=frozenset({"vis", "nir"}),
)


def read_folders(folder: Path, dataset: str, errors: source.ErrorList) -> list[source.Entry]:
    """Return the clips in the folder HS, whose labels are the names of folders.

    Onset and offset are the first and the last frame in a clip's folder. The apex is the middle
    frame (paper, section III-A).

    Args:
        folder: The folder HS, which contains one folder per subject.
        dataset: Name of the database.
        errors: Collects the errors of single clips.
    """
    entries = []
    for subject in source.subfolders(folder, errors):
        match = _SUBJECT.fullmatch(subject.name)
        if match is None:
            errors.messages.append(f"{subject} is not named like a subject (s01 or s1).")
            continue
        # The raw folders are named s01, the cropped ones s1. The composite uses s01.
        name = f"s{int(match[1]):02d}"
        folders = {path.name.lower(): path for path in source.subfolders(subject, errors)}
        if "micro" not in folders:
            errors.messages.append(
                f"The folder {subject / 'micro'} does not exist. Check that the copy of the "
                f"database is complete."
            )
            continue
        for emotion in source.subfolders(folders["micro"], errors):
            if emotion.name.lower() not in CLASSES:
                errors.messages.append(
                    f"{emotion}: Unknown emotion {emotion.name!r}. "
                    f"Expected one of {', '.join(CLASSES)}."
                )
                continue
            for path in source.subfolders(emotion, errors):
                with errors.collect():
                    clip = _name(path, name)
                    if not errors.leaves_out(str(path), name, clip):
                        label = emotion.name.lower()
                        entries.append(_entry(path, dataset, name, clip, label))
    return entries


def _name(path: Path, subject: str) -> str:
    """Return the composite's name of a clip: `s01_ne_01` for s1_ne_01."""
    match = _CLIP.fullmatch(path.name)
    if match is None or f"s{int(match[1]):02d}" != subject:
        raise UserError(f"{path} is not named like a clip of {subject} (such as {subject}_ne_01).")
    return f"{subject}_{match[2].lower()}_{match[3]}"


def _entry(path: Path, dataset: str, subject: str, name: str, emotion: str) -> source.Entry:
    # Every file matters here, because the middle frame is the apex.
    frames = frame_files.numbered_frames(path, _FRAME, only=True)
    if not frames:
        raise UserError(f"{path} has no frames. Check that the copy of the database is complete.")
    numbers = list(frames)
    clip = Clip(
        dataset=dataset,
        subject=subject,
        clip=name,
        label=CLASSES.index(emotion),
        emotion=emotion,
        onset=numbers[0],
        apex=numbers[middle_frame(numbers)],
        offset=numbers[-1],
        frame_rate=FRAME_RATE,
        frames=source.clip_frames(frames, numbers[0], numbers[-1], path),
    )
    return source.Entry(clip, str(path))


class Builder(MicroExpressionBuilder):
    """Builder of SMIC-HS from its folders of frames."""

    def read_source(self) -> source.Source:
        """See the base class. README.md beside this file describes the folder's layout."""
        errors = self.new_errors()
        frames, note = FRAMES.find([self.manual_dir], self.face)
        entries = read_folders(frames, self.name, errors)
        return source.check_source(self.name, source.Source(entries, notes=[note]), errors)
