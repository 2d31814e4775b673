"""Write one report of any number of finished runs.

The report is an HTML page with tables, confidence intervals and paired tests between methods. The
command also writes its tables in Markdown and LaTeX beside it.
"""

from argparse import Namespace

from atnet_jax.commands.parser import Parser, path


def add_arguments(parser: Parser) -> None:
    """Define the options of the command in `parser`."""
    add = parser.option
    add(
        "runs",
        type=path,
        nargs="+",
        metavar="RUN",
        help="Workdir of a finished run, with one or several seeds.",
    )
    add("--out", required=True, type=path, metavar="FILE.html", help="New file for the page.")
    add("--title", metavar="TEXT", help="Heading of the report.")


def run(given: Namespace) -> None:
    """Write the report; `given` holds the arguments."""
    from atnet_jax.evaluation import report
    from atnet_jax.evaluation.record import run_folders
    from atnet_jax.system.files import refuse_existing

    refuse_existing(given.out)
    folders = [folder for workdir in given.runs for folder in run_folders(workdir)]
    report.write(folders, given.out, given.title)
    print(f"Report: {given.out.absolute()}")
