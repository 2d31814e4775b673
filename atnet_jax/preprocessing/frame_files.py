"""Folders of numbered frames."""

import os
import re
from pathlib import Path

from atnet_jax.errors import UserError

PICTURE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff"})
# Ends the patterns of the names of pictures, which users may have converted.
PICTURE = r"\.(?:bmp|jpe?g|png|tiff?)"
# Where a user names the frames: the last number is the frame's.
ANY_FRAME = re.compile(rf".*?([0-9]{{1,9}}){PICTURE}", re.IGNORECASE)
# What other systems leave behind; their hidden files (.DS_Store, ._img46.jpg) are passed over too.
_LEFT_BEHIND = frozenset({"Thumbs.db", "desktop.ini", "__MACOSX"})
_NOTES = frozenset({".htm", ".html", ".md", ".pdf", ".txt"})


def visible(folder: Path, *, notes: bool = True) -> list[Path]:
    """What is in a folder, by name, without what other systems leave behind.

    Args:
        folder: The folder.
        notes: Whether texts such as README.txt count.

    Raises:
        UserError: The folder is missing.
    """
    if not folder.is_dir():
        while not folder.parent.is_dir():  # Where the path ends.
            folder = folder.parent
        raise UserError(f"{folder}: no such folder; is the copy of the database complete?")
    with os.scandir(folder) as files:
        paths = [folder / file.name for file in files if file.name[0] != "."]
    return sorted(
        path
        for path in paths
        if path.name not in _LEFT_BEHIND and (notes or path.suffix.lower() not in _NOTES)
    )


def numbered_frames(folder: Path, name: re.Pattern[str], *, only: bool = False) -> dict[int, Path]:
    """The frames in a folder, by their number, in its order.

    Args:
        folder: Folder of one clip.
        name: Pattern of a frame's whole file name, its first group the number.
        only: Whether an image file of another name is an error.

    Raises:
        UserError: The folder is missing, two files have one number, or see `only`.
    """
    frames: dict[int, Path] = {}
    for path in visible(folder):
        match = name.fullmatch(path.name)
        if match is None:
            if only and path.suffix.lower() in PICTURE_SUFFIXES:
                raise UserError(f"{path}: not named as a frame; remove it or restore its name")
            continue
        number = int(match[1])
        if number in frames:
            raise UserError(f"{path}: a second file of frame {number} beside {frames[number].name}")
        frames[number] = path
    return dict(sorted(frames.items()))
