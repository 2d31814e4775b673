"""Folders of numbered frames."""

import os
import re
from pathlib import Path

from atnet_jax.errors import UserError

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
# File names that a user chose: the last number is the frame number.
ANY_FRAME = re.compile(rf".*?([0-9]{{1,9}}){PICTURE}", re.IGNORECASE)
# Files that operating systems add; their hidden files (.DS_Store, ._img46.jpg) are skipped too.
_LEFT_BEHIND = frozenset({"Thumbs.db", "desktop.ini", "__MACOSX"})
_NOTES = frozenset({".htm", ".html", ".md", ".pdf", ".txt"})


def visible(folder: Path, *, notes: bool = True) -> list[Path]:
    """Return the paths in a folder, sorted by name, without files that operating systems add.

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
        if path.name not in _LEFT_BEHIND and (notes or path.suffix.lower() not in _NOTES)
    )


def numbered_frames(folder: Path, name: re.Pattern[str], *, only: bool = False) -> dict[int, Path]:
    """Return the frames in a folder by frame number, ascending.

    Args:
        folder: Folder of one clip.
        name: Pattern of a frame's whole file name; its first group is the frame number.
        only: Raise an error for an image file with another name instead of skipping it.

    Raises:
        UserError: The folder is missing, two files have the same number, or an image file has
            another name and `only` is true.
    """
    frames: dict[int, Path] = {}
    for path in visible(folder):
        match = name.fullmatch(path.name)
        if match is None:
            if only and path.suffix.lower() in PICTURE_SUFFIXES:
                raise UserError(f"{path}: not named like a frame. Remove or rename it.")
            continue
        number = int(match[1])
        if number in frames:
            raise UserError(
                f"{path}: frame {number} also has the file {frames[number].name}. Keep one."
            )
        frames[number] = path
    return dict(sorted(frames.items()))
