"""Write synthetic databases in the layouts of the real ones.

Rendered faces move by action units, so that all commands can be tried without a licensed database.
Scores on synthetic clips say nothing about accuracy on real faces.
"""

from argparse import Namespace

from atnet_jax.commands.parser import Parser, listed, path
from atnet_jax.names import SYNTHETIC
from atnet_jax.published import DATABASES
from atnet_jax.words import numbered


def add_arguments(parser: Parser) -> None:
    """Define the options of the command in `parser`."""
    add = parser.option
    add("--out", required=True, type=path, metavar="FOLDER", help="New folder for the databases.")
    add(
        "--datasets",
        type=listed,
        default=list(DATABASES),
        metavar="NAME,…",
        help=f"Databases to write, from {', '.join(SYNTHETIC)}.",
    )
    add("--subjects", type=int, default=5, metavar="N", help="Number of subjects per database.")
    add(
        "--clips",
        type=int,
        default=6,
        metavar="N",
        help="Number of clips per subject, over all three classes.",
    )
    add("--seed", type=int, default=0, metavar="N", help="Seed; equal seeds give identical pixels.")


def run(given: Namespace) -> None:
    """Write the databases; `given` holds the arguments."""
    from data_builders.synthetic.generate import generate

    specs = generate(**vars(given))
    print(f"{numbered(len(specs), 'clip')} in {given.out}")
