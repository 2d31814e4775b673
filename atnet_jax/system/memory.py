"""Memory that stays mapped on a CPU."""

import contextlib
import ctypes

# Of mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> None:
    """Tells glibc to keep freed memory for the next step instead of returning it to the system.

    A step's large arrays are otherwise mapped anew each time, page by page, which costs more than
    many of the computations on them. Of use only before other threads allocate; does nothing with
    another C library.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_ARENA_MAX, 1)  # Other arenas than the first map what is large.
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)
