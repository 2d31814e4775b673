"""Records of finished clips, kept until all clips are done, so that a stopped run can resume."""

import hashlib
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from atnet_jax.system.files import write_bytes_atomically

_DIGEST = hashlib.sha256().digest_size


class DamagedError(ValueError):
    """A file does not contain the data that were written to it."""


@dataclass(frozen=True)
class KeptRecords:
    """A folder with one file for each finished clip.

    The caller derives a file's name from everything that determines its records. A clip whose
    frames, annotation or options change gets another name, so a file found by name is up to date.

    Attributes:
        folder: Path of the folder, which is created when the first clip is finished.
    """

    folder: Path

    def find(self, names: Iterable[str]) -> set[str]:
        """Return those of `names` whose files are intact, and remove all other files."""
        found, wanted = set(), set(names)
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if path.name in wanted:
                try:
                    self.read(path.name)
                    found.add(path.name)
                    continue
                except DamagedError:
                    pass
            if path.is_file():
                path.unlink()
        return found

    def read(self, name: str) -> list[tuple[str, dict[str, Any]]]:
        """Return the records of a clip, each as (key, record).

        Args:
            name: File name of the clip.

        Raises:
            DamagedError: The file is truncated or was changed.
            OSError: The file cannot be read.
        """
        from flax import serialization  # Imports JAX, which worker processes do not need.

        data = (self.folder / name).read_bytes()
        digest, body = data[:_DIGEST], memoryview(data)[_DIGEST:]
        if hashlib.sha256(body).digest() != digest:
            raise DamagedError(f"{self.folder / name}: the file is damaged.")
        return list(cast(dict, serialization.msgpack_restore(bytes(body))).items())

    def write(self, name: str, records: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """Write the records of a clip.

        Args:
            name: File name of the clip.
            records: Records of the clip, each as (key, record).

        Raises:
            OSError: The folder cannot be written to.
        """
        from flax import serialization

        self.folder.mkdir(exist_ok=True)
        body = serialization.msgpack_serialize(dict(records))
        write_bytes_atomically(self.folder / name, hashlib.sha256(body).digest() + body)

    def remove(self) -> None:
        """Remove the folder with all records."""
        if self.folder.is_dir():
            shutil.rmtree(self.folder)
