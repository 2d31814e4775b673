"""Lists every method with its title, inputs, size and source."""

from argparse import Namespace

from atnet_jax.commands.parser import Parser


def add_arguments(parser: Parser) -> None:
    """Defines no options."""
    del parser


def run(given: Namespace) -> None:
    """Prints the list."""
