"""Kinds of setting values: each describes its allowed values, converts them and rejects others.

Values from a command line, a configuration file or a run's record still need conversion:
`casme2,samm` becomes two names, and `~/data` a path in the home folder.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# Larger numbers are infinite in float32, the type of all training.
_LARGEST = 3.4e38


_SEQUENCES = (tuple, list, range, np.ndarray)


@dataclass(frozen=True)
class Kind:
    """A kind of value.

    Attributes:
        words: The allowed values, as the object of the sentence "expected …".
        read: Function that converts a value and raises a `ValueError` if the value is not allowed.
    """

    words: str
    read: Callable[[Any], Any]


def _where(
    fits: Callable[[Any], bool], words: str, meant: Callable[[Any], Any] | None = None
) -> Kind:
    """Return a kind whose values satisfy `fits`; `meant` converts them unless it is None."""

    def read(value: Any) -> Any:
        if isinstance(value, np.generic):
            value = value.item()
        if not fits(value):
            raise ValueError(value)
        return meant(value) if meant else value

    return Kind(words, read)


def whole(low: int, high: int) -> Kind:
    """Return the kind of whole numbers from `low` to `high`, both included."""
    words = f"a whole number from {low} to {high}"
    return _where(lambda value: type(value) is int and low <= value <= high, words)


def number(low: int | float, high: int | float = math.inf) -> Kind:
    """Return the kind of finite numbers from `low` to `high`, both included."""
    words = f"a number from {low:g} to {high:g}"
    if high == math.inf:
        words, high = f"a finite number, {low:g} or more", _LARGEST
    return _where(lambda value: type(value) in (int, float) and low <= value <= high, words, float)


def choice(*known: Any) -> Kind:
    """Return the kind of values that equal one of `known` (at least two) in value and type."""
    words = f"{', '.join(map(str, known[:-1]))} or {known[-1]}"
    return _where(lambda value: (type(value), value) in [(type(one), one) for one in known], words)


def switch() -> Kind:
    """Return the kind of True and False."""
    return choice(True, False)


def several(kind: Kind) -> Kind:
    """Return the kind of one or more different values, a sequence or a comma-separated string.

    Args:
        kind: Kind of each value.
    """

    def read(value: Any) -> tuple[Any, ...]:
        entries = [
            part.strip() if isinstance(part, str) else part
            for entry in (
                value if isinstance(value, tuple | list | range | np.ndarray) else [value]
            )
            for part in (entry.split(",") if isinstance(entry, str) else [entry])
        ]
        found = tuple(kind.read(entry) for entry in entries)
        if not found or len(set(found)) < len(found):
            raise ValueError(value)
        return found

    return Kind(f"one or several different values, each {kind.words}", read)


def each(kinds: Sequence[Kind]) -> Kind:
    """Return the kind of sequences with one value for each of `kinds`, in this order."""

    def read(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, tuple | list) or len(value) != len(kinds):
            raise ValueError(value)
        return tuple(kind.read(entry) for kind, entry in zip(kinds, value, strict=True))

    return Kind(f"{len(kinds)} values: {', '.join(kind.words for kind in kinds)}", read)


def folder(*, optional: bool = False) -> Kind:
    """Return the kind of folder paths; ~ expands to the user's home folder.

    Args:
        optional: Allow "" for no folder.
    """

    def read(value: Any) -> str:
        value = str(value) if isinstance(value, Path) else value
        if not isinstance(value, str) or not (value or optional) or "\0" in value or "://" in value:
            raise ValueError(value)
        try:
            return str(Path(value).expanduser()) if value else ""
        except RuntimeError as error:  # The user after ~ is unknown.
            raise ValueError(value) from error

    return Kind("the path of a folder" + (', or ""' if optional else ""), read)


def ranges() -> Kind:
    """Return the kind of strings of numbers and ranges, such as "3,5,8:10"; "" selects all."""
    part = r"(\d{1,9}|\d{0,9}:\d{0,9})"
    whole_text = re.compile(rf"({part}(,{part})*)?", re.ASCII)

    def read(value: Any) -> str:
        if not isinstance(value, str) or not whole_text.fullmatch(value.replace(" ", "")):
            raise ValueError(value)
        return value.replace(" ", "")

    return Kind('numbers or ranges, such as "3,5" or "0:17", or "" for all', read)


def text() -> Kind:
    """Return the kind of strings."""
    return _where(lambda value: isinstance(value, str), "a string")


def anything() -> Kind:
    """Return the kind that accepts every value unchanged."""
    return Kind("any value", lambda value: value)
