"""Communication between the benchmark and its worker processes.

A worker is a process that works once for every line it reads, and answers with a line of JSON. This
module requires only the standard library, so that both sides use the same protocol even if JAX and
PyTorch are installed in different interpreters.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]


class WorkerFailed(RuntimeError):
    """A worker ended before it answered; its output has the reason."""


class Worker:
    """A running worker."""

    def __init__(
        self,
        python: str,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
    ) -> None:
        self._command = [python, "-m", module, *arguments]
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env={**os.environ, **environment},
        )

    def ask(self) -> dict[str, Any]:
        """Request one unit of work.

        Returns:
            The answer, with the time and memory added by `serve`.

        Raises:
            WorkerFailed: The worker ended without an answer.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        try:
            stdin.write("work\n")
            stdin.flush()
            answer = stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            status = self._process.wait()
            raise WorkerFailed(f"{' '.join(self._command)} ended with status {status}.")
        return json.loads(answer)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the worker by closing its input; after an error, kill it."""
        if error is not None:
            self._process.kill()
        self._process.communicate()


def serve(
    prepare: Callable[[], Callable[[], dict[str, Any]]],
    device_peak: Callable[[], int | None],
) -> None:
    """Work once for every line on standard input, until the input is closed.

    Only answers go to standard output; all other output goes to standard error.

    Args:
        prepare: Function that returns the work of a line: a function that returns a dictionary for
            JSON. "seconds", its time, and "peak_memory_bytes" are added to the dictionary.
        device_peak: Function that returns the peak memory of the accelerator in bytes, or None on a
            CPU, where the peak memory of the process is used.
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    work = prepare()
    for _ in sys.stdin:
        start = time.perf_counter()
        answer = work()
        answer["seconds"] = time.perf_counter() - start
        on_device = device_peak()
        answer["peak_memory_bytes"] = _process_peak() if on_device is None else on_device
        print(json.dumps(answer), file=answers, flush=True)


def _process_peak() -> int:
    """Return the peak memory of this process in bytes, with libraries and data."""
    # getrusage includes the memory of the parent process; Linux reports both separately.
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text("utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
