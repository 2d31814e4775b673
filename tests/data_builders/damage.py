"""Damage of a user's copy of a database: functions of its folder, or of paths in it."""

import shutil
from collections.abc import Callable
from pathlib import Path

Damage = Callable[[Path], None]


def move(old: str, new: str) -> Damage:
    return lambda tree: (tree / old).rename(tree / new) and None


def copy(old: str, new: str) -> Damage:
    def damage(tree: Path) -> None:
        (shutil.copytree if (tree / old).is_dir() else shutil.copy)(tree / old, tree / new)

    return damage


def remove(*names: str) -> Damage:
    def damage(tree: Path) -> None:
        for name in names:
            path = tree / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    return damage


def empty(name: str) -> Damage:
    def damage(tree: Path) -> None:
        remove(*(path.relative_to(tree) for path in (tree / name).iterdir()))(tree)

    return damage


def make_folder(name: str) -> Damage:
    return lambda tree: (tree / name).mkdir(parents=True)
