"""Errors that a user can cause."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """An argument, a setting or a file of the user cannot be used.

    The message names the file and row, the expected value and the remedy. The commands print it
    without a traceback and exit with status 1.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean X?", X being the known name most similar to `name`, or nothing."""
    found = difflib.get_close_matches(name, known, 1)
    return f" Did you mean {found[0]}?" if found else ""
