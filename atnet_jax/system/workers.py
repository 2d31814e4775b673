"""Parallel work on many clips in processes, with ordered results and bounded memory."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

import cv2

from atnet_jax.errors import UserError
from atnet_jax.system import cpus

Item = TypeVar("Item")
Result = TypeVar("Result")

# Submitted items per process; this limits the results that wait in memory.
_WAITING = 4


def number_of_processes(num_workers: int | None, items: int) -> int:
    """Return the number of processes that work on `items` items; at 1 no process is started.

    Args:
        num_workers: Requested number of processes; None for one per CPU.
        items: Number of items.
    """
    return min(num_workers or cpus.count(), items)


def map_in_order(
    function: Callable[[Item], Result], items: Collection[Item], num_workers: int | None = None
) -> Iterator[Result]:
    """Apply `function` to each item in parallel.

    The processes are spawned. They do not import the calling script, so it needs no
    `if __name__ == "__main__":`. With one worker, the work runs in the calling process. OpenCV runs
    on one thread per process, because the processes share the CPUs. Spawned processes run JAX on
    the CPU.

    Args:
        function: A function of a module that is not the calling script.
        items: Arguments of the function, consumed one by one as processes become free.
        num_workers: Number of processes; one per CPU by default.

    Yields:
        The results, in the order of `items`.

    Raises:
        UserError: The operating system or a user killed a process.
    """
    num_workers = number_of_processes(num_workers, len(items))
    if num_workers <= 1:
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            yield from map(function, items)
        finally:
            cv2.setNumThreads(threads)
        return
    executor = ProcessPoolExecutor(
        num_workers, multiprocessing.get_context("spawn"), initializer=_start_worker
    )
    try:
        remaining = iter(items)
        waiting: deque[Future[Result]] = deque()
        while True:
            with _main_hidden():  # The first submission starts the processes.
                for item in islice(remaining, _WAITING * num_workers - len(waiting)):
                    waiting.append(executor.submit(function, item))
            if not waiting:
                return
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise UserError(
            f"One of the {num_workers} worker processes was killed, possibly because memory ran"
            " out. Rerun the command with fewer processes: with a smaller --num_workers if the"
            " command has that option, otherwise on fewer CPUs (taskset --cpu-list 0-3 COMMAND)."
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _main_hidden() -> Generator[None]:
    """Hide the calling script from `multiprocessing`, which would have each process import it.

    An unguarded script would run again in every process, and wait there for locks that it holds.
    """
    main = sys.modules["__main__"].__dict__
    hidden = {name: main.pop(name) for name in ("__file__", "__spec__") if name in main}
    main["__spec__"] = None
    try:
        yield
    finally:
        del main["__spec__"]
        main.update(hidden)


def _start_worker() -> None:
    cv2.setNumThreads(1)
    cpus.share()
    # The training process needs the accelerator: each worker would reserve some of its memory.
    # JAX reads this when it is imported, which many workers never do.
    os.environ["JAX_PLATFORMS"] = "cpu"
    # Ctrl-C reaches every process of the terminal, but the parent shuts down the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Exit when the parent exits; otherwise the workers of a killed parent would wait forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
