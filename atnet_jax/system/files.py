"""Writing files so that a reader never sees half of one."""

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


def refuse_existing(out: Path) -> None:
    """Checks that `out` can be a new file or folder; an empty folder counts as new.

    Raises:
        UserError: there is something of that name.
    """
    if os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"{out} exists already. Choose a new --out.")


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to fill, which is `out` in the end: that is complete or not there at all.

    Raises:
        UserError: there is something of that name.
        OSError: the folder cannot be made.
    """
    refuse_existing(out)
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(8)}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.rename(out)  # Replaces an empty folder, but no other.
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text_atomically(path: Path, text: str) -> None:
    """Write `text` as UTF-8, byte for byte; see `write_bytes_atomically`.

    Raises:
        OSError: the folder does not exist or cannot be written to.
    """
    write_bytes_atomically(path, text.encode("utf-8"))


def write_bytes_atomically(path: Path, data: bytes | memoryview) -> None:
    """Write `data`, so that `path` holds all of it or what it held before.

    The data go to a new file in the same folder, which then takes the name (`os.replace`).

    Raises:
        OSError: the folder does not exist or cannot be written to.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        error.filename = str(path)  # A full disk is reported without a name.
        raise
    finally:
        with contextlib.suppress(OSError):  # Such as of a read-only file system, once more.
            temporary.unlink()


def write_json_atomically(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, ending in a line feed.

    Raises:
        ValueError: `value` holds a NaN or an infinity, which JSON does not have.
        OSError: the folder does not exist or cannot be written to.
    """
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text_atomically(path, text + "\n")


def write_arrays_atomically(path: Path, **arrays: np.ndarray) -> None:
    """Write arrays as a compressed .npz file, without pickle.

    Raises:
        ValueError: an array holds Python objects.
        OSError: the folder does not exist or cannot be written to.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_bytes_atomically(path, buffer.getvalue())
