"""One Orbax checkpoint a fold, so that a killed run goes on where it stopped."""

import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp


class FoldCheckpoints:
    """The checkpoints of all folds of a run, each fold's in a folder of its own.

    A checkpoint is written beside the last one and takes its place only when it is complete.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._directory = Path(directory).absolute()
        self._managers: dict[int, ocp.CheckpointManager] = {}

    def _manager(self, fold: int) -> ocp.CheckpointManager:
        if fold not in self._managers:
            self._managers[fold] = ocp.CheckpointManager(
                self._directory / f"fold_{fold:03d}",
                options=ocp.CheckpointManagerOptions(
                    max_to_keep=1,
                    cleanup_tmp_directories=True,
                    enable_async_checkpointing=False,
                ),
            )
        return self._managers[fold]

    def epochs_done(self, fold: int) -> int:
        """How many epochs the last complete checkpoint of a fold holds; 0 if there is none."""
        return self._manager(fold).latest_step() or 0

    def save(self, fold: int, epochs_done: int, tree: Any) -> None:
        """Writes what a fold has become after `epochs_done` epochs."""
        self._manager(fold).save(epochs_done, args=ocp.args.StandardSave(tree))

    def restore(self, fold: int, like: Any) -> Any:
        """Reads a fold's last checkpoint as host arrays; `like` gives structure and shapes."""
        target = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
        manager = self._manager(fold)
        return manager.restore(manager.latest_step(), args=ocp.args.StandardRestore(target))

    def close(self) -> None:
        """Ends the writers' threads."""
        for manager in self._managers.values():
            manager.close()
