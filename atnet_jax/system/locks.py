"""Locks on folders. They are the operating system's: a lock ends with its process, however it ends.

Each is on a file that tells who holds it, and that goes when the lock is given back.
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

# What a file system answers that has no locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
# Seconds within which a lock is tried again whose holder removes its file just now.
_PATIENCE = 0.2


@contextlib.contextmanager
def hold(folder: Path, name: str, option: str) -> Iterator[None]:
    """Keeps other processes out of a folder, made if need be, while this one is in it.

    Where the file system has no locks, the user is told and nobody is kept out.

    Args:
        folder: what one process at a time may be in.
        name: of the lock's file in it.
        option: what names the folder on the command line, such as "--workdir".

    Raises:
        UserError: another process is in the folder, or nothing can be written there.
    """
    path = folder / name
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_locked(path, _PATIENCE))
        except filelock.Timeout:
            raise UserError(
                f"{folder} is in use by {_holder(path)}. Wait for it, stop it, or choose another"
                f" {option}."
            ) from None
        except OSError as error:
            raise UserError(
                f"{folder} cannot be used ({error.strerror}). Choose another {option}."
            ) from error
        yield


@contextlib.contextmanager
def take_turn(path: Path, work: str) -> Iterator[None]:
    """Waits, and says so, while another process has the lock on a file; then has it.

    Args:
        path: the file; its folder is there.
        work: what is waited for, such as "the features".

    Raises:
        OSError: nothing can be written there.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_locked(path, _PATIENCE))
        except filelock.Timeout:
            print(f"{work}: in use by {_holder(path)}; waiting for it", file=sys.stderr)
            stack.enter_context(_locked(path, -1.0))
        yield


@contextlib.contextmanager
def _locked(path: Path, seconds: float) -> Iterator[None]:
    """Holds the lock on a file.

    Raises:
        filelock.Timeout: another process had it for so many seconds; negative: never.
    """
    # No other kind of lock where the system has none: a file that merely exists outlives a kill.
    lock = filelock.UnixFileLock(path, timeout=seconds, fallback_to_soft=False)
    try:
        lock.acquire()
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        print(
            f"{path.parent}: its file system has no locks. See to it that no other run uses the"
            f" folder at the same time.",
            file=sys.stderr,
        )
    try:
        with contextlib.suppress(OSError):  # The lock holds without these words.
            path.write_text(
                f"process {os.getpid()} on host {socket.gethostname()} since"
                f" {datetime.now():%Y-%m-%d %H:%M} ({shlex.join(sys.argv)})"
            )
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()


def _holder(path: Path) -> str:
    try:
        told = path.read_text()
    except OSError:  # It has just gone.
        told = ""
    return told or "another process"
