"""Annotated clips and the files of their frames, which a builder reads before any computation.

All errors in a user's copy of a database are found at this stage. A missing frame is therefore
reported within seconds, not after an hour of computing flow.
"""

import dataclasses
import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeVar

from atnet_jax.errors import UserError
from atnet_jax.names import CLASSES
from atnet_jax.preprocessing.annotation import Clip, VideoFrames
from atnet_jax.preprocessing.frame_files import (
    PICTURE_SUFFIXES,
    FrameName,
    numbered_frames,
    visible,
)
from atnet_jax.words import alike, meant, numbered, plain

# A rule that does not exclude any emotion never returns None.
Label = TypeVar("Label", int, int | None)

_LISTED_FRAMES = 5
# How many folders deeper than expected a copy may be.
_DEEPEST = 2
_ARCHIVES = frozenset({".7z", ".bz2", ".gz", ".rar", ".tar", ".tgz", ".xz", ".zip", ".001"})

# Adjectives that the commonest data sets use, and the nouns of the label rules.
_NOUNS = {
    "angry": "anger",
    "contemptuous": "contempt",
    "disgusted": "disgust",
    "fearful": "fear",
    "happy": "happiness",
    "sad": "sadness",
    "surprised": "surprise",
}


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
    """A clip that the database's label rule or the user excludes, and the reason."""

    where: str
    subject: str
    clip: str
    reason: str


@dataclass(frozen=True)
class Source:
    """Content of a database's folder.

    Attributes:
        entries: The clips to prepare, sorted by dataset, subject and clip.
        exclusions: The excluded clips.
        notes: Notes for the user, such as corrections of known annotation errors.
        warnings: What the user should look at before the data are used.
    """

    entries: Sequence[Entry]
    exclusions: Sequence[Exclusion] = ()
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()

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
    """Errors of single clips, collected so that the user sees all of them at once.

    Attributes:
        messages: The errors.
        notes: What the user should know of clips without errors.
        leave_out: Clips that the user leaves out, as SUBJECT/CLIP or DATASET/SUBJECT/CLIP.
        left_out: Those of them that were found.
        meant: Name in `leave_out` → the clips that it means.
    """

    messages: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    leave_out: Sequence[str] = ()
    left_out: list[Exclusion] = field(default_factory=list)
    meant: dict[str, set[str]] = field(default_factory=dict)

    def leaves_out(self, where: str, *names: str) -> bool:
        """Return whether the user leaves out a clip, which is then added to `left_out`.

        Args:
            where: File and row, or folder, that defines the clip.
            *names: Names of its subject and itself, with the data set's before them if a copy can
                hold several data sets.
        """
        subject, clip = names[-2:]
        forms = [plain("/".join(names)), plain(f"{subject}/{clip}")]
        asked = [name for name in self.leave_out if plain(name) in forms]
        for name in asked:
            self.meant.setdefault(name, set()).add("/".join(names))
        if asked:
            self.left_out.append(Exclusion(where, subject, clip, "left out by --leave_out"))
        return bool(asked)

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
        raise UserError(
            f"{dataset}: {numbered(len(self.messages), 'error')}, so nothing was prepared:\n"
            + "\n".join(f"  - {message}" for message in self.messages)
            + "\nCorrect the copy, or leave clips out with --leave_out=SUBJECT/CLIP,…."
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
    # Programs that calculate with a column write 12 as 12.0.
    match = re.fullmatch(r"([0-9]{1,9})(?:\.0*)?", text, re.ASCII)
    if match is None:
        raise UserError(f"{where}: {column} is {text!r}, expected a frame number (0, 1, 2, …).")
    return int(match[1])


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
        emotion: The emotion's name in any case, as a noun or an adjective (happy).
        rule: The label rule, from lower-case names to classes.
        where: The position of the emotion, for the message.

    Raises:
        UserError: The rule does not contain the emotion.
    """
    name = emotion.casefold()
    try:
        return rule[name if name in rule else _NOUNS.get(name, name)]
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
    folder: Path, name: FrameName, onset: int, offset: int, where: str
) -> dict[int, Path]:
    """Return the paths of the frames onset…offset in a clip's folder, by number.

    Args:
        folder: The clip's folder.
        name: Form of the names of frames' files.
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


def as_spelled(folder: Path) -> Path:
    """Return a folder, or the only one beside it whose name differs in case or leading zeros.

    Spreadsheet programs turn the name 0902 into 902, and some file systems ignore case.

    Args:
        folder: The folder that an annotation names.
    """
    if folder.is_dir() or not folder.parent.is_dir():
        return folder
    others = (path.name for path in visible(folder.parent) if path.is_dir())
    return folder.parent / meant([folder.name], others).get(folder.name, folder.name)


def unpack_hint(folder: Path) -> str:
    """Return a sentence that names an archive in a folder, or nothing.

    Args:
        folder: A folder that lacks something.
    """
    archives = [path.name for path in visible(folder) if path.suffix.lower() in _ARCHIVES]
    return f" Unpack the archive {archives[0]} first." if archives else ""


def find_inside(top: Path, fits: Callable[[Path], bool]) -> Path | None:
    """Return the folder that fits: `top` or the nearest one inside it, or None.

    Unpacking and copying often add a folder, and a user may pass the folder of several databases.

    Args:
        top: The folder to look in, up to two levels deep.
        fits: Function that decides about a folder.

    Raises:
        UserError: Several folders of one level fit.
    """
    level = [top]
    for depth in range(_DEEPEST + 1):
        if depth:
            level = [path for outer in level for path in visible(outer) if path.is_dir()]
        found = [path for path in level if fits(path)]
        if len(found) > 1:
            raise UserError(
                f"{top} contains more than one copy or part of a copy: "
                f"{' and '.join(str(path.relative_to(top)) for path in found)}. Keep one, or put "
                f"the parts into one folder."
            )
        if found:
            return found[0]
    return None


def find_file(manual_dir: Path, names: Sequence[str]) -> Path:
    """Return the annotation file of a copy, wherever it is in the folder.

    Args:
        manual_dir: The copy of the database, or a folder that contains it.
        names: Names of the file, the preferred one first.

    Returns:
        The path of the file, or the path at which it should be if it does not exist.

    Raises:
        UserError: Several folders have the file, or it is in the parent folder.
    """

    def there(folder: Path) -> list[Path]:
        return [folder / name for name in names if (folder / name).is_file()]

    folder = find_inside(manual_dir, lambda folder: bool(there(folder)))
    if folder is not None:
        return there(folder)[0]
    for outer in list(manual_dir.absolute().parents)[:_DEEPEST]:
        if there(outer):
            raise UserError(
                f"{manual_dir} is a folder inside the copy of the database, whose annotation file "
                f"is {there(outer)[0]}. Pass --manual_dir={outer}."
            )
    return manual_dir / names[0]


@dataclass(frozen=True)
class FrameFolders:
    """Where a copy of a database has its frames.

    The databases are delivered with raw and with cropped frames.

    Attributes:
        subject: Pattern of the name of a subject's folder.
        example: Name of such a folder, for messages.
        raw: Possible folders of raw frames.
        cropped: Possible folders of cropped frames.
        other_parts: Lower-case names of folders whose subjects are those of another database.
    """

    subject: re.Pattern[str]
    example: str
    raw: Sequence[str]
    cropped: Sequence[str] = ()
    other_parts: frozenset[str] = frozenset()

    def find(self, tops: Sequence[Path], face: str) -> tuple[Path, str]:
        """Return the folder that contains the subjects' folders, and a note that names it.

        With a face detector, raw frames are preferred; without one, cropped frames.

        Args:
            tops: Folders to look in, one after the other; the last one is --manual_dir.
            face: The face detector, or 'none'.

        Raises:
            UserError: There are no frames, or several folders of one kind of frames.
        """
        preferred, other = ("cropped", "raw") if face == "none" else ("raw", "cropped")
        found = next(filter(None, map(self._kinds, tops)), None)
        if found is None:
            known = ", ".join([*self.raw, *self.cropped])
            raise UserError(
                f"{tops[-1]} has no folder of frames. Expected {known}, with a folder for each "
                f"subject such as {self.example}.{unpack_hint(tops[-1])}"
            )
        kind = preferred if preferred in found else other
        folder = found[kind]
        name = folder.relative_to(tops[-1])
        note = f"frames: {folder.name if name == Path() else name} ({kind})"
        if kind != preferred and self.cropped:
            note += f", because the copy has no {preferred} frames; the face option is {face!r}"
        return folder, note

    def _kinds(self, top: Path) -> dict[str, Path]:
        """Return the folder of the subjects of each kind of frames."""
        kinds = {"raw": self.raw, "cropped": self.cropped}
        known = [*self.raw, *self.cropped]
        root = find_inside(top, lambda folder: any((folder / name).is_dir() for name in known))
        found: dict[str, Path] = {}
        for kind, names in kinds.items():
            for name in names:
                folder = (root or top) / name
                if kind not in found and folder.is_dir():
                    subjects = find_inside(folder, self._has_subjects)
                    if subjects is not None:
                        found[kind] = subjects
        if not found and (subjects := find_inside(top, self._has_subjects)) is not None:
            found[self._kind(subjects)] = subjects
        return found

    def _has_subjects(self, folder: Path) -> bool:
        return folder.name.lower() not in self.other_parts and any(
            self.subject.fullmatch(path.name) and path.is_dir() for path in visible(folder)
        )

    def _kind(self, subjects: Path) -> str:
        """Return the kind of frames in a folder of another name: cropped ones begin with reg_."""
        pictures = (path for path in subjects.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES)
        first = next(pictures, None)
        return "cropped" if first is not None and first.name.startswith("reg_") else "raw"


def check_source(dataset: str, source: Source, errors: ErrorList) -> Source:
    """Return the source with its entries sorted, without the clips that the user leaves out.

    Args:
        dataset: Name of the database, for messages.
        source: The clips and exclusions.
        errors: The errors found so far, and the clips to leave out.

    Raises:
        SourceError: There are errors, two clips have one key, or a clip to leave out is unknown.
        UserError: The source has no clips.
    """
    entries = [
        entry for entry in source.entries if not errors.leaves_out(entry.where, *entry.clip.names)
    ]
    first: dict[str, str] = {}
    for entry in entries:
        key = entry.clip.key
        if key in first:
            errors.messages.append(
                f"{key} is defined twice, at {first[key]} and at {entry.where}. Remove one of them."
            )
        first.setdefault(key, entry.where)
    exclusions = [*source.exclusions, *errors.left_out]
    known = {plain(f"{exclusion.subject}/{exclusion.clip}") for exclusion in exclusions}
    errors.messages += [
        f"--leave_out names the clip {name!r}, which the copy does not have. Expected SUBJECT/CLIP "
        f"as in the records."
        for name in errors.leave_out
        if plain(name) not in known and name not in errors.meant
    ]
    errors.messages += [
        f"--leave_out names the clip {name!r}, which means {' and '.join(sorted(clips))}. Pass "
        f"DATASET/SUBJECT/CLIP, or give clips names that differ in more than case, blanks and "
        f"leading zeros."
        for name, clips in errors.meant.items()
        if len(clips) > 1
    ]
    source = dataclasses.replace(
        source,
        entries=sorted(entries, key=lambda entry: entry.clip.names),
        exclusions=exclusions,
        notes=[*source.notes, *errors.notes],
    )
    try:
        errors.raise_all(dataset)
    except UserError as error:
        raise SourceError(str(error), source, errors.messages) from None
    if not entries:
        raise UserError(
            f"{dataset} has no clips to prepare. Excluded: {numbered(len(exclusions), 'clip')}. "
            f"Check that --manual_dir is complete."
        )
    return dataclasses.replace(source, warnings=[*source.warnings, *_same_people(source.entries)])


def _same_people(entries: Sequence[Entry]) -> list[str]:
    """Return warnings of subjects that may be one person."""
    warnings = []
    subjects = {(entry.clip.dataset, entry.clip.subject) for entry in entries}
    for dataset in sorted({dataset for dataset, _ in subjects}):
        for group in alike(subject for other, subject in subjects if other == dataset):
            warnings.append(
                f"{dataset}: the subjects {' and '.join(map(repr, group))} differ only in case, "
                f"blanks or leading zeros. If they are one person, give them one name: otherwise "
                f"the same person is in training and test."
            )
    first: dict[str, Entry] = {}
    for entry in entries:
        try:
            path = _telling_file(entry)
            same = first.setdefault(file_digest(path), entry) if path is not None else entry
        except UserError:  # Reading the clip's frames will report it.
            continue
        if same.clip.names[:2] != entry.clip.names[:2]:
            warnings.append(
                f"{same.clip.key} and {entry.clip.key} have the same picture, but different "
                f"subjects. Correct the names or the copy: otherwise the same person is in "
                f"training and test."
            )
    return warnings


def _telling_file(entry: Entry) -> Path | None:
    """Return a file that no other clip should have: the apex frame or an input in its place."""
    frames = entry.clip.frames
    apex = None if isinstance(frames, VideoFrames) else frames.get(entry.clip.apex)
    # Videos are not compared: reading them whole takes long, and one may show several people.
    return next(filter(None, (apex, entry.apex_image, entry.flow_map, entry.adm)), None)


def count_classes(entries: Iterable[Entry]) -> dict[str, dict[str, int]]:
    """Return the number of clips by dataset and class name, including classes without clips."""
    counts = Counter((entry.clip.dataset, entry.clip.label) for entry in entries)
    return {
        dataset: {name: counts[dataset, label] for label, name in enumerate(CLASSES)}
        for dataset in sorted({dataset for dataset, _ in counts})
    }
