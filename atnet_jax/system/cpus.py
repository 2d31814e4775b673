"""How many CPUs this process may keep busy."""

import os

_alone = True


def count() -> int:
    """The CPUs that the process may use; 1 for one of many that work side by side.

    Not all that there are, where a cluster's scheduler, a container or `taskset` gave it some.
    """
    if not _alone:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share() -> None:
    """Has this process use one CPU, as there are as many processes as CPUs."""
    global _alone
    _alone = False
