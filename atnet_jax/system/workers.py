"""Work on many clips in processes, results in order, memory bounded."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

import cv2
import jax

from atnet_jax.errors import UserError
from atnet_jax.system import cpus

Item = TypeVar("Item")
Result = TypeVar("Result")

# Results waiting to be taken, for each process.
_WAITING = 4


def number_of_processes(num_workers: int | None, items: int) -> int:
    """How many processes work on so many items; of one, none is started.

    Args:
        num_workers: As the user wants it; None for one for each CPU.
        items: How many there are.
    """
    return min(num_workers or cpus.count(), items)


def map_in_order(
    function: Callable[[Item], Result], items: Collection[Item], num_workers: int | None = None
) -> Iterator[Result]:
    """Results of `function`, in the order of `items`.

    The processes are started afresh ('spawn'), so a script that calls this must do so under
    `if __name__ == "__main__":`. One worker means this very process. OpenCV runs on one thread in
    each, as the processes share the CPUs, and JAX on the CPU.

    Args:
        function: A module-level function.
        items: What it is called with; taken one by one as processes become free.
        num_workers: Number of processes; by default one for each CPU.

    Raises:
        UserError: A process was killed from outside.
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
            for item in islice(remaining, _WAITING * num_workers - len(waiting)):
                waiting.append(executor.submit(function, item))
            if not waiting:
                return
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise UserError(
            f"one of the {num_workers} worker processes was ended from outside, perhaps for want"
            " of memory. Start again with fewer: with --num_workers where the command has it, else"
            " with fewer CPUs (taskset --cpu-list 0-3 COMMAND)"
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


def _start_worker() -> None:
    cv2.setNumThreads(1)
    cpus.share()
    # An accelerator belongs to the process that trains: the workers would each take its memory.
    jax.config.update("jax_platforms", "cpu")
    # Ctrl-C reaches every process of the terminal; the parent ends the others in good order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Without this, a killed parent leaves its workers waiting for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
