"""Errors that a user can cause."""


class UserError(ValueError):
    """An argument, a setting or a file of the user cannot be used.

    The message names the file and row, the expected value and the remedy. The commands print it
    without a traceback and exit with status 1.
    """
