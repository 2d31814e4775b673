"""Event files for TensorBoard."""

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
    """An event file in the TensorBoard folder of a unit.

    Every start of a run adds a file. Records are written unbuffered, so that a kill loses none.
    tensorboardX's SummaryWriter queues records for a thread instead; on a full disk the thread
    dies, and the training waits for space in the queue forever.
    """

    def __init__(self, folder: Path, first_epoch: int) -> None:
        """Open a new file.

        Args:
            folder: TensorBoard folder of the unit; it is created if it does not exist.
            first_epoch: First epoch that the file will contain.

        Raises:
            OSError: The file cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads the files of a folder in the order of their names.
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}"
        self._file = (folder / name).open("xb", buffering=0)
        try:
            self._write(Event(file_version="brain.Event:2"))
            # At this record TensorBoard drops its values of this and later epochs. Earlier starts
            # wrote them after the last checkpoint, and the run trains these epochs again.
            start = SessionLog(status=SessionLog.START)
            self._write(Event(step=first_epoch, session_log=start))
        except OSError:
            self.close()
            raise

    def scalars(self, epoch: int, values: Mapping[str, float]) -> None:
        """Write values of an epoch.

        Args:
            epoch: Number of the epoch.
            values: The values by tag.

        Raises:
            OSError: The values cannot be written.
        """
        summary = Summary(
            value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        )
        self._write(Event(step=epoch, summary=summary))

    def close(self) -> None:
        """Close the file."""
        # Some file systems report write errors only here; training must not stop for them.
        with contextlib.suppress(OSError):
            self._file.close()

    def _write(self, event: Event) -> None:
        """Append a TFRecord: the length and its checksum, the event and its checksum."""
        event.wall_time = time.time()
        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))
        record = (
            length
            + struct.pack("<I", masked_crc32c(length))
            + data
            + struct.pack("<I", masked_crc32c(data))
        )
        # If the disk fills up, a part is written without an error.
        if self._file.write(record) < len(record):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._file.name)
