"""What a builder reads before it computes anything: annotated clips and the files of their frames.

All that a user can get wrong in a database's copy is found here, before the first flow is computed:
a missing frame is known in seconds, not after an hour.
"""

import dataclasses
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeVar

from atnet_jax.errors import UserError
from atnet_jax.names import CLASSES
from atnet_jax.preprocessing.annotation import Clip, VideoFrames
from atnet_jax.preprocessing.frame_files import PICTURE_SUFFIXES, numbered_frames, visible

# A rule without emotions that are left out gives no None.
Label = TypeVar("Label", int, int | None)

_LISTED_FRAMES = 5


@dataclass(frozen=True)
class Entry:
    """One record to be: a clip, and the inputs that are given instead of computed from its frames.

    Attributes:
        clip: The clip; `frames` is empty where only given inputs are used, onset, apex and offset
            are -1 where unknown.
        where: File and row, or folder, that names it.
        apex_image: Image of the apex frame.
        adm: A .npy file of the ADM matrix.
        flow_map: A .npy file or an image of the onset-to-apex flow map.
    """

    clip: Clip
    where: str
    apex_image: Path | None = None
    adm: Path | None = None
    flow_map: Path | None = None


@dataclass(frozen=True)
class Exclusion:
    """A clip of the database that its label rule leaves out, and why."""

    where: str
    subject: str
    clip: str
    reason: str


@dataclass(frozen=True)
class Source:
    """All that a database's folder says.

    Attributes:
        entries: The clips to prepare, sorted by dataset, subject and clip.
        exclusions: The clips left out by the label rule.
        notes: What the user should know, e.g. corrections of known annotation slips.
    """

    entries: Sequence[Entry]
    exclusions: Sequence[Exclusion] = ()
    notes: Sequence[str] = ()

    def digest(self, *, contents: bool = False) -> str:
        """SHA-256 of the annotation and of every frame's name and size, or its content as well.

        Given inputs (ADM, flow map, apex image) count with their content: their size never varies.

        Raises:
            UserError: A file whose content counts cannot be read.
        """
        digest = hashlib.sha256()
        for entry in self.entries:
            clip = entry.clip
            digest.update(repr((clip.key, clip.label, clip.emotion, clip.frame_rate)).encode())
            digest.update(repr((clip.onset, clip.apex, clip.offset)).encode())
            frames = clip.frames
            if isinstance(frames, VideoFrames):
                frames = {0: frames.path}
            for number, path in frames.items():
                digest.update(f"{number} {path.name} {path.stat().st_size}\n".encode())
                if contents:
                    digest.update(file_digest(path).encode())
            for path in (entry.apex_image, entry.adm, entry.flow_map):
                digest.update(file_digest(path).encode() if path else b"-")
        return digest.hexdigest()


class SourceError(UserError):
    """A copy of a database has errors; tells all of them, and what was found beside them.

    Attributes:
        source: The clips without errors, in no order, and the exclusions.
        messages: The errors, one each.
    """

    def __init__(self, text: str, source: Source, messages: Sequence[str]) -> None:
        super().__init__(text)
        self.source = source
        self.messages = messages


@dataclass
class ErrorList:
    """Errors of single clips, gathered so that the user sees all of them at once."""

    messages: list[str] = field(default_factory=list)

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Keeps a UserError raised inside, and goes on after the block."""
        try:
            yield
        except UserError as error:
            self.messages.append(str(error))

    def raise_all(self, dataset: str) -> None:
        """Raises the errors as one.

        Raises:
            UserError: There was at least one error.
        """
        if not self.messages:
            return
        count = len(self.messages)
        raise UserError(
            f"{dataset}: {count} error{'s' if count > 1 else ''}, so nothing was prepared:\n"
            + "\n".join(f"  - {message}" for message in self.messages)
        )


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal.

    Raises:
        UserError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def cell_text(value: object) -> str:
    """A cell as text: spreadsheets and people turn `12` into 12 or 12.0."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def cell_integer(value: object, column: str, where: str) -> int:
    """A cell as a frame number.

    Raises:
        UserError: It is not a whole number of at least 0.
    """
    text = cell_text(value)
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise UserError(f"{where}: {column} is {text!r}, expected a frame number (0, 1, 2, …)")
    return int(text)


def cell_name(value: object, column: str, where: str) -> str:
    """A cell as a name that is safe as one part of a path and of a record's key.

    Raises:
        UserError: It is empty, or could point out of its folder.
    """
    text = cell_text(value)
    if not text:
        raise UserError(f"{where}: {column} is empty")
    if text in {".", ".."} or not text.isprintable() or re.search(r"[/\\]|^[A-Za-z]:", text):
        raise UserError(
            f"{where}: {column} is {text!r}, expected a plain name (no path, no '/', no '..')"
        )
    return text


def find_label(emotion: str, rule: Mapping[str, Label], where: str) -> Label:
    """Class of an emotion by a label rule: 0 negative, 1 positive, 2 surprise, None if left out.

    Raises:
        UserError: The rule does not know the emotion.
    """
    try:
        return rule[emotion.casefold()]
    except KeyError:
        raise UserError(
            f"{where}: unknown emotion {emotion!r}, expected one of {', '.join(rule)}"
        ) from None


def subfolders(folder: Path, errors: ErrorList) -> list[Path]:
    """The folders in one that holds nothing but folders, and perhaps notes.

    A picture there has lost the folder that would say what it is, which is an error.

    Raises:
        UserError: The folder is missing.
    """
    paths = visible(folder)
    errors.messages += [
        f"{path}: a picture where only folders are expected; put it back where it was"
        for path in paths
        if path.suffix.lower() in PICTURE_SUFFIXES and not path.is_dir()
    ]
    return [path for path in paths if path.is_dir()]


def check_inside(path: Path, folder: Path) -> None:
    """Checks that a file of a folder is one, and that no link leads out of the folder.

    Raises:
        UserError: It is no file, or lies elsewhere.
    """
    # Not Path.resolve(), which some Python versions end with an error in a loop of links.
    target = Path(os.path.realpath(path))
    if not target.is_relative_to(os.path.realpath(folder)):
        raise UserError(f"{path}: a link that leads out of {folder}, to {target}; copy the file")
    if not target.is_file():
        raise UserError(f"{path}: not a file")


def clip_frames(
    frames: Mapping[int, Path], onset: int, offset: int, folder: Path
) -> dict[int, Path]:
    """The frames onset…offset.

    Raises:
        UserError: One of them is missing.
    """
    count = offset - onset + 1 - sum(onset <= number <= offset for number in frames)
    if count:
        # A generator, as a slip in the annotation can ask for millions of frames.
        missing = (number for number in range(onset, offset + 1) if number not in frames)
        listed = ", ".join(str(number) for number in islice(missing, _LISTED_FRAMES))
        more = f", … ({count} in all)" if count > _LISTED_FRAMES else ""
        raise UserError(
            f"{folder}: missing frame{'s' if count > 1 else ''} {listed}{more} "
            f"of {onset}…{offset}; is the copy of the database complete?"
        )
    return {number: frames[number] for number in range(onset, offset + 1)}


def annotated_frames(
    folder: Path, name: re.Pattern[str], onset: int, offset: int, where: str
) -> dict[int, Path]:
    """The frames onset…offset of a clip's folder.

    Raises:
        UserError: The folder or a frame is missing, or two files have one number; says where the
            clip is annotated.
    """
    try:
        return clip_frames(numbered_frames(folder, name), onset, offset, folder)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def frame_folder(
    manual_dir: Path, face: str, *, raw: Sequence[str], cropped: Sequence[str]
) -> tuple[Path, str]:
    """The folder of the frames, and a note that tells which one it is.

    The databases come with raw frames and with cropped ones. A face is looked for in the raw ones;
    without a detector the cropped ones serve as they are. Of several the first one is taken.

    Raises:
        UserError: None of them is there.
    """
    kinds = {"raw": raw, "cropped": cropped}
    preferred, other = ("cropped", "raw") if face == "none" else ("raw", "cropped")
    for kind in (preferred, other):
        for name in kinds[kind]:
            if (manual_dir / name).is_dir():
                note = f"frames: {name} ({kind})"
                if kind != preferred:
                    note += f", as no {preferred} frames are there; the face option is {face!r}"
                return manual_dir / name, note
    raise UserError(
        f"{manual_dir}: no folder of frames, expected one of {', '.join([*raw, *cropped])}"
    )


def check_source(dataset: str, source: Source, errors: ErrorList) -> Source:
    """The source with its entries sorted.

    Raises:
        SourceError: There are errors, or a clip is named twice.
        UserError: There is no clip at all.
    """
    first: dict[str, str] = {}
    for entry in source.entries:
        key = entry.clip.key
        if key in first:
            errors.messages.append(f"{key}: given twice, at {first[key]} and at {entry.where}")
        first.setdefault(key, entry.where)
    try:
        errors.raise_all(dataset)
    except UserError as error:
        raise SourceError(str(error), source, errors.messages) from None
    if not source.entries:
        raise UserError(
            f"{dataset}: no clip is left ({len(source.exclusions)} are left out by the label rule)"
        )
    ordered = sorted(source.entries, key=lambda entry: entry.clip.names)
    return dataclasses.replace(source, entries=ordered)


def count_classes(entries: Iterable[Entry]) -> dict[str, dict[str, int]]:
    """Number of clips by dataset and class name, every class named."""
    counts = Counter((entry.clip.dataset, entry.clip.label) for entry in entries)
    return {
        dataset: {name: counts[dataset, label] for label, name in enumerate(CLASSES)}
        for dataset in sorted({dataset for dataset, _ in counts})
    }
