"""Pack a run into a small file that another laboratory can compare.

The packed run contains settings, versions, predictions, metrics, learning curves, and digests of
the clips and of the initial weights. It has no pictures and no weights, and is small enough to
mail. `atnet compare` reads it.

It is not anonymous: it contains the names of databases, subjects and clips, the classes of the
clips, and the command line with the names of your folders.
"""

from argparse import Namespace

from atnet_jax.commands.parser import Parser, path


def add_arguments(parser: Parser) -> None:
    """Define the options of the command in `parser`."""
    add = parser.option
    add(
        "run",
        type=path,
        metavar="RUN",
        help="Workdir of a finished run of one method, with one or several seeds.",
    )
    add(
        "--out",
        required=True,
        type=path,
        metavar="FILE.zip",
        help="New .zip file. A name with another ending makes a new folder.",
    )


def run(given: Namespace) -> None:
    """Pack the run; `given` holds the arguments."""
    from atnet_jax.evaluation.pack import pack

    pack(given.run, given.out)
    print(f"Packed run: {given.out.absolute()}")
