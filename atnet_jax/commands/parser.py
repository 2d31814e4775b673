"""How a command reads its arguments: argparse, with errors of one sentence."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from atnet_jax.errors import UserError, nearest

Number = TypeVar("Number", int, float)


class Parser(argparse.ArgumentParser):
    """Reads the arguments of one command.

    Attributes:
        settings: What lists the settings, for a command that takes `--config.NAME=VALUE`. They are
            left, as they were given, in `settings` of what `read` returns.
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
        """Defines an argument as `add_argument` does; its help ends in the default, if any."""
        default = more.get("default")
        if default not in (None, []):
            shown = ",".join(default) if isinstance(default, list) else default
            shown = f"{shown:g}" if isinstance(shown, float) else shown
            more["help"] = f"{more['help'].removesuffix('.')} (default: {shown})."
        self.add_argument(name, **more)

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Reads the arguments.

        Raises:
            UserError: There is one too many or too few, or one that cannot be.
        """
        for argument in arguments:
            name = argument.partition("=")[0]
            if argument == "--":
                break
            if not name.startswith("--") or name in self.options or self._is_setting(name):
                continue
            raise UserError(f"There is no option {name}.{nearest(name, self.options)} {self._hint}")
        given, rest = self.parse_known_intermixed_args(arguments)
        if self.settings:
            given.settings = rest
        elif rest:
            raise UserError(f"Unexpected argument {rest[0]!r}. Options start with --. {self._hint}")
        return given

    def error(self, message: str) -> NoReturn:
        """Raises what argparse finds wrong as a `UserError`."""
        message = message.removeprefix("argument ").replace(
            "the following arguments are required", "Missing"
        )
        raise UserError(f"{message}. {self._hint}")

    def format_help(self) -> str:
        """The help text, with the settings if the command takes some."""
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
    """A path, in which ~ is the user's folder."""
    return Path(text).expanduser()


def listed(text: str) -> list[str]:
    """The entries of a list with commas."""
    return [entry.strip() for entry in text.split(",") if entry.strip()]


def between(kind: type[Number], low: Number, high: Number) -> Callable[[str], Number]:
    """Reads a number from `low` to `high`."""

    def read(text: str) -> Number:
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not between {low} and {high}")
        return value

    read.__name__ = kind.__name__  # argparse names the kind of a number that is none.
    return read
