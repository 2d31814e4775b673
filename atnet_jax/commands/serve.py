"""Reads clips on a web page: `atnet serve --checkpoint=WORKDIR [--port=8080]`."""

import signal
import sys

from absl import app, flags

from atnet_jax.errors import UserError

_INTERRUPTED = 130


def _define_flags() -> None:
    flags.DEFINE_string("checkpoint", None, "Workdir of a finished run.", required=True)
    flags.DEFINE_string("host", "127.0.0.1", "Name or address to be reached by.")
    flags.DEFINE_integer("port", 8080, "0: any that is free.", 0, 65535)
    flags.DEFINE_float("max_megabytes", 200.0, "Of an upload.", 0.001, 100_000)
    flags.DEFINE_float("max_seconds", 120.0, "That reading a clip may take.", 0.1, 86_400)


def main(arguments: list[str]) -> int:
    """Runs the command line."""
    if len(arguments) > 1:
        print(f"unexpected argument {arguments[1]!r}; options start with --", file=sys.stderr)
        return 1
    # However the server is ended, it takes leave: a closed terminal is as good as any other way.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    signal.signal(signal.SIGHUP, lambda number, _: signal.raise_signal(signal.SIGTERM))
    values = flags.FLAGS
    try:
        from atnet_jax.inference.serve.server import serve
    except ModuleNotFoundError as error:
        print(
            f"Error: {error.name} is not installed, which the page needs: pip install"
            " 'atnet_jax[serve]', or in a checkout pip install --editable '.[serve]'",
            file=sys.stderr,
        )
        return 1
    try:
        serve(
            values.checkpoint,
            host=values.host,
            port=values.port,
            max_bytes=int(values.max_megabytes * 1e6),
            max_seconds=values.max_seconds,
        )
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 0


if __name__ == "__main__":
    _define_flags()
    app.run(main)
