"""The errors a user can cause."""


class UserError(ValueError):
    """Something the user gave cannot be used.

    The message names the file and row, what was expected and what to do. The command lines print
    it without a traceback and exit with status 1.
    """
