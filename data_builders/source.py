"""Annotated clips and the files of their frames, which a builder reads before any computation.

All errors in a user's copy of a database are found at this stage. A missing frame is therefore
reported within seconds, not after an hour of computing flow.
"""

import dataclasses
import hashlib
import os
import re
from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeVar

from atnet_jax.errors import UserError
from atnet_jax.names import CLASSES
from atnet_jax.preprocessing.annotation import Clip, VideoFrames
from atnet_jax.preprocessing.frame_files import PICTURE_SUFFIXES, numbered_frames, visible

# A rule that does not exclude any emotion never returns None.
Label = TypeVar("Label", int, int | None)

_LISTED_FRAMES = 5


@dataclass(frozen=True)
class Entry:
    """One future record: a clip, and the inputs that the user provides instead of frames.

    Attributes:
        clip: The clip. Its `frames` are empty if all inputs are provided. Its onset, apex and
            offset are -1 if unknown.
        where: File and row, or folder, that defines the clip, for messages.
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
    """A clip that the database's label rule excludes, and the reason."""

    where: str
    subject: str
    clip: str
    reason: str


@dataclass(frozen=True)
class Source:
    """Content of a database's folder.

    Attributes:
        entries: The clips to prepare, sorted by dataset, subject and clip.
        exclusions: The clips excluded by the label rule.
        notes: Notes for the user, such as corrections of known annotation errors.
    """

    entries: Sequence[Entry]
    exclusions: Sequence[Exclusion] = ()
    notes: Sequence[str] = ()

    def digest(self, *, contents: bool = False) -> str:
        """Return the SHA-256 of the annotation and of every frame's name and size.

        Files of provided inputs (ADM, flow map, apex image) are included with their content,
        because their size never varies.

        Args:
            contents: Whether to include the content of every frame too.

        Raises:
            UserError: A file whose content is included cannot be read.
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
    """Error that lists all errors in a copy of a database and holds its usable clips.

    Attributes:
        source: The clips without errors, unsorted, and the exclusions.
        messages: The message of each error.
    """

    def __init__(self, text: str, source: Source, messages: Sequence[str]) -> None:
        super().__init__(text)
        self.source = source
        self.messages = messages


@dataclass
class ErrorList:
    """Errors of single clips, collected so that the user sees all of them at once."""

    messages: list[str] = field(default_factory=list)

    @contextmanager
    def collect(self) -> Generator[None, None, None]:
        """Store a UserError raised inside the block and continue after the block."""
        try:
            yield
        except UserError as error:
            self.messages.append(str(error))

    def raise_all(self, dataset: str) -> None:
        """Raise one error with all messages, if there are any.

        Args:
            dataset: Name of the database, for the message.

        Raises:
            UserError: At least one error was collected.
        """
        if not self.messages:
            return
        count = len(self.messages)
        raise UserError(
            f"{dataset}: {count} error{'s' if count > 1 else ''}, so nothing was prepared:\n"
            + "\n".join(f"  - {message}" for message in self.messages)
        )


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content in hexadecimal.

    Raises:
        UserError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from None


def cell_text(value: object) -> str:
    """Return a cell as text. A number 12.0 becomes `12`, because spreadsheets add the `.0`."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def cell_integer(value: object, column: str, where: str) -> int:
    """Return a cell as a frame number.

    Args:
        value: The cell.
        column: Name of its column, for the message.
        where: Its file and row, for the message.

    Raises:
        UserError: The cell is not an integer of at least 0.
    """
    text = cell_text(value)
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise UserError(f"{where}: {column} is {text!r}, expected a frame number (0, 1, 2, …).")
    return int(text)


def cell_name(value: object, column: str, where: str) -> str:
    """Return a cell as a name that is safe as one part of a path and of a record's key.

    Args:
        value: The cell.
        column: Name of its column, for the message.
        where: Its file and row, for the message.

    Raises:
        UserError: The cell is empty, or the name could point out of its folder.
    """
    text = cell_text(value)
    if not text:
        raise UserError(f"{where}: {column} is empty, expected a name.")
    if text in {".", ".."} or not text.isprintable() or re.search(r"[/\\]|^[A-Za-z]:", text):
        raise UserError(
            f"{where}: {column} is {text!r}, expected a plain name (no path, no '/', no '..')."
        )
    return text


def find_label(emotion: str, rule: Mapping[str, Label], where: str) -> Label:
    """Return the class of an emotion: 0 negative, 1 positive, 2 surprise, None if excluded.

    Args:
        emotion: The emotion's name in any case.
        rule: The label rule, from lower-case names to classes.
        where: The position of the emotion, for the message.

    Raises:
        UserError: The rule does not contain the emotion.
    """
    try:
        return rule[emotion.casefold()]
    except KeyError:
        raise UserError(
            f"{where}: Unknown emotion {emotion!r}. Expected one of {', '.join(rule)}."
        ) from None


def subfolders(folder: Path, errors: ErrorList) -> list[Path]:
    """Return the subfolders of a folder that should hold only folders and possibly notes.

    A picture in it is an error, because the name of its folder is lost.

    Args:
        folder: The folder.
        errors: Collects the pictures.

    Raises:
        UserError: The folder is missing.
    """
    paths = visible(folder)
    errors.messages += [
        f"{path} is a picture, but only folders are expected here. Move it back to its folder."
        for path in paths
        if path.suffix.lower() in PICTURE_SUFFIXES and not path.is_dir()
    ]
    return [path for path in paths if path.is_dir()]


def check_inside(path: Path, folder: Path) -> None:
    """Check that a path is a file in a folder, also after following links.

    Raises:
        UserError: The path is not a file, or a link leads out of the folder.
    """
    # In some Python versions, Path.resolve() raises an error for a loop of links.
    target = Path(os.path.realpath(path))
    if not target.is_relative_to(os.path.realpath(folder)):
        raise UserError(
            f"{path} is a link that leads out of {folder}, to {target}. Replace the link with a "
            f"copy of the file."
        )
    if not target.is_file():
        raise UserError(f"{path} is not a file.")


def clip_frames(
    frames: Mapping[int, Path], onset: int, offset: int, folder: Path
) -> dict[int, Path]:
    """Return the frames onset…offset.

    Args:
        frames: Paths of frames by number.
        onset: Number of the first frame to return.
        offset: Number of the last frame to return.
        folder: The frames' folder, for the message.

    Raises:
        UserError: At least one of these frames is missing.
    """
    count = offset - onset + 1 - sum(onset <= number <= offset for number in frames)
    if count:
        # This is a generator, because a typo in the annotation can mean millions of frames.
        missing = (number for number in range(onset, offset + 1) if number not in frames)
        listed = ", ".join(str(number) for number in islice(missing, _LISTED_FRAMES))
        more = f", … ({count} in all)" if count > _LISTED_FRAMES else ""
        raise UserError(
            f"{folder} lacks frame{'s' if count > 1 else ''} {listed}{more} "
            f"of {onset}…{offset}. Check that the copy of the database is complete."
        )
    return {number: frames[number] for number in range(onset, offset + 1)}


def annotated_frames(
    folder: Path, name: re.Pattern[str], onset: int, offset: int, where: str
) -> dict[int, Path]:
    """Return the paths of the frames onset…offset in a clip's folder, by number.

    Args:
        folder: The clip's folder.
        name: Pattern of a frame's file name. Its first group is the frame's number.
        onset: Number of the first frame.
        offset: Number of the last frame.
        where: Position of the clip's annotation, for messages.

    Raises:
        UserError: The folder or a frame is missing, or two files have one number.
    """
    try:
        return clip_frames(numbered_frames(folder, name), onset, offset, folder)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def frame_folder(
    manual_dir: Path, face: str, *, raw: Sequence[str], cropped: Sequence[str]
) -> tuple[Path, str]:
    """Return the folder of the frames, and a note that names it.

    The databases are delivered with raw and with cropped frames. With a face detector, raw frames
    are preferred; without one, cropped frames.

    Args:
        manual_dir: The copy of the database.
        face: The face detector, or 'none'.
        raw: Possible folders of raw frames. The first existing one is used.
        cropped: Possible folders of cropped frames. The first existing one is used.

    Raises:
        UserError: The copy has none of these folders.
    """
    kinds = {"raw": raw, "cropped": cropped}
    preferred, other = ("cropped", "raw") if face == "none" else ("raw", "cropped")
    for kind in (preferred, other):
        for name in kinds[kind]:
            if (manual_dir / name).is_dir():
                note = f"frames: {name} ({kind})"
                if kind != preferred:
                    note += (
                        f", because the copy has no {preferred} frames; the face option is {face!r}"
                    )
                return manual_dir / name, note
    raise UserError(
        f"{manual_dir} has no folder of frames. Expected one of {', '.join([*raw, *cropped])}."
    )


def check_source(dataset: str, source: Source, errors: ErrorList) -> Source:
    """Return the source with its entries sorted.

    Args:
        dataset: Name of the database, for messages.
        source: The clips and exclusions.
        errors: The errors found so far.

    Raises:
        SourceError: There are errors, or two clips have one key.
        UserError: The source has no clips.
    """
    first: dict[str, str] = {}
    for entry in source.entries:
        key = entry.clip.key
        if key in first:
            errors.messages.append(
                f"{key} is defined twice, at {first[key]} and at {entry.where}. Remove one of them."
            )
        first.setdefault(key, entry.where)
    try:
        errors.raise_all(dataset)
    except UserError as error:
        raise SourceError(str(error), source, errors.messages) from None
    if not source.entries:
        raise UserError(
            f"{dataset} has no clips to prepare. The label rule excludes {len(source.exclusions)}. "
            f"Check that --manual_dir is complete."
        )
    ordered = sorted(source.entries, key=lambda entry: entry.clip.names)
    return dataclasses.replace(source, entries=ordered)


def count_classes(entries: Iterable[Entry]) -> dict[str, dict[str, int]]:
    """Return the number of clips by dataset and class name, including classes without clips."""
    counts = Counter((entry.clip.dataset, entry.clip.label) for entry in entries)
    return {
        dataset: {name: counts[dataset, label] for label, name in enumerate(CLASSES)}
        for dataset in sorted({dataset for dataset, _ in counts})
    }
