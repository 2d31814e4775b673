"""Tell whether two runs are the same experiment with the same result.

The command follows the pipeline and names the first difference: settings, versions, database (clip
by clip), folds, initial weights, loss of the first step and of each epoch, scores, metrics. Numbers
are equal to the bit, equal within rounding, or different. If predicted classes differ, tests show
whether chance or another seed explains that.

A RUN is the workdir of a finished run of one method, with one or several seeds, or a packed run
from `atnet pack`. The exit status is 0 for the same experiment and the same result to the bit,
whatever the versions; 3 for the same experiment with another result, or one that is equal only
within rounding; 4 for other settings, data or folds; and 1 if a run cannot be read.
"""

from argparse import Namespace

from atnet_jax.commands.parser import Parser, path


def add_arguments(parser: Parser) -> None:
    """Define the options of the command in `parser`."""
    add = parser.option
    add("first", type=path, metavar="RUN", help="Workdir of a finished run, or a packed run.")
    add("second", type=path, metavar="RUN", help="The run to compare it with.")


def run(given: Namespace) -> int:
    """Print the comparison; `given` holds the arguments."""
    from atnet_jax.evaluation.comparison import compare_runs
    from atnet_jax.evaluation.pack import opened

    with opened(given.first) as first, opened(given.second) as second:
        found = compare_runs(first, second)
    print(f"First:  {given.first}\nSecond: {given.second}\n\n{found.text()}")
    return found.status
