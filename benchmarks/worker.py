"""How the benchmark and its worker processes talk, and how much memory a worker took.

A worker is a process that, for every line it reads, works once and answers with a line of JSON. It
needs Python's standard library alone, so that both sides of a comparison are asked the same way
even where JAX and PyTorch live in different interpreters.
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
    """A worker ended before it had answered; what it printed tells why."""


class Worker:
    """A running worker, seen from the benchmark; a variable of its environment is unset by None."""

    def __init__(
        self,
        python: str,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str | None],
    ) -> None:
        self._command = [python, "-m", module, *arguments]
        merged = {**os.environ, **environment}
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env={name: value for name, value in merged.items() if value is not None},
        )

    def ask(self) -> dict[str, Any]:
        """Has it work once; its answer, to which `serve` adds time and memory.

        Raises:
          WorkerFailed: it ended without an answer.
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
        """Ends the worker: its input is closed, or it is killed where something went wrong."""
        if error is not None:
            self._process.kill()
        self._process.communicate()


def serve(
    prepare: Callable[[], Callable[[], dict[str, Any]]],
    device_peak: Callable[[], int | None],
) -> None:
    """Works once for every line on standard input, until that is closed.

    Standard output is kept for the answers; whatever else is printed goes to standard error.

    Args:
      prepare: makes what is done once a line: it gives a dictionary for JSON, to which are added
        "seconds", the time it took, and "peak_memory_bytes".
      device_peak: the most memory taken on an accelerator so far, in bytes; None on a CPU, where
        that of the whole process is told.
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
    """The most memory this process has held, in bytes, libraries and data included."""
    # getrusage counts what the process that started this one held, too; Linux tells both apart.
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
