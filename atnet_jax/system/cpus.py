"""The CPUs that this process may use: their number and model."""

import os
import platform
import subprocess
from pathlib import Path

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


def model() -> str:
    """Return the model of the processor, such as "AMD EPYC 7B13", or its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    if platform.system() == "Darwin":
        asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
        try:
            found = subprocess.run(asked, capture_output=True, encoding="utf-8", check=True)
            return found.stdout.strip()
        except (OSError, subprocess.SubprocessError):
            pass
    return platform.processor() or platform.machine()
