"""What a setting can be: each kind of value tells itself in words, and reads a value or refuses it.

A command line, a configuration file and a run's record give values that are not yet what is meant:
`casme2,samm` is two names, and `~/data` is in the home folder.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# More is infinite in float32, in which all training is computed.
_LARGEST = 3.4e38


@dataclass(frozen=True)
class Kind:
    """A kind of value.

    Attributes:
      words: what completes the sentence "expected …".
      read: gives the value as it is meant; raises a `ValueError` if it cannot be meant.
    """

    words: str
    read: Callable[[Any], Any]


def _where(
    fits: Callable[[Any], bool], words: str, meant: Callable[[Any], Any] | None = None
) -> Kind:
    """Values of which something holds, and how they are meant; None: as they are."""

    def read(value: Any) -> Any:
        if not fits(value):
            raise ValueError(value)
        return meant(value) if meant else value

    return Kind(words, read)


def whole(low: int, high: int) -> Kind:
    """A whole number in a range."""
    words = f"a whole number from {low} to {high}"
    return _where(lambda value: type(value) is int and low <= value <= high, words)


def number(low: int | float, high: int | float = math.inf) -> Kind:
    """A finite number in a range."""
    words = f"a number from {low:g} to {high:g}"
    if high == math.inf:
        words, high = f"a finite number, {low:g} or more", _LARGEST
    return _where(lambda value: type(value) in (int, float) and low <= value <= high, words, float)


def choice(*known: Any) -> Kind:
    """One of two or more values."""
    words = f"{', '.join(map(str, known[:-1]))} or {known[-1]}"
    return _where(lambda value: (type(value), value) in [(type(one), one) for one in known], words)


def switch() -> Kind:
    """True or False."""
    return choice(True, False)


def several(kind: Kind) -> Kind:
    """One or several different values of a kind; a text may hold several with commas."""

    def read(value: Any) -> tuple[Any, ...]:
        entries = [
            part.strip() if isinstance(part, str) else part
            for entry in (value if isinstance(value, tuple | list) else (value,))
            for part in (entry.split(",") if isinstance(entry, str) else [entry])
        ]
        found = tuple(kind.read(entry) for entry in entries)
        if not found or len(set(found)) < len(found):
            raise ValueError(value)
        return found

    return Kind(f"one or several different values, each {kind.words}", read)


def each(kinds: Sequence[Kind]) -> Kind:
    """As many values as there are kinds."""

    def read(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, tuple | list) or len(value) != len(kinds):
            raise ValueError(value)
        return tuple(kind.read(entry) for kind, entry in zip(kinds, value, strict=True))

    return Kind(f"{len(kinds)} values: {', '.join(kind.words for kind in kinds)}", read)


def folder(*, optional: bool = False) -> Kind:
    """A path, in which ~ is the user's home; "" for none where there need not be one."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or "\0" in value or not (value or optional):
            raise ValueError(value)
        try:
            return str(Path(value).expanduser()) if value else ""
        except RuntimeError as error:  # There is no such user.
            raise ValueError(value) from error

    return Kind("the path of a folder" + (', or ""' if optional else ""), read)


def ranges() -> Kind:
    """Numbers and ranges of numbers as a text, such as "3,5,8:10"; "" for all."""
    part = r"(\d{1,9}|\d{0,9}:\d{0,9})"
    whole_text = re.compile(rf"({part}(,{part})*)?", re.ASCII)

    def read(value: Any) -> str:
        if not isinstance(value, str) or not whole_text.fullmatch(value.replace(" ", "")):
            raise ValueError(value)
        return value.replace(" ", "")

    return Kind('numbers or ranges, such as "3,5" or "0:17", or "" for all', read)


def text() -> Kind:
    """Any text."""
    return _where(lambda value: isinstance(value, str), "a text")


def anything() -> Kind:
    """A value of which nothing is known."""
    return Kind("any value", lambda value: value)
