"""Atomic writing of files and folders: a reader never sees an incomplete one."""

import contextlib
import io
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from atnet_jax.errors import UserError

_POINTER = b"version https://git-lfs.github.com/"


def refuse_pointer(path: Path, start: bytes) -> None:
    """Check that a file is not the pointer that Git stores in its place.

    Args:
        path: Path of the file, for the message.
        start: Content of the file, or its beginning.

    Raises:
        UserError: The file is a pointer of Git LFS.
    """
    if start.startswith(_POINTER):
        raise UserError(
            f"{path} is only a pointer of Git LFS, not the file itself. Run `git lfs pull` in its "
            f"repository, or download the file."
        )


def shown(path: Path) -> str:
    r"""Return a path as text that every file and terminal can hold.

    Bytes of a name that are not UTF-8 appear as \xNN.

    Args:
        path: Any path.
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def refuse_existing(out: Path) -> None:
    """Check that `out` can be created; an empty folder counts as new.

    Args:
        out: Path of the new file or folder.

    Raises:
        UserError: A file or a non-empty folder of this name exists.
    """
    if os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"{out} already exists. Choose a new --out.")


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Create a folder that appears as `out` only when the block succeeds.

    Args:
        out: Path of the new folder.

    Yields:
        A temporary folder to fill, which is renamed to `out` or, after an error, removed.

    Raises:
        UserError: A file or a non-empty folder of this name exists.
        OSError: The folder cannot be created.
    """
    refuse_existing(out)
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(8)}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.rename(out)  # This can replace an empty folder only.
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text_atomically(path: Path, text: str) -> None:
    r"""Write `text` as UTF-8 with unchanged line endings; see `write_bytes_atomically`.

    A sign that UTF-8 lacks, of a file name in another encoding, is written as an escape such as
    \udcfc, from which JSON restores it.

    Args:
        path: File to write or replace.
        text: Content of the file.

    Raises:
        OSError: The folder does not exist or cannot be written to.
    """
    write_bytes_atomically(path, text.encode("utf-8", errors="backslashreplace"))


def write_bytes_atomically(path: Path, data: bytes | memoryview) -> None:
    """Write `data` atomically: `path` holds either its old content or all of `data`.

    The data are written to a temporary file in the same folder, which then replaces `path`.

    Args:
        path: File to write or replace.
        data: Content of the file.

    Raises:
        OSError: The folder does not exist or cannot be written to.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        error.filename = str(path)  # The error of a full disk names no file.
        raise
    finally:
        with contextlib.suppress(OSError):  # A second error, as on a read-only file system.
            temporary.unlink()


def write_json_atomically(path: Path, value: Any) -> None:
    """Write `value` atomically as indented JSON with sorted keys and a final line feed.

    Args:
        path: File to write or replace.
        value: Value that JSON can represent.

    Raises:
        ValueError: `value` contains NaN or infinity, which JSON cannot represent.
        OSError: The folder does not exist or cannot be written to.
    """
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text_atomically(path, text + "\n")


def write_arrays_atomically(path: Path, **arrays: np.ndarray) -> None:
    """Write arrays atomically as a compressed .npz file without pickled objects.

    Args:
        path: File to write or replace.
        **arrays: Arrays by name.

    Raises:
        ValueError: An array holds Python objects.
        OSError: The folder does not exist or cannot be written to.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_bytes_atomically(path, buffer.getvalue())
