"""Private folders for uploads, deleted at the end of each request."""

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
    """Create a private folder (mode 0700) in the system's temporary folder; delete it at the end.

    The folder's name contains the process ID. The folder is locked while the server runs. Unlocked
    folders of killed servers are deleted first.

    Yields:
        The folder.
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
    """Create a private folder (mode 0700) inside the server's folder; delete it at the end.

    Args:
        parent: The server's folder.

    Yields:
        The folder.
    """
    folder = Path(tempfile.mkdtemp(dir=parent))
    try:
        yield folder
    finally:
        # While the server shuts down, its whole folder may be deleted already.
        shutil.rmtree(folder, ignore_errors=not folder.exists())


def _new_locked(parent: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{_NAME}{os.getpid()}-", dir=parent))
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        filelock.lock_descriptor(lock)
        # Another server may have deleted the folder as a leftover before it was locked.
        if folder.exists():
            return folder, lock
        os.close(lock)


def _remove_leftovers(parent: Path) -> None:
    for folder in parent.glob(f"{_NAME}*"):
        # Folders of other users cannot be opened, and links are never ours.
        with contextlib.suppress(OSError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                ours = os.fstat(lock).st_uid == os.getuid()
                if ours and filelock.lock_descriptor(lock, blocking=False):
                    shutil.rmtree(folder)
            finally:
                os.close(lock)
