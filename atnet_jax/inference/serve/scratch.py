"""Private folders for what is uploaded, which do not outlive the request."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import filelock

_NAME = "atnet_jax_serve-"


@contextlib.contextmanager
def server_folder() -> Iterator[Path]:
    """A new private folder (mode 0700) in the system's folder for temporary files.

    Its name holds the number of this process. It stays locked while the server runs; what a killed
    server left behind is not locked any more, and is removed first.
    """
    parent = Path(tempfile.gettempdir())
    _remove_leftovers(parent)
    folder, lock = _new_locked(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=not folder.exists())
        os.close(lock)


@contextlib.contextmanager
def request_folder(parent: Path) -> Iterator[Path]:
    """A new private folder (mode 0700) inside that of the server, removed at the end."""
    folder = Path(tempfile.mkdtemp(dir=parent))
    try:
        yield folder
    finally:
        # It is gone where the server is being ended, and its whole folder with it.
        shutil.rmtree(folder, ignore_errors=not folder.exists())


def _new_locked(parent: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{_NAME}{os.getpid()}-", dir=parent))
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        filelock.lock_descriptor(lock)
        # Another server that starts now may have taken it for a leftover before it was locked.
        if folder.exists():
            return folder, lock
        os.close(lock)


def _remove_leftovers(parent: Path) -> None:
    for folder in parent.glob(f"{_NAME}*"):
        # Another user's folder cannot be opened; a link is none of ours.
        with contextlib.suppress(OSError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                ours = os.fstat(lock).st_uid == os.getuid()
                if ours and filelock.lock_descriptor(lock, blocking=False):
                    shutil.rmtree(folder)
            finally:
                os.close(lock)
