"""Joins runs of some folds each into one run of all folds.

For an experiment that several machines share: --config.folds=0:17, 17:34 and so on, each with
a workdir of its own. Runs that overlap, differ or leave a fold out are refused.
"""

from argparse import Namespace

from atnet_jax.commands.parser import Parser, path


def add_arguments(parser: Parser) -> None:
    """Defines the options."""
    add = parser.option
    add("runs", type=path, nargs="+", metavar="RUN", help="Workdir of a finished run.")
    add("--out", required=True, type=path, metavar="FOLDER", help="New folder for the joined run.")


def run(given: Namespace) -> None:
    """Joins the runs."""
    from atnet_jax.experiments.merge import merge

    print(f"Report: {merge(given.runs, given.out).absolute()}")
