"""Folders of numbered frames."""

import os
import re
from pathlib import Path
from typing import NamedTuple

from atnet_jax.errors import UserError
from atnet_jax.words import numbered


class FrameName(NamedTuple):
    """Form of the names of frames' files.

    Attributes:
        pattern: Pattern of the whole name; its first group is the frame number.
        example: A name of this form, for messages.
    """

    pattern: re.Pattern[str]
    example: str


PICTURE_SUFFIXES = frozenset(
    {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
# Endings of the videos that OpenCV opens, for programs that must choose by name.
VIDEO_SUFFIXES = frozenset(
    {
        ".264", ".265", ".3g2", ".3gp", ".asf", ".avi", ".flv", ".gif", ".h264", ".h265", ".hevc",
        ".ivf", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut",
        ".ogg", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m",
    }
)  # fmt: skip
# End of the patterns of file names; users may have converted pictures to another format.
PICTURE = r"\.(?:bmp|jpe?g|p[gp]m|png|tiff?|webp)"
# File names that a user chose: the last number is the frame number, as in img0046_crop.jpg.
ANY_FRAME = FrameName(
    re.compile(rf".*?([0-9]{{1,9}})[^0-9]*{PICTURE}", re.IGNORECASE),
    "img46.jpg, whose last number is the frame's",
)
# Files and folders that operating systems and network drives add, in lower case. Their hidden ones
# (.DS_Store, ._img46.jpg) are skipped too.
_LEFT_BEHIND = frozenset(
    {
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "lost+found"),
        *("system volume information", "$recycle.bin", "recycler", "recycled"),
        *("@eadir", "@tmp", "#recycle", "#snapshot", "@recycle", "@recently-snapshot"),
    }
)
# What programs add to the name of a second copy of a file: img46 (1).jpg, img46 - Copy.jpg.
_COPY = re.compile(r"( ?\([0-9]+\)| - [^.]*copy[^.]*| copy)(?=\.[^.]+$)", re.IGNORECASE)
_NOTES = frozenset({".htm", ".html", ".md", ".pdf", ".txt"})


def visible(folder: Path, *, notes: bool = True) -> list[Path]:
    """Return the paths in a folder, sorted by name, without what systems add.

    Args:
        folder: Folder to list.
        notes: Include texts such as README.txt.

    Raises:
        UserError: The folder is missing.
    """
    if not folder.is_dir():
        while not folder.parent.is_dir():  # Find the first missing part of the path.
            folder = folder.parent
        raise UserError(
            f"{folder}: no such folder. Check that the copy of the database is complete."
        )
    with os.scandir(folder) as files:
        paths = [folder / file.name for file in files if file.name[0] != "."]
    return sorted(
        path
        for path in paths
        if path.name.lower() not in _LEFT_BEHIND and (notes or path.suffix.lower() not in _NOTES)
    )


def numbered_frames(folder: Path, name: FrameName, *, only: bool = False) -> dict[int, Path]:
    """Return the frames in a folder by frame number, ascending.

    Second copies such as img46 (1).jpg are skipped if img46.jpg is there. If the folder has no
    frames but a folder of its own name, as some programs unpack archives, the frames in that one
    are returned.

    Args:
        folder: Folder of one clip.
        name: Form of the frames' names.
        only: Raise an error for an image file with another name instead of skipping it.

    Raises:
        UserError: The folder is missing, two files have the same number, or an image file has
            another name and `only` is true or no file is named like a frame.
    """
    frames: dict[int, Path] = {}
    others: list[Path] = []
    paths = visible(folder)
    names = {path.name for path in paths}
    for path in paths:
        original = _COPY.sub("", path.name)
        if original != path.name and original in names:
            continue
        match = name.pattern.fullmatch(path.name)
        if match is None:
            if path.suffix.lower() in PICTURE_SUFFIXES:
                others.append(path)
            continue
        number = int(match[1])
        if number in frames:
            raise UserError(
                f"{path}: frame {number} also has the file {frames[number].name}. Keep one."
            )
        frames[number] = path
    if others and (only or not frames):
        raise UserError(
            f"{others[0]}: not named like a frame, such as {name.example}. Remove or rename it"
            f" ({len(others)} of {numbered(len(others) + len(frames), 'picture')} in this folder)."
        )
    inner = folder / folder.name
    if not frames and inner in paths and inner.is_dir():
        return numbered_frames(inner, name, only=only)
    return dict(sorted(frames.items()))
