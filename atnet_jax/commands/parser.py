"""Command-line parser: argparse with short error messages."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from atnet_jax.errors import UserError, nearest

Number = TypeVar("Number", int, float)


class Parser(argparse.ArgumentParser):
    """Reads the arguments of one command.

    Attributes:
        settings: Function that lists the settings, for a command with `--config.NAME=VALUE`. The
            result of `read` then contains the unparsed settings as `settings`.
    """

    settings: Callable[[], str] | None = None

    def __init__(self, verb: str, description: str):
        super().__init__(
            prog=f"atnet {verb}",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def option(self, name: str, **more: Any) -> None:
        """Define an argument like `add_argument`, with the default, if any, appended to its help.

        Args:
            name: Name of the argument.
            more: Keyword arguments of `add_argument`.
        """
        default = more.get("default")
        if default not in (None, []):
            shown = ",".join(default) if isinstance(default, list) else default
            shown = f"{shown:g}" if isinstance(shown, float) else shown
            more["help"] = f"{more['help'].removesuffix('.')} (default: {shown})."
        self.add_argument(name, **more)

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Return the parsed arguments.

        Args:
            arguments: Arguments of the command.

        Raises:
            UserError: An argument is missing, unexpected or invalid.
        """
        for argument in arguments:
            name = argument.partition("=")[0]
            if argument == "--":
                break
            if not name.startswith("--") or name in self.options or self._is_setting(name):
                continue
            raise UserError(f"Unknown option {name}.{nearest(name, self.options)} {self._hint}")
        given, rest = self.parse_known_intermixed_args(arguments)
        if self.settings:
            given.settings = rest
        elif rest:
            raise UserError(f"Unexpected argument {rest[0]!r}. Options start with --. {self._hint}")
        return given

    def error(self, message: str) -> NoReturn:
        """Raise an error of argparse as a `UserError`."""
        message = message.removeprefix("argument ").replace(
            "the following arguments are required", "Missing"
        )
        raise UserError(f"{message}. {self._hint}")

    def format_help(self) -> str:
        """Return the help text, with the settings if the command has any."""
        return super().format_help() + (f"\n{self.settings()}" if self.settings else "")

    @property
    def options(self) -> list[str]:
        """The names of the options."""
        return [name for name in self._option_string_actions if name.startswith("--")]

    def _is_setting(self, name: str) -> bool:
        return self.settings is not None and name.startswith(("--config.", "--noconfig."))

    @property
    def _hint(self) -> str:
        return f"`{self.prog} --help` lists the options."


def path(text: str) -> Path:
    """Return a path with ~ expanded.

    Args:
        text: The path as typed.

    Raises:
        ArgumentTypeError: The text is empty or is the address of a web page.
    """
    if not text:
        raise argparse.ArgumentTypeError("the path is empty")
    if "://" in text:
        raise argparse.ArgumentTypeError(f"{text} is an address. Download it and pass its path")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # The user after ~ is unknown.
        raise argparse.ArgumentTypeError(f"{text}: no user has this name") from error


def listed(text: str) -> list[str]:
    """Return the non-empty entries of a comma-separated list.

    Args:
        text: The list as typed.
    """
    return [entry.strip() for entry in text.split(",") if entry.strip()]


def between(kind: type[Number], low: Number, high: Number) -> Callable[[str], Number]:
    """Return a function that reads a number from `low` to `high`.

    Args:
        kind: int or float.
        low: Smallest allowed number.
        high: Largest allowed number.
    """

    def read(text: str) -> Number:
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not between {low} and {high}")
        return value

    read.__name__ = kind.__name__  # argparse shows this name if the text is not a number.
    return read
