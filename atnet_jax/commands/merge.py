"""Merge runs of different folds into one run of all folds.

This serves experiments split over several machines: --config.folds=0:17, 17:34 and so on, each with
a separate workdir. The command rejects runs that overlap, differ in settings or data, or omit a
fold.
"""

from argparse import Namespace

from atnet_jax.commands.parser import Parser, path


def add_arguments(parser: Parser) -> None:
    """Define the options of the command in `parser`."""
    add = parser.option
    add("runs", type=path, nargs="+", metavar="RUN", help="Workdir of a finished run.")
    add("--out", required=True, type=path, metavar="FOLDER", help="New folder for the merged run.")


def run(given: Namespace) -> None:
    """Merge the runs; `given` holds the arguments."""
    from atnet_jax.experiments.merge import merge

    print(f"Report: {merge(given.runs, given.out).absolute()}")
