"""TensorBoard's event files."""

import contextlib
import errno
import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX.proto.event_pb2 import (
    Event,  # pyright: ignore[reportAttributeAccessIssue]
    SessionLog,  # pyright: ignore[reportAttributeAccessIssue]
)
from tensorboardX.proto.summary_pb2 import (
    Summary,  # pyright: ignore[reportAttributeAccessIssue]
)
from tensorboardX.record_writer import masked_crc32c


class EventFile:
    """One file of a unit's TensorBoard folder, which is read after those of earlier starts.

    A record is in the file as soon as it is written, so that a kill loses none. tensorboardX's own
    SummaryWriter keeps them in a queue for a thread; on a full disk that thread dies, and the
    training waits for room in the queue forever.
    """

    def __init__(self, folder: Path, first_epoch: int) -> None:
        """Opens a new file for the epochs from `first_epoch` on.

        Raises:
          OSError: it cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads the files of a folder in the order of their names.
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}"
        self._file = (folder / name).open("xb", buffering=0)
        try:
            self._write(Event(file_version="brain.Event:2"))
            # At such a record TensorBoard drops what it has read of this epoch and later ones: they
            # came after the last checkpoint, and are trained again.
            start = SessionLog(status=SessionLog.START)
            self._write(Event(step=first_epoch, session_log=start))
        except OSError:
            self.close()
            raise

    def scalars(self, epoch: int, values: Mapping[str, float]) -> None:
        """Writes values of an epoch.

        Raises:
          OSError: they cannot be written.
        """
        summary = Summary(
            value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        )
        self._write(Event(step=epoch, summary=summary))

    def close(self) -> None:
        """Closes the file."""
        # All is written; some file systems report here that it will not stay so.
        with contextlib.suppress(OSError):
            self._file.close()

    def _write(self, event: Event) -> None:
        """Appends a TFRecord: the length and its checksum, the event and its checksum."""
        event.wall_time = time.time()
        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))
        record = (
            length
            + struct.pack("<I", masked_crc32c(length))
            + data
            + struct.pack("<I", masked_crc32c(data))
        )
        # A disk that fills up takes a part, without an error.
        if self._file.write(record) < len(record):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._file.name)
