"""Uploads: clips are written to disk as they arrive, under file names chosen by the server.

Starlette's form parser keeps files of up to 1 MB in memory and larger ones as open temporary files
without a name. Pictures would fill the memory, and a video would have to be copied to get a name.
"""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from atnet_jax.evaluation.report.blocks import fit
from atnet_jax.inference.serve.form import FIELDS, Refused
from atnet_jax.preprocessing.frame_files import PICTURE_SUFFIXES, VIDEO_SUFFIXES

VIDEOS = tuple(sorted(VIDEO_SUFFIXES))
PICTURES = tuple(sorted(PICTURE_SUFFIXES))

_CLIP = "clip"
_LONGEST_VALUE = 100  # Bytes of a field.
_MOST_FILES = 20_000
_SILENCE = 30.0  # Seconds without data after which an upload is aborted.


async def receive(request: Request, folder: Path, max_bytes: int) -> tuple[Path, dict[str, str]]:
    """Write the clip of a form to a folder as it arrives.

    Args:
        request: Request with a multipart/form-data body; its files are in the field "clip".
        folder: An empty folder.
        max_bytes: Largest size of the body, checked as announced and as received.

    Returns:
        The video, or the folder of pictures whose names end in the frame number; and the other
        fields of the form that are filled in.

    Raises:
        Refused: The upload is too large, too slow, damaged or not a clip.
        starlette.requests.ClientDisconnect: The browser closed the connection.
    """
    too_large = Refused(
        413,
        f"The upload is larger than {max_bytes / 1e6:g} MB. Cut the clip to the expression, or"
        f" start the server with a larger --max_megabytes.",
    )
    damaged = Refused(400, "The upload is damaged: the form is incomplete. Try again.")
    if int(request.headers.get("content-length", 0)) > max_bytes:
        raise too_large
    form = _Form(folder)
    parser = form.parser(_boundary(request))
    received = 0
    try:
        async for chunk in _chunks(request):
            received += len(chunk)
            if received > max_bytes:
                raise too_large
            parser.write(chunk)
        if not form.ended:
            raise damaged
    except FormParserError as error:
        raise damaged from error
    finally:
        form.close()
    return form.clip(), form.fields


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise Refused(415, "Send the clip as the file “clip” of a form (multipart/form-data).")
    return options[b"boundary"]


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(_SILENCE):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise Refused(408, f"No data arrived for {_SILENCE:g} seconds. Try again.") from None
        yield chunk


@dataclass
class _Part:
    """The part of the form that is being received: a file or a field."""

    name: str = ""
    headers: dict[bytes, bytes] = field(default_factory=dict)
    header: bytes = b""
    header_value: bytes = b""
    file: BinaryIO | None = None
    value: bytes = b""
    size: int = 0
    nameless: bool = False  # Browsers send a file without a name if none was chosen.


class _Form:
    """Callbacks of the parser for the parts of a form."""

    def __init__(self, folder: Path) -> None:
        self.ended = False
        self._folder = folder
        self._part = _Part()
        self._files: list[tuple[str, Path]] = []  # Name in the browser, path on the server.
        self.fields: dict[str, str] = {}

    def parser(self, boundary: bytes) -> MultipartParser:
        """Return a parser for the body."""
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._data,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )

    def close(self) -> None:
        if self._part.file is not None:
            self._part.file.close()

    def clip(self) -> Path:
        """Return the video or the folder of pictures; raise `Refused` for anything else."""
        if not self._files:
            raise Refused(400, "No clip was chosen. Choose one video, or the pictures of one clip.")
        videos = [path for _, path in self._files if path.suffix in VIDEOS]
        if videos and len(self._files) > 1:
            raise Refused(
                400,
                f"The upload contains a video among {len(self._files)} files. Choose one video, or"
                f" only the pictures of one clip.",
            )
        return videos[0] if videos else self._frames()

    def _frames(self) -> Path:
        """Move the pictures to a folder, named by their frame numbers only."""
        folder = self._folder / "frames"
        folder.mkdir(mode=0o700)
        for name, path in self._files:
            number = re.search(r"([0-9]{1,9})\.[a-z]+$", name, re.IGNORECASE)
            if number is None:
                raise Refused(
                    400,
                    "The name of a picture does not end in a frame number. Name all pictures like"
                    " img12.jpg.",
                )
            target = folder / f"frame{int(number[1])}{path.suffix}"
            if target.exists():
                raise Refused(
                    400,
                    f"Two pictures have the number {int(number[1])}. Choose the pictures of one"
                    " clip only.",
                )
            path.rename(target)
        return folder

    def _begin(self) -> None:
        self._part = _Part()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._part.header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._part.header_value += data[start:end]

    def _header_end(self) -> None:
        part = self._part
        part.headers[part.header.lower()] = part.header_value
        part.header = part.header_value = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._part.headers.get(b"content-disposition"))
        self._part.name = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" in options:
            self._open(options[b"filename"].decode("utf-8", "replace"))
        elif self._part.name not in FIELDS:
            raise Refused(
                400, f"The form contains an unknown field. Allowed are {', '.join(FIELDS)}."
            )
        elif self._part.name in self.fields:
            raise Refused(400, f"The form contains the field {self._part.name} twice.")

    def _open(self, name: str) -> None:
        if self._part.name != _CLIP:
            raise Refused(400, "Send the clip as the file “clip” of the form.")
        self._part.nameless = not name
        if not name:
            return
        if len(self._files) == _MOST_FILES:
            raise Refused(
                413,
                f"The upload contains more than {_MOST_FILES} files. Choose the pictures of one"
                " clip only.",
            )
        suffix = os.path.splitext(name)[1].lower()
        if suffix not in VIDEOS + PICTURES:
            ending = f"ends in {fit(suffix[:16])}" if suffix else "has no extension"
            raise Refused(
                415,
                f"A file whose name {ending} cannot be read. Choose one video"
                f" ({', '.join(VIDEOS)}) or the pictures of one clip ({', '.join(PICTURES)}).",
            )
        # Only the extension of the browser's file name is used, and only if it is listed above.
        path = self._folder / f"{'clip' if suffix in VIDEOS else len(self._files)}{suffix}"
        self._part.file = path.open("wb")
        self._files.append((name, path))

    def _data(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        part.size += end - start
        if part.file is not None:
            part.file.write(memoryview(data)[start:end])
        elif part.nameless or part.size > _LONGEST_VALUE:
            raise Refused(400, "A field of the form is too long, or a file has no name.")
        else:
            part.value += data[start:end]

    def _end_part(self) -> None:
        part = self._part
        if part.file is not None:
            part.file.close()
            if part.size == 0:
                raise Refused(400, "The file is empty. Check that it was copied completely.")
        elif not part.nameless:
            value = part.value.decode("utf-8", "replace").strip()
            if value:
                self.fields[part.name] = value

    def _end(self) -> None:
        self.ended = True
