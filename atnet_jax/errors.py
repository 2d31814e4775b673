"""The errors a user can cause."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Something the user gave cannot be used.

    The message names the file and row, what was expected and what to do. The command lines print
    it without a traceback and exit with status 1.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean X?", X being the known name most similar to `name`, or nothing."""
    found = difflib.get_close_matches(name, known, 1)
    return f" Did you mean {found[0]}?" if found else ""
