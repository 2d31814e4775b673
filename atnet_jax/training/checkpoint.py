"""One Orbax checkpoint a fold, so that a killed run goes on where it stopped.

A checkpoint is the folder `fold_NNN/EPOCHS`. It holds the arrays, `tree.npz`, and `about.json`:
whose they are, and the SHA-256 of the former, which is compared before anything is read from it.

Orbax writes it beside the last one and gives it its name when it is complete. What is in it is
written by a handler of our own, because that of Orbax for trees lets process 0 alone write host
arrays, taking them for copies of one another; here every process has folds of its own.
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
from collections.abc import Iterable, Mapping
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
    """The checkpoints of all folds of a run, each fold's in a folder of its own.

    One thread writes what `save` is given, fold after fold, while training goes on. Several
    processes may share the directory, each with other folds; they need not wait for each other.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._directory = Path(directory).absolute()
        process = jax.process_index()
        # Each process by itself: Orbax would have all of them meet at each checkpoint.
        self._orbax = ocp.Checkpointer(
            _FilesHandler(),
            multiprocessing_options=ocp.options.MultiprocessingOptions(
                primary_host=process, active_processes={process}
            ),
        )
        self._writer = concurrent.futures.ThreadPoolExecutor(1, "checkpoints")
        self._writes: dict[int, concurrent.futures.Future[None]] = {}

    def epochs_done(self, fold: int) -> int:
        """How many epochs the last complete checkpoint of a fold holds; 0 if there is none.

        It goes by the checkpoint's name: only `restore` tells whether it is intact.
        """
        return max(self._complete(fold), default=0)

    def restore(self, fold: int, like: Any, part: bool = False) -> Any:
        """Reads the checkpoint that `epochs_done` tells of.

        A damaged one is kept as `fold_NNN/damaged-EPOCHS`, a line on standard error says so, and
        `epochs_done` tells of what is left.

        Args:
          fold: its number.
          like: gives the tree's structure, and shapes and types of its leaves.
          part: whether it is enough that these are among those of the checkpoint.

        Returns:
          The tree of host arrays, or None if it is damaged or there is none.

        Raises:
          UserError: it cannot be read, which says nothing about whether it is damaged.
        """
        epochs_done = self.epochs_done(fold)
        if not epochs_done:
            return None
        path = self._folder(fold) / str(epochs_done)
        try:
            try:
                return self._read(fold, epochs_done, like, part)
            except _DamagedError as error:
                aside = _set_aside(path)
                tqdm.write(
                    f"Fold {fold}: the checkpoint {path} {error}. It is kept as {aside.name}, and"
                    f" the fold starts from an earlier one or from nothing, to the same result.",
                    file=sys.stderr,
                )
                return None
        except OSError as error:
            raise UserError(
                f"Fold {fold}: the checkpoint {path} cannot be read: {error.strerror or error}."
                f" Mend that and start the same command again."
            ) from error

    def read(self, fold: int, like: Any) -> Any:
        """Reads part of the checkpoint that `epochs_done` tells of, and leaves it as it is.

        Args:
          fold: its number.
          like: part of the tree that was saved, as for `restore`.

        Returns:
          That part, as host arrays.

        Raises:
          UserError: there is no checkpoint, or it is damaged or cannot be read.
        """
        path = self._folder(fold) / str(self.epochs_done(fold))
        try:
            return self._read(fold, self.epochs_done(fold), like, part=True)
        except (_DamagedError, OSError) as error:
            raise UserError(
                f"Fold {fold}: the checkpoint {path} {error}. Start the run's command again: it"
                f" trains the fold anew."
            ) from error

    def save(self, fold: int, epochs_done: int, tree: Any) -> None:
        """Has written, soon, what a fold has become after `epochs_done` epochs.

        Copies the arrays and returns, unless the fold's last checkpoint is still to be written.

        Args:
          fold: its number.
          epochs_done: more than the fold's last checkpoint holds.
          tree: its leaves are host arrays of NumPy's own types.

        Raises:
          UserError: an earlier checkpoint, of any fold, could not be written.
        """
        self._settle([k for k, write in self._writes.items() if k == fold or write.done()])
        arrays = {
            jax.tree_util.keystr(path): np.array(leaf)
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        }
        foreign = [name for name, array in arrays.items() if array.dtype.kind in "OV"]
        if foreign:
            raise TypeError(f"NumPy has no type of its own for {', '.join(foreign)}.")
        self._writes[fold] = self._writer.submit(self._write, fold, epochs_done, arrays)

    def wait(self) -> None:
        """Returns when everything handed to `save` is on disk.

        Raises:
          UserError: something could not be written. Each fold's last complete checkpoint is there.
        """
        self._settle(list(self._writes))

    def close(self) -> None:
        """Ends the writer's thread, after what it still has to write; raises as `wait` does."""
        self._writer.shutdown()
        self.wait()

    def __enter__(self) -> "FoldCheckpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Closes; the error that ends the body, if any, is told rather than one of writing."""
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
        """The complete checkpoints; two if a kill came before the older one was removed."""
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
            _remove_unfinished(folder)  # It may be what fills the disk.
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise UserError(
                f"Could not write the checkpoint of fold {fold} to {path}:"
                f" {error.strerror or error}. {'Free some space' if full else 'Mend that'} and"
                f" start the same command again: it goes on after epoch {self.epochs_done(fold)}."
            ) from error
        for other in self._complete(fold):
            if other != epochs_done:
                shutil.rmtree(folder / str(other), ignore_errors=True)
        _remove_unfinished(folder)

    def _read(self, fold: int, epochs_done: int, like: Any, part: bool = False) -> Any:
        path = self._folder(fold) / str(epochs_done)
        try:
            content = self._orbax.restore(path, _Files({_TREE: b"", _ABOUT: b""}))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError) as error:
            raise _DamagedError("is not complete") from error  # The last is Orbax's word for it.
        if content[_ABOUT] != _about(fold, epochs_done, content[_TREE]):
            raise _DamagedError("is damaged")
        leaves, structure = jax.tree_util.tree_flatten_with_path(like)
        expected = {
            jax.tree_util.keystr(path): (tuple(leaf.shape), np.dtype(leaf.dtype))
            for path, leaf in leaves
        }
        with np.load(io.BytesIO(content[_TREE]), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored if not part or name in expected}
        found = {name: (array.shape, array.dtype) for name, array in arrays.items()}
        if found != expected:
            names = sorted(name for name in found.keys() | expected.keys()
                           if found.get(name) != expected.get(name))  # fmt: skip
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise _DamagedError(
                f"holds other arrays than this training has ({', '.join(names[:3])}{more})"
            )
        return structure.unflatten(arrays[name] for name in expected)


class _DamagedError(Exception):
    """A checkpoint is not what was written; the message goes on after its name."""


def _about(fold: int, epochs_done: int, packed: bytes | memoryview) -> bytes:
    """What about.json holds."""
    digest = hashlib.sha256(packed).hexdigest()
    return json.dumps({"fold": fold, "epochs_done": epochs_done, "sha256": digest}).encode()


def _set_aside(path: Path) -> Path:
    """Gives a checkpoint a new name, which Orbax does not take for that of one."""
    for number in itertools.count(1):
        aside = path.with_name(f"damaged-{path.name}" + (f"-{number}" if number > 1 else ""))
        if not aside.exists():
            break
    os.rename(path, aside)
    return aside


def _remove_unfinished(folder: Path) -> None:
    """Removes what Orbax could not complete."""
    for path in folder.glob(f"*{ocp.utils.TMP_DIR_SUFFIX}*"):
        shutil.rmtree(path, ignore_errors=True)


class _FilesHandler(ocp.CheckpointHandler):
    """Files in a checkpoint, the same way in every process."""

    def save(self, directory: Any, args: "_Files") -> None:
        for name, content in args.contents.items():
            files.write_bytes_atomically(Path(directory) / name, content)

    def restore(self, directory: Any, args: "_Files") -> dict[str, bytes]:
        return {name: (Path(directory) / name).read_bytes() for name in args.contents}


@ocp.args.register_with_handler(_FilesHandler, for_save=True, for_restore=True)
@dataclasses.dataclass
class _Files(ocp.args.CheckpointArgs):
    """File name → content."""

    contents: Mapping[str, bytes | memoryview]
