"""Number of CPUs that this process may use."""

import os

_alone = True


def count() -> int:
    """Return the number of CPUs that this process may use; 1 after `share`.

    A cluster's scheduler, a container or `taskset` may assign fewer CPUs than the machine has.
    """
    if not _alone:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share() -> None:
    """Limit this process to one CPU, because parallel processes use the others."""
    global _alone
    _alone = False
