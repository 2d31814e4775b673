"""Score STSTNet's published PyTorch networks, one per left-out subject.

The result is a run that `atnet report` can compare with yours.
"""

from argparse import Namespace

from atnet_jax.commands.parser import Parser, listed, path
from atnet_jax.names import DEFAULT_FLOW
from atnet_jax.published import DATABASES


def add_arguments(parser: Parser) -> None:
    """Define the options of the command in `parser`."""
    add = parser.option
    add(
        "--weights",
        required=True,
        type=path,
        metavar="FOLDER",
        help="Folder with SUBJECT.pth or SUBJECT.safetensors.",
    )
    add("--workdir", required=True, type=path, metavar="FOLDER", help="Folder for the results.")
    add("--data_dir", type=path, default="data", metavar="FOLDER", help="Folder of prepared data.")
    add(
        "--datasets",
        type=listed,
        default=list(DATABASES),
        metavar="NAME,…",
        help="Names of the prepared data sets.",
    )
    add(
        "--flow",
        default=DEFAULT_FLOW,
        metavar="NAME",
        help="Optical flow of the prepared data.",
    )


def run(given: Namespace) -> None:
    """Score the networks; `given` holds the arguments."""
    from atnet_jax.config import default_config
    from atnet_jax.experiments.published_ststnet import import_torch

    config = default_config("ststnet")
    config.init_from = str(given.weights)
    config.data.update(dir=str(given.data_dir), datasets=tuple(given.datasets), flow=given.flow)
    page = import_torch(config, given.weights, given.workdir)
    print(f"\n{(page.parent / 'table.md').read_text('utf-8')}\nReport: {page.absolute()}")
