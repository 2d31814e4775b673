"""Memory of the host: what is available, and reuse of what is freed."""

import contextlib
import ctypes
import sys
from pathlib import Path

import psutil

# Parameters of mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> None:
    """Configure glibc to keep freed memory for the next step instead of returning it to the system.

    Otherwise each step maps its large arrays anew, page by page, which costs more than many of the
    computations on them. Call this before other threads allocate memory. With another C library it
    has no effect.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_ARENA_MAX, 1)  # All other arenas map large blocks.
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)


def available(root: Path = Path("/")) -> int:
    """Return the memory that this process can still take, in bytes.

    Args:
        root: Root of the file system; tests pass another.
    """
    return min(psutil.virtual_memory().available, *_limits(root))


def _limits(root: Path) -> list[int]:
    """Return the limits of Linux control groups, which containers and schedulers set."""
    limits = [sys.maxsize]
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            folder, name = root / "sys/fs/cgroup", "memory.max"
            if controllers:  # The first version of control groups.
                folder, name = folder / "memory", "memory.limit_in_bytes"
            own = Path(path.lstrip("/"))
            for above in (own, *own.parents):
                with contextlib.suppress(OSError, ValueError):  # "max" means no limit.
                    limits.append(int((folder / above / name).read_text()))
    return limits
