"""Writes synthetic databases in the layouts of the real ones.

The faces are rendered and move by action units, so that the whole chain can be tried without a
licence-gated database. Scores on them say nothing about accuracy on real faces.
"""

from argparse import Namespace

from atnet_jax.commands.parser import Parser, listed, path
from atnet_jax.names import SYNTHETIC
from atnet_jax.published import DATABASES


def add_arguments(parser: Parser) -> None:
    """Defines the options."""
    add = parser.option
    add("--out", required=True, type=path, metavar="FOLDER", help="New folder for the databases.")
    add(
        "--datasets",
        type=listed,
        default=list(DATABASES),
        metavar="NAME,…",
        help=f"Some of {', '.join(SYNTHETIC)}.",
    )
    add("--subjects", type=int, default=5, metavar="N", help="Subjects per database.")
    add("--clips", type=int, default=6, metavar="N", help="Clips of the three classes per subject.")
    add("--seed", type=int, default=0, metavar="N", help="The same seed gives the same pixels.")


def run(given: Namespace) -> None:
    """Writes the databases."""
    from data_builders.synthetic.generate import generate

    specs = generate(**vars(given))
    print(f"{len(specs)} clips in {given.out}")
