"""What the headers of video files state that OpenCV does not report."""

import struct
from collections.abc import Iterator
from pathlib import Path

# Headers are searched in this many bytes at the start of a file.
_HEADER = 2**16
# A larger index of an MP4 file is not read; an hour of frames needs a few megabytes.
_LARGEST_INDEX = 2**26
_MASTERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
# Elements PixelCropBottom, PixelCropTop, PixelCropLeft and PixelCropRight of Matroska.
_CROPS = (b"\x54\xaa", b"\x54\xbb", b"\x54\xcc", b"\x54\xdd")
_CLUSTER = b"\x1f\x43\xb6\x75"  # Frames of Matroska begin here.

# First bytes of files that are not videos, and what they are.
_KINDS = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"BM": "a BMP picture",
    b"II*\0": "a TIFF picture",
    b"MM\0*": "a TIFF picture",
    b"P5": "a PGM picture",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip archive",
    b"Rar!": "a RAR archive",
    b"%PDF": "a PDF document",
    b"ID3": "a sound file",
    b"fLaC": "a sound file",
    b"#EXTM3U": "a playlist, which refers to other files",
    b"ffconcat": "a playlist, which refers to other files",
    b"<": "a web page or another text",
}


def kind(path: Path) -> str:
    """Return what a file is according to its first bytes, or "" if unknown.

    Args:
        path: A file that is not a readable video.
    """
    with path.open("rb") as file:
        start = file.read(32)
    if start[:4] == b"RIFF" and start[8:12] in (b"WEBP", b"WAVE"):
        return "a WebP picture" if start[8:12] == b"WEBP" else "a sound file"
    return next((name for first, name in _KINDS.items() if start.lstrip().startswith(first)), "")


def lacks_frame_rate(path: Path) -> bool:
    """Return whether the header of an AVI file states 0 frames per second.

    FFmpeg then assumes 25 and computes the times of the frames from that.

    Args:
        path: A video file.
    """
    with path.open("rb") as file:
        header = file.read(_HEADER)
    main, stream = header.find(b"avih"), header.find(b"vids")
    if not header.startswith(b"RIFF") or min(main, stream) < 0 or len(header) < stream + 28:
        return False
    (period,) = struct.unpack_from("<I", header, main + 8)
    scale, rate = struct.unpack_from("<II", header, stream + 20)
    return not period and not (scale and rate)


def is_mirrored(path: Path) -> bool:
    """Return whether an MP4 or MOV file asks players to mirror the picture.

    Args:
        path: A video file.
    """
    track = _video_track(path)
    header = track.get(b"tkhd", b"")
    # The matrix follows fields whose size depends on the version.
    place = 52 if header[:1] == b"\1" else 40
    if len(header) < place + 20:
        return False
    a, b, _, c, d = struct.unpack_from(">5i", header, place)
    return a * d - b * c < 0


def is_cropped(path: Path, width: int, height: int) -> bool:
    """Return whether a file asks players to show only a part of the picture.

    Args:
        path: A video file: MP4, MOV (clean aperture) or Matroska (pixel crop).
        width: Width of the coded picture in pixels.
        height: Height of the coded picture in pixels.
    """
    description = _video_track(path).get(b"stsd", b"")
    place = description.find(b"clap") + 4
    if place >= 4 and len(description) >= place + 16:
        across, per, down, each = struct.unpack_from(">4I", description, place)
        return bool(per and each and (across / per < width - 1 or down / each < height - 1))
    with path.open("rb") as file:
        header = file.read(_HEADER)
    if not header.startswith(b"\x1a\x45\xdf\xa3"):
        return False
    # An element is its ID, the size of its value with the highest bit set, and the value.
    video = header[header.find(b"\xe0") + 1 :].partition(_CLUSTER)[0]
    return any(
        (place := video.find(name)) >= 0
        and video[place + 2 : place + 3] in (b"\x81", b"\x82")
        and any(video[place + 3 : place + 3 + (video[place + 2] & 0x7F)])
        for name in _CROPS
    )


def _video_track(path: Path) -> dict[bytes, bytes]:
    """Return the boxes of the first video track of an MP4 file by type; {} for other files."""
    size = path.stat().st_size
    with path.open("rb") as file:
        place = 0
        while place + 8 <= size:
            file.seek(place)
            length, name = struct.unpack(">I4s", file.read(8))
            head = 8
            if length == 1:
                length, head = int.from_bytes(file.read(8), "big"), 16
            length = length or size - place
            if not name.isalnum() or length < head:
                return {}
            if name == b"moov":
                content = file.read(min(length - head, _LARGEST_INDEX))
                break
            place += length
        else:
            return {}
    track: dict[bytes, bytes] = {}
    for name, value in _boxes(content):
        if name == b"trak":
            track = {}
        track.setdefault(name, value)
        # The handler precedes the description of the samples.
        if name == b"stsd" and track.get(b"hdlr", b"")[8:12] == b"vide":
            return track
    return {}


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the type and content of boxes and of the boxes in them, in order."""
    place = 0
    while place + 8 <= len(content):
        length, name = struct.unpack_from(">I4s", content, place)
        if length < 8:
            return
        value = content[place + 8 : place + length]
        yield name, value
        if name in _MASTERS:
            yield from _boxes(value)
        place += length
