"""Predict the expression in clips on a local web page.

By default only this computer can open the page; --host changes that. The server stores no clips and
no results. It needs the packages of `pip install 'atnet_jax[serve]'`.
"""

import signal
import sys
from argparse import Namespace

from atnet_jax.commands.parser import Parser, between, path
from atnet_jax.errors import UserError


def add_arguments(parser: Parser) -> None:
    """Define the options of the command in `parser`."""
    add = parser.option
    add("run", type=path, metavar="RUN", help="Workdir of a finished run of a network.")
    add("--host", default="127.0.0.1", help="Name or address to listen on.")
    add(
        "--port",
        type=between(int, 0, 65535),
        default=8080,
        help="Port to listen on; 0 for any free port.",
    )
    add(
        "--max_megabytes",
        type=between(float, 0.001, 100_000),
        default=200.0,
        metavar="N",
        help="Largest size of an upload in megabytes.",
    )
    add(
        "--max_seconds",
        type=between(float, 0.1, 86_400),
        default=120.0,
        metavar="N",
        help="Longest time of a prediction in seconds.",
    )


def run(given: Namespace) -> None:
    """Serve the page until a signal stops the server.

    Args:
        given: The arguments.

    Raises:
        UserError: The packages of the server are not installed.
    """
    # Closing the terminal must stop the server in the same way as SIGTERM.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    signal.signal(signal.SIGHUP, lambda number, _: signal.raise_signal(signal.SIGTERM))
    try:
        from atnet_jax.inference.serve.server import serve
    except ModuleNotFoundError as error:
        raise UserError(
            f"{error.name} is not installed. Run pip install 'atnet_jax[serve]', or pip install"
            " --editable '.[serve]' in a checkout."
        ) from error
    serve(
        given.run,
        host=given.host,
        port=given.port,
        max_bytes=int(given.max_megabytes * 1e6),
        max_seconds=given.max_seconds,
    )
