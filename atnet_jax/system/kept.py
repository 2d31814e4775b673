"""Records of finished clips, kept until all are published, so that an ended run can go on."""

import hashlib
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from atnet_jax.system.files import write_bytes_atomically

_DIGEST = hashlib.sha256().digest_size


class DamagedError(ValueError):
    """A file does not hold what was written into it."""


@dataclass(frozen=True)
class KeptRecords:
    """A folder with one file for each finished clip.

    A file is named after all that its records follow from, so what is found under a clip's name is
    right for it, and a clip whose frames, annotation or options have changed has another name.

    Attributes:
        folder: The folder; made when the first clip is finished.
    """

    folder: Path

    def find(self, names: Iterable[str]) -> set[str]:
        """Which of these are there and whole; everything else in the folder is removed."""
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
        """The records of a clip, each with its key.

        Raises:
            DamagedError: The file is cut short or was changed.
            OSError: It cannot be read.
        """
        from flax import serialization  # It brings JAX, which worker processes need not load.

        data = (self.folder / name).read_bytes()
        digest, body = data[:_DIGEST], memoryview(data)[_DIGEST:]
        if hashlib.sha256(body).digest() != digest:
            raise DamagedError(f"{self.folder / name}: damaged")
        return list(cast(dict, serialization.msgpack_restore(bytes(body))).items())

    def write(self, name: str, records: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """Keeps the records of a clip.

        Raises:
            OSError: The folder cannot be written to.
        """
        from flax import serialization

        self.folder.mkdir(exist_ok=True)
        body = serialization.msgpack_serialize(dict(records))
        write_bytes_atomically(self.folder / name, hashlib.sha256(body).digest() + body)

    def remove(self) -> None:
        """Removes all of them."""
        if self.folder.is_dir():
            shutil.rmtree(self.folder)
