"""Reads clips on a local web page.

The page is for this computer alone unless --host says otherwise, and keeps nothing. It needs the
packages of `pip install 'atnet_jax[serve]'`.
"""

import signal
import sys
from argparse import Namespace

from atnet_jax.commands.parser import Parser, between
from atnet_jax.errors import UserError


def add_arguments(parser: Parser) -> None:
    """Defines the options."""
    add = parser.option
    add("run", metavar="RUN", help="Workdir of a finished run of a network.")
    add("--host", default="127.0.0.1", help="Name or address.")
    add("--port", type=between(int, 0, 65535), default=8080, help="0: any that is free.")
    add(
        "--max_megabytes",
        type=between(float, 0.001, 100_000),
        default=200.0,
        metavar="N",
        help="Size of an upload.",
    )
    add(
        "--max_seconds",
        type=between(float, 0.1, 86_400),
        default=120.0,
        metavar="N",
        help="Time that reading a clip may take.",
    )


def run(given: Namespace) -> None:
    """Serves the page until a signal ends it."""
    # A closed terminal ends the server as any other signal does.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    signal.signal(signal.SIGHUP, lambda number, _: signal.raise_signal(signal.SIGTERM))
    try:
        from atnet_jax.inference.serve.server import serve
    except ModuleNotFoundError as error:
        raise UserError(
            f"{error.name} is not installed, which the page needs: pip install 'atnet_jax[serve]',"
            " or in a checkout pip install --editable '.[serve]'"
        ) from error
    serve(
        given.run,
        host=given.host,
        port=given.port,
        max_bytes=int(given.max_megabytes * 1e6),
        max_seconds=given.max_seconds,
    )
