"""Orbax checkpoints, one per fold, from which a killed run resumes.

A checkpoint is the folder `fold_NNN/EPOCHS`. It holds the arrays in `tree.npz`; `about.json` has
the fold, the epochs and the SHA-256 of `tree.npz`, which is verified before the arrays are read.

Orbax writes a checkpoint beside the previous one and renames it when it is complete. A custom
handler writes the files: Orbax's handler for trees writes host arrays only from process 0, because
it takes them for replicas, but here the processes train different folds.

Checkpoints are read without Orbax. Its second interface, `orbax.checkpoint.v1`, is to replace the
present one in version 1.0, and does not load checkpoints of a custom handler of the present one.
"""

import concurrent.futures
import dataclasses
import errno
import hashlib
import io
import itertools
import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from tqdm import tqdm

from atnet_jax.errors import UserError
from atnet_jax.system import files

_TREE = "tree.npz"
_ABOUT = "about.json"


class FoldCheckpoints:
    """Checkpoints of all folds of a run, one folder per fold.

    A thread writes the queued checkpoints one after another while training continues. Several
    processes may share the directory if their folds differ; they never wait for each other.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._directory = Path(directory).absolute()
        process = jax.process_index()
        # By default Orbax synchronises all processes at each checkpoint.
        self._orbax = ocp.Checkpointer(
            _FilesHandler(),
            multiprocessing_options=ocp.options.MultiprocessingOptions(
                primary_host=process, active_processes={process}
            ),
        )
        self._writer = concurrent.futures.ThreadPoolExecutor(1, "checkpoints")
        self._writes: dict[int, concurrent.futures.Future[None]] = {}

    def epochs_done(self, fold: int) -> int:
        """Return the epochs in the last complete checkpoint of a fold, 0 without a checkpoint.

        The number comes from the checkpoint's name; only `restore` checks its content.

        Args:
            fold: Number of the fold.
        """
        return max(self._complete(fold), default=0)

    def restore(self, fold: int, like: Any, part: bool = False, recent: Sequence[str] = ()) -> Any:
        """Read the last complete checkpoint of a fold.

        A damaged checkpoint is renamed to `fold_NNN/damaged-EPOCHS` and reported on standard error.
        `epochs_done` then returns the epochs of the remaining checkpoint.

        Args:
            fold: Number of the fold.
            like: A tree with the expected structure, and the expected shapes and types of leaves.
            part: Allow the checkpoint to contain more leaves.
            recent: Last keys of leaves that checkpoints of earlier versions lack. They keep their
                values in `like`.

        Returns:
            The tree of host arrays, or None if the checkpoint is damaged or missing.

        Raises:
            UserError: The checkpoint cannot be read, for example for lack of permission.
        """
        epochs_done = self.epochs_done(fold)
        if not epochs_done:
            return None
        path = self._folder(fold) / str(epochs_done)
        try:
            try:
                return self._read(fold, epochs_done, like, part, recent)
            except _DamagedError as error:
                aside = _set_aside(path)
                tqdm.write(
                    f"Fold {fold}: the checkpoint {path} {error}. It was renamed to {aside.name}."
                    f" The fold restarts from an earlier checkpoint or from the beginning, with the"
                    f" same result.",
                    file=sys.stderr,
                )
                return None
        except OSError as error:
            raise UserError(
                f"Fold {fold}: the checkpoint {path} cannot be read: {error.strerror or error}."
                f" Fix this and rerun the same command."
            ) from error

    def read(self, fold: int, like: Any) -> Any:
        """Read part of the last complete checkpoint of a fold, without changing any file.

        Args:
            fold: Number of the fold.
            like: Part of the saved tree, as for `restore`.

        Returns:
            This part of the tree, as host arrays.

        Raises:
            UserError: The checkpoint is missing or damaged, or cannot be read.
        """
        path = self._folder(fold) / str(self.epochs_done(fold))
        try:
            return self._read(fold, self.epochs_done(fold), like, part=True)
        except (_DamagedError, OSError) as error:
            unreadable = isinstance(error, OSError)
            problem = f"cannot be read: {error.strerror or error}" if unreadable else error
            raise UserError(
                f"Fold {fold}: the checkpoint {path} {problem}. Rerun the command of the run, which"
                f" trains the fold again."
            ) from error

    def save(self, fold: int, epochs_done: int, tree: Any) -> None:
        """Queue a checkpoint of a fold.

        Copies the arrays and returns; waits first if the previous checkpoint of the fold is still
        in the queue.

        Args:
            fold: Number of the fold.
            epochs_done: Number of trained epochs, larger than in the fold's last checkpoint.
            tree: A tree of host arrays with native NumPy types.

        Raises:
            UserError: An earlier checkpoint, of any fold, could not be written.
            TypeError: An array has a type that is not native to NumPy, such as bfloat16.
        """
        self._settle([k for k, write in self._writes.items() if k == fold or write.done()])
        arrays = {
            jax.tree_util.keystr(path): np.array(leaf)
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        }
        foreign = [name for name, array in arrays.items() if array.dtype.kind in "OV"]
        if foreign:
            raise TypeError(
                f"Arrays of a checkpoint need native NumPy types: {', '.join(foreign)}."
            )
        self._writes[fold] = self._writer.submit(self._write, fold, epochs_done, arrays)

    def wait(self) -> None:
        """Wait until all queued checkpoints are on disk.

        Raises:
            UserError: A checkpoint could not be written. The previous checkpoint of its fold, if
                any, is intact.
        """
        self._settle(list(self._writes))

    def close(self) -> None:
        """Write all queued checkpoints and end the thread; raise the errors of `wait`."""
        self._writer.shutdown()
        self.wait()

    def __enter__(self) -> "FoldCheckpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close, without hiding an error of the `with` body behind an error of writing."""
        if kind is None:
            self.close()
        else:
            self._writer.shutdown()

    def _settle(self, folds: Iterable[int]) -> None:
        writes = [self._writes.pop(fold) for fold in folds]
        concurrent.futures.wait(writes)
        for write in writes:
            write.result()

    def _folder(self, fold: int) -> Path:
        return self._directory / f"fold_{fold:03d}"

    def _complete(self, fold: int) -> list[int]:
        """Return the epochs of complete checkpoints: two if a kill preceded the older's removal."""
        folder = self._folder(fold)
        if not folder.is_dir():
            return []
        return [int(path.name) for path in folder.iterdir() if path.name.isdigit()]

    def _write(self, fold: int, epochs_done: int, arrays: Mapping[str, np.ndarray]) -> None:
        folder = self._folder(fold)
        path = folder / str(epochs_done)
        packed = io.BytesIO()
        np.savez(packed, allow_pickle=False, **arrays)
        about = _about(fold, epochs_done, packed.getbuffer())
        try:
            self._orbax.save(path, _Files({_TREE: packed.getbuffer(), _ABOUT: about}))
        except OSError as error:
            _remove_unfinished(folder)  # Its partial files may fill the disk.
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise UserError(
                f"Could not write the checkpoint of fold {fold} to {path}:"
                f" {error.strerror or error}. {'Free disk space' if full else 'Fix this'} and rerun"
                f" the same command: it resumes after epoch {self.epochs_done(fold)}."
            ) from error
        for other in self._complete(fold):
            if other != epochs_done:
                shutil.rmtree(folder / str(other), ignore_errors=True)
        _remove_unfinished(folder)

    def _read(
        self,
        fold: int,
        epochs_done: int,
        like: Any,
        part: bool = False,
        recent: Sequence[str] = (),
    ) -> Any:
        path = self._folder(fold) / str(epochs_done)
        try:
            content = _FilesHandler().restore(path)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise _DamagedError("is incomplete") from error
        if content[_ABOUT] != _about(fold, epochs_done, content[_TREE]):
            raise _DamagedError("is damaged")
        leaves, structure = jax.tree_util.tree_flatten_with_path(like)
        expected = {
            jax.tree_util.keystr(path): (tuple(leaf.shape), np.dtype(leaf.dtype))
            for path, leaf in leaves
        }
        with np.load(io.BytesIO(content[_TREE]), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored if not part or name in expected}
        for path, leaf in leaves:
            if getattr(path[-1], "key", None) in recent:
                arrays.setdefault(jax.tree_util.keystr(path), leaf)
        found = {name: (array.shape, array.dtype) for name, array in arrays.items()}
        if found != expected:
            names = sorted(name for name in found.keys() | expected.keys()
                           if found.get(name) != expected.get(name))  # fmt: skip
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise _DamagedError(
                f"does not have the arrays that this training expects"
                f" ({', '.join(names[:3])}{more})"
            )
        return structure.unflatten(arrays[name] for name in expected)


class _DamagedError(Exception):
    """A damaged checkpoint; the message is the predicate of a sentence about it."""


def _about(fold: int, epochs_done: int, packed: bytes | memoryview) -> bytes:
    """Return the content of about.json."""
    digest = hashlib.sha256(packed).hexdigest()
    return json.dumps({"fold": fold, "epochs_done": epochs_done, "sha256": digest}).encode()


def _set_aside(path: Path) -> Path:
    """Rename a checkpoint so that Orbax no longer recognises it, and return its new path."""
    for number in itertools.count(1):
        aside = path.with_name(f"damaged-{path.name}" + (f"-{number}" if number > 1 else ""))
        if not aside.exists():
            break
    os.rename(path, aside)
    return aside


def _remove_unfinished(folder: Path) -> None:
    """Remove incomplete checkpoints."""
    for path in folder.glob(f"*{ocp.utils.TMP_DIR_SUFFIX}*"):
        shutil.rmtree(path, ignore_errors=True)


class _FilesHandler(ocp.CheckpointHandler):
    """Handler that writes the files of a checkpoint in the calling process, and reads them."""

    def save(self, directory: Any, args: "_Files") -> None:
        for name, content in args.contents.items():
            files.write_bytes_atomically(Path(directory) / name, content)

    def restore(self, directory: Any, args: "_Files | None" = None) -> dict[str, bytes]:
        return {name: (Path(directory) / name).read_bytes() for name in (_TREE, _ABOUT)}


@ocp.args.register_with_handler(_FilesHandler, for_save=True, for_restore=True)
@dataclasses.dataclass
class _Files(ocp.args.CheckpointArgs):
    """Contents of files by name."""

    contents: Mapping[str, bytes | memoryview]
