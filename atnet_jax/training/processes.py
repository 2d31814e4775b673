"""Several processes that share the units of one run, on one machine or on many.

Units need nothing of each other, so each process trains its own on its own devices; they meet only
when the workdir is claimed and when the results are put together.
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
    """Joins the run's other processes, if there are any; to be called before JAX is used.

    Args:
      address: host and port of the first process; None: as SLURM or the TPU pod says, if this
        process is one of several that either has started.
      count: number of processes.
      index: of this one, from 0.

    Raises:
      UserError: only some of the three are given, or the others cannot be reached.
    """
    given = [value is not None for value in (address, count, index)]
    if any(given) and not all(given):
        raise UserError(
            "--coordinator_address, --num_processes and --process_id are given together or not at"
            " all: the same address and number for every process, and the ids from 0 on."
        )
    steps = os.environ.get("SLURM_STEP_NUM_TASKS", "1")
    pod = os.environ.get("TPU_WORKER_HOSTNAMES", "").split(",")
    if not any(given) and steps == "1" and len(pod) < 2:
        return
    try:
        jax.distributed.initialize(address, count, index)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"The processes did not find each other ({error}). All must be started, with the"
            f" address of the first."
        ) from error


def is_first() -> bool:
    """Whether this process writes what all have in common."""
    # A process alone need not start the devices to know.
    return not jax.distributed.is_initialized() or jax.process_index() == 0


def own(items: Sequence[T]) -> list[T]:
    """This process's share."""
    return list(items[jax.process_index() :: jax.process_count()])


def wait_for_all(where: str) -> None:
    """Returns when every process has come to this place."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(where)


def gather(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What all processes have, of whom no two use the same name."""
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
