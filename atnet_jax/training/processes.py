"""Several processes that share the units of one run, on one or several machines.

Units are independent, so each process trains its share on its own devices. The processes
communicate only to lock the workdir and to combine the results.
"""

import io
import os
from collections.abc import Mapping, Sequence
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from atnet_jax.errors import UserError

T = TypeVar("T")


def connect(address: str | None, count: int | None, index: int | None) -> None:
    """Connect to the other processes of the run, if any. Call this before using JAX.

    Args:
        address: Host and port of the first process. None takes all three arguments from SLURM or
            the TPU pod if either has started several processes.
        count: Number of processes.
        index: Number of this process, from 0.

    Raises:
        UserError: Only some arguments are given, or the other processes cannot be reached.
    """
    given = [value is not None for value in (address, count, index)]
    if any(given) and not all(given):
        raise UserError(
            "Pass --coordinator_address, --num_processes and --process_id together or not at all."
            " All processes take the same address and number; the ids start at 0."
        )
    if count is not None and index is not None and not 0 <= index < count:
        raise UserError(
            f"--process_id is {index} and --num_processes is {count}. The ids of the processes go"
            f" from 0 to one less than their number."
        )
    steps = os.environ.get("SLURM_STEP_NUM_TASKS", "1")
    pod = os.environ.get("TPU_WORKER_HOSTNAMES", "").split(",")
    if not any(given) and steps == "1" and len(pod) < 2:
        return
    try:
        jax.distributed.initialize(address, count, index)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"The processes cannot reach each other ({error}). Start all of them, each with the"
            f" address of the first process."
        ) from error


def is_first() -> bool:
    """Return whether this process writes the common files of the run."""
    # A single process must not start the devices for this check.
    return not jax.distributed.is_initialized() or jax.process_index() == 0


def own(items: Sequence[T]) -> list[T]:
    """Return the items that this process works on."""
    return list(items[jax.process_index() :: jax.process_count()])


def wait_for_all(where: str) -> None:
    """Wait until every process has called this function with the same `where`."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(where)


def gather(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays of all processes; no two processes may use the same name."""
    if jax.process_count() == 1:
        return dict(arrays)
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    mine = np.frombuffer(file.getvalue(), np.uint8)
    lengths = multihost_utils.process_allgather(np.array([len(mine)])).ravel()
    padded = np.pad(mine, (0, lengths.max() - len(mine)))
    everything: dict[str, np.ndarray] = {}
    for length, data in zip(lengths, multihost_utils.process_allgather(padded), strict=True):
        with np.load(io.BytesIO(np.asarray(data)[:length].tobytes()), allow_pickle=False) as part:
            everything.update(part)
    return everything
