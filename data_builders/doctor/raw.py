"""Check of a user's copy of a database: its annotation, and every frame of onset…offset."""

import hashlib
import importlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from atnet_jax.data.record import INPUTS
from atnet_jax.errors import UserError
from atnet_jax.names import DEFAULT_FLOW
from atnet_jax.preprocessing.annotation import Clip, VideoFrames
from atnet_jax.preprocessing.frames import read_frames, read_image
from atnet_jax.published import DATABASES
from atnet_jax.system.workers import map_in_order
from atnet_jax.words import numbered
from data_builders import source
from data_builders.doctor import motion
from data_builders.doctor.findings import CheckedClip, Checkup, some
from data_builders.records import read_array, read_flow_map
from data_builders.source import Entry, Source, SourceError


@dataclass(frozen=True)
class Examined:
    """Result of examining the frames of a clip.

    Attributes:
        digests: SHA-256 of the numbers and files of the frames, or empty if a file cannot be read.
        content: Digest of the decoded pictures, independent of numbers and file formats. It is None
            if all frames are unreadable.
        pictures: Digest of each decoded picture by frame number, without pictures of one grey.
        found: Kind and text of each finding.
    """

    digests: Mapping[str, str]
    content: str | None
    pictures: Mapping[int, bytes]
    found: list[tuple[str, str]]


def check_raw(
    manual_dir: Path, dataset: str, face: str = "mtcnn", num_workers: int | None = None
) -> Checkup:
    """Check the copy of a database that `prepare` would read.

    Args:
        manual_dir: The copy.
        dataset: The database, or 'manifest'.
        face: The face detector, or 'none', with which cropped frames are preferred.
        num_workers: Number of processes, by default one for each CPU.

    Returns:
        The checked clips and the findings.
    """
    copy, messages = _read_copy(manual_dir, dataset, face)
    there = {entry.clip.dataset for entry in copy.entries} | {dataset}
    checkup = Checkup(tuple(name for name in DATABASES if name in there))
    for message in messages:
        checkup.add("refused", dataset, _shorten(message, manual_dir))
    checkup.notes += [f"{dataset}: {note}" for note in copy.notes]
    for warning in copy.warnings:
        checkup.add("same_person", dataset, warning)
    checkup.left_out += [
        (dataset, f"{row.subject}/{row.clip}", row.reason) for row in copy.exclusions
    ]
    results = map_in_order(examine, copy.entries, num_workers)
    contents: dict[str, str] = {}
    shown: dict[str, tuple[Clip, Mapping[int, bytes]]] = {}
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
        shown[clip.key] = clip, examined.pictures
        for kind, found in examined.found:
            checkup.add(kind, clip.key, _shorten(found, manual_dir))
        checkup.clips.append(
            CheckedClip(
                *(clip.dataset, clip.subject, clip.clip, clip.label),
                *(None if n < 0 else n for n in (clip.onset, clip.apex, clip.offset)),
                frames=clip.offset - clip.onset + 1 if clip.frames else None,
                digests=examined.digests,
            )
        )
    checkup.add_same_clips(contents)
    _check_shared(shown, contents, checkup)
    return checkup


def _check_shared(
    shown: Mapping[str, tuple[Clip, Mapping[int, bytes]]],
    contents: Mapping[str, str],
    checkup: Checkup,
) -> None:
    """Add a finding for each two clips that share some frames, but not all."""
    first: dict[bytes, tuple[str, int]] = {}
    shared: defaultdict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for key, (_, pictures) in shown.items():
        for number, digest in pictures.items():
            other, there = first.setdefault(digest, (key, number))
            if other != key and contents[other] != contents[key]:
                shared[key, other].append((number, there))
    for (key, other), pairs in shared.items():
        clip, another = shown[key][0], shown[other][0]
        one_recording = clip.names[:2] == another.names[:2] and all(n == m for n, m in pairs)
        number, there = pairs[0]
        checkup.add(
            "overlap" if one_recording else "shared_frames",
            key,
            f"{len(pairs)} of its {numbered(len(shown[key][1]), 'frame')} are frames of {other}, "
            f"such as frame {number}, there frame {there}",
        )


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
    clip = entry.clip
    odd: dict[str, list[str]] = defaultdict(list)
    if clip.apex == clip.onset >= 0:
        odd["apex"].append(f"onset and apex are both frame {clip.apex}")
    content = hashlib.sha256()
    pictures: dict[int, bytes] = {}
    odd.update(motion.look_at(_read(clip, odd, content, pictures)))
    has_inputs = _read_inputs(entry, odd, content)
    return Examined(
        _digests(entry),
        content.hexdigest() if pictures or has_inputs else None,
        {number: digest for number, digest in pictures.items() if digest},
        [(kind, some(found)) for kind, found in odd.items()],
    )


def _read_inputs(entry: Entry, odd: dict[str, list[str]], content: Any) -> bool:
    """Read the inputs that a manifest provides, and return whether there is a readable one."""
    readers = (
        (entry.apex_image, read_image),
        (entry.adm, lambda path: read_array(path, INPUTS["adm"].shape)),
        (entry.flow_map, read_flow_map),
    )
    readable = False
    for path, read in readers:
        if path is not None:
            try:
                content.update(read(path).tobytes())
                readable = True
            except UserError as error:
                odd["unreadable"].append(str(error))
    return readable


def _read(
    clip: Clip, odd: dict[str, list[str]], content: Any, pictures: dict[int, bytes]
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the readable frames that have the size of the first one."""
    size = None
    for number, name, read in _readers(clip):
        try:
            frame = read()
        except UserError as error:
            odd["unreadable"].append(str(error))
            continue
        pixels = repr(frame.shape).encode() + frame.tobytes()
        content.update(pixels)
        # Frames of one grey, such as black ones, are equal in unrelated clips.
        flat = frame.min() == frame.max()
        pictures[number] = b"" if flat else hashlib.sha256(pixels).digest()
        shape = f"{frame.shape[1]}x{frame.shape[0]}"
        size = size or shape
        if shape == size:
            yield number, frame
        else:
            odd["frame_size"].append(f"{name} has {shape} pixels, the first frame has {size}")


def _readers(clip: Clip) -> Iterator[tuple[int, str, Callable[[], np.ndarray]]]:
    """Yield the number and name of each frame onset…offset, and a function that reads it."""
    if isinstance(clip.frames, VideoFrames):
        numbers = range(clip.onset, clip.offset + 1)
        decoded: dict[int, np.ndarray] = {}

        def decode() -> np.ndarray:
            decoded.update(read_frames(clip, numbers))
            return decoded[clip.onset]

        yield clip.onset, f"frame {clip.onset}", decode
        for number, frame in list(decoded.items())[1:]:
            yield number, f"frame {number}", lambda frame=frame: frame
        return
    for number, path in clip.frames.items():
        yield number, path.name, lambda path=path: read_image(path)


def _digests(entry: Entry) -> dict[str, str]:
    """Return the digest of the frames' numbers in the annotation and of the files' bytes.

    Decoded pixels are not used, because those of a JPEG depend on the decoder's version. Two labs
    compare their copies, not their software. File names are not part of the digest.
    """
    frames = entry.clip.frames
    files = {0: frames.path} if isinstance(frames, VideoFrames) else dict(frames)
    given = (entry.apex_image, entry.adm, entry.flow_map)
    digest = hashlib.sha256()
    try:
        for number, path in files.items():
            digest.update(f"{number} {source.file_digest(path)}\n".encode())
        for path in filter(None, given):
            digest.update(f"{source.file_digest(path)}\n".encode())
    except UserError:
        return {}
    return {"sha256": digest.hexdigest()}
