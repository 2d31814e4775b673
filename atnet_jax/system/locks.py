"""One lock on a folder."""

import contextlib
import errno
import fcntl
import os
import sys
from pathlib import Path
from typing import TextIO

from atnet_jax.errors import UserError

# What flock answers on a file system that has no locks.
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


def locked(path: Path) -> TextIO:
    """Opens a file that no other process has locked, and locks it."""
    while True:
        file = path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read() or "another process"
            file.close()
            raise UserError(
                f"{path.parent} is in use by {holder}. Wait for it, or stop it, or choose another"
                f" --workdir."
            ) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            print(
                f"{path.parent}: its file system has no locks. See to it that no other run uses the"
                f" folder at the same time.",
                file=sys.stderr,
            )
            return file
        # Its last holder may have removed it since it was opened: then another may lock a new one.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()
