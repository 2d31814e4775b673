"""Locks on folders, held by the operating system: a lock ends when its process ends.

Each lock belongs to a file that describes its holder. Releasing the lock removes the file.
"""

import contextlib
import errno
import os
import shlex
import socket
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import filelock

from atnet_jax.errors import UserError

# Errors of a file system without locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
# Seconds of retries, for a holder that is just releasing the lock.
_PATIENCE = 0.2


@contextlib.contextmanager
def hold(folder: Path, name: str, option: str) -> Iterator[None]:
    """Lock a folder against other processes for the duration of the block.

    On a file system without locks, print a warning and do not lock.

    Args:
        folder: Folder that one process at a time may use; created if missing.
        name: Name of the lock file in the folder.
        option: Command-line option of the folder, such as "--workdir", for errors.

    Raises:
        UserError: Another process uses the folder, or it cannot be written to.
    """
    path = folder / name
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_locked(path, _PATIENCE))
        except filelock.Timeout:
            raise UserError(
                f"{folder} is in use by {_holder(path)}. Wait until that process ends, stop it, or"
                f" choose another {option}."
            ) from None
        except OSError as error:
            raise UserError(
                f"{folder} cannot be written to ({error.strerror}). Choose another {option}."
            ) from error
        yield


@contextlib.contextmanager
def take_turn(path: Path, work: str) -> Iterator[None]:
    """Lock a file for the duration of the block, after waiting for any other holder.

    If another process holds the lock, print a message that names it.

    Args:
        path: Lock file, in an existing folder.
        work: Name of the awaited result, such as "the features", for the message.

    Raises:
        OSError: The file cannot be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_locked(path, _PATIENCE))
        except filelock.Timeout:
            print(f"{work}: in use by {_holder(path)}. Waiting.", file=sys.stderr)
            stack.enter_context(_locked(path, -1.0))
        yield


@contextlib.contextmanager
def _locked(path: Path, seconds: float) -> Iterator[None]:
    """Hold the lock on a file.

    Raises:
        filelock.Timeout: Another process held the lock for `seconds`; never if negative.
        OSError: The file cannot be written.
    """
    # No fallback to a soft lock: its mere file would outlive a killed process.
    lock = filelock.UnixFileLock(path, timeout=seconds, fallback_to_soft=False)
    try:
        lock.acquire()
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        print(
            f"{path.parent}: the file system does not support locks. Make sure that no other run"
            f" uses this folder at the same time.",
            file=sys.stderr,
        )
    try:
        with contextlib.suppress(OSError):  # The lock does not need the description.
            path.write_text(
                f"process {os.getpid()} on host {socket.gethostname()} since"
                f" {datetime.now():%Y-%m-%d %H:%M} ({shlex.join(sys.argv)})",
                encoding="utf-8",
                errors="backslashreplace",  # Names of files need not be UTF-8.
            )
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()


def _holder(path: Path) -> str:
    try:
        holder = path.read_text("utf-8", errors="replace")
    except OSError:  # The holder has just released the lock.
        holder = ""
    return holder or "another process"
