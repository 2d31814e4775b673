"""Reuse of freed memory on a CPU."""

import contextlib
import ctypes

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
