"""Check of a user's copy of a database: its annotation, and every frame of onset…offset."""

import hashlib
import importlib
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from atnet_jax.errors import UserError
from atnet_jax.names import DEFAULT_FLOW
from atnet_jax.preprocessing.frames import read_image
from atnet_jax.system.workers import map_in_order
from data_builders import source
from data_builders.doctor import motion
from data_builders.doctor.findings import CheckedClip, Checkup, some
from data_builders.pictures import picture_files
from data_builders.source import Entry, Source, SourceError


@dataclass(frozen=True)
class Examined:
    """Result of examining the frames of a clip.

    Attributes:
        digests: SHA-256 of the numbers and files of the frames, or empty if a file cannot be read.
        content: Digest of the decoded pictures, independent of numbers and file formats. It is None
            if all frames are unreadable.
        found: Kind and text of each finding.
    """

    digests: Mapping[str, str]
    content: str | None
    found: list[tuple[str, str]]


def check_raw(
    manual_dir: Path, dataset: str, face: str = "mtcnn", num_workers: int | None = None
) -> Checkup:
    """Check the copy of a database that `prepare` would read.

    Args:
        manual_dir: The copy.
        dataset: The database.
        face: The face detector, or 'none', with which cropped frames are preferred.
        num_workers: Number of processes, by default one for each CPU.

    Returns:
        The checked clips and the findings.
    """
    checkup = Checkup((dataset,))
    copy, messages = _read_copy(manual_dir, dataset, face)
    for message in messages:
        checkup.add("refused", dataset, _shorten(message, manual_dir))
    checkup.notes += [f"{dataset}: {note}" for note in copy.notes]
    checkup.left_out += [
        (dataset, f"{row.subject}/{row.clip}", row.reason) for row in copy.exclusions
    ]
    results = map_in_order(examine, copy.entries, num_workers)
    contents: dict[str, str] = {}
    for entry, examined in zip(
        copy.entries,
        tqdm(results, dataset, len(copy.entries), unit="clip", disable=None),
        strict=True,
    ):
        clip = entry.clip
        if clip.key in contents:
            checkup.add("duplicate_key", clip.key, f"{entry.where} defines it again")
            continue
        contents[clip.key] = examined.content or clip.key
        for kind, found in examined.found:
            checkup.add(kind, clip.key, _shorten(found, manual_dir))
        checkup.clips.append(
            CheckedClip(
                *(clip.dataset, clip.subject, clip.clip, clip.label),
                *(clip.onset, clip.apex, clip.offset),
                frames=len(picture_files(clip)),
                digests=examined.digests,
            )
        )
    checkup.add_same_clips(contents)
    return checkup


def _shorten(message: str, manual_dir: Path) -> str:
    return message.replace(f"{manual_dir}/", "")


def _read_copy(manual_dir: Path, dataset: str, face: str) -> tuple[Source, list[str]]:
    """Return the clips that the database's builder can use, and its error messages."""
    module = importlib.import_module(f"data_builders.{dataset}.{dataset}_dataset_builder")
    # The builder only reads the copy, so it needs no folder for data. A temporary one would remain
    # if the process were killed.
    builder = module.Builder(
        data_dir=os.devnull, config=DEFAULT_FLOW, manual_dir=manual_dir, face=face
    )
    try:
        return builder.source, []
    except SourceError as error:
        return error.source, list(error.messages)
    except UserError as error:
        return Source(()), [str(error)]


def examine(entry: Entry) -> Examined:
    """Read and check all frames onset…offset of a clip."""
    clip, files = entry.clip, picture_files(entry.clip)
    odd: dict[str, list[str]] = defaultdict(list)
    if clip.apex == clip.onset:
        odd["apex"].append(f"onset and apex are both frame {clip.apex}")
    content = hashlib.sha256()
    readable: list[int] = []
    odd.update(motion.look_at(_read(files, odd, content, readable)))
    return Examined(
        _digests(files),
        content.hexdigest() if readable else None,
        [(kind, some(found)) for kind, found in odd.items()],
    )


def _read(
    files: Mapping[int, Path], odd: dict[str, list[str]], content: Any, readable: list[int]
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the readable frames that have the size of the first one."""
    size = None
    for number, path in files.items():
        try:
            frame = read_image(path)
        except UserError as error:
            odd["unreadable"].append(str(error))
            continue
        readable.append(number)
        content.update(repr(frame.shape).encode() + frame.tobytes())
        shape = f"{frame.shape[1]}x{frame.shape[0]}"
        size = size or shape
        if shape == size:
            yield number, frame
        else:
            odd["frame_size"].append(f"{path.name} has {shape} pixels, the first frame has {size}")


def _digests(files: Mapping[int, Path]) -> dict[str, str]:
    """Return the digest of the frames' numbers in the annotation and of the files' bytes.

    Decoded pixels are not used, because those of a JPEG depend on the decoder's version. Two labs
    compare their copies, not their software. File names are not part of the digest.
    """
    digest = hashlib.sha256()
    try:
        for number, path in files.items():
            digest.update(f"{number} {source.file_digest(path)}\n".encode())
    except UserError:
        return {}
    return {"sha256": digest.hexdigest()}
