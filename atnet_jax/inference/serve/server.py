"""Start and shutdown of the server."""

import ipaddress
import socket
import sys
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from atnet_jax.errors import UserError
from atnet_jax.inference.serve.app import create
from atnet_jax.inference.serve.desk import Desk
from atnet_jax.inference.serve.scratch import server_folder
from atnet_jax.inference.serve.worker import Failed, Stopped, Worker

_PREPARE = "atnet_jax.inference.serve.networks:prepare"
# At shutdown, responses are aborted after this many seconds.
_FAREWELL = 2


def serve(
    checkpoint: str,
    *,
    host: str,
    port: int,
    max_bytes: int,
    max_seconds: float,
    prepare: str = _PREPARE,
) -> None:
    """Serve the page until a signal stops the server.

    The server spawns a process, so a script must call it under `if __name__ == "__main__":`.

    Args:
        checkpoint: Workdir of a finished run.
        host: Name or address to listen on.
        port: Port; 0 for any free port.
        max_bytes: Largest size of an upload in bytes.
        max_seconds: Longest time of a prediction in seconds.
        prepare: "module:function" that loads the networks; see `worker.Worker`.

    Raises:
        UserError: The address cannot be used, or the run is not finished.
    """
    _check_host(host)
    with _bind(host, port) as listener, server_folder() as folder:
        print(f"Loading the networks of {checkpoint}", flush=True)
        worker = Worker(prepare, checkpoint, folder, max_seconds)
        try:
            worker.start()
            desk = Desk(worker, folder, max_bytes)
            listener.listen()  # Connections wait until the server runs.
            shown = f"[{host}]" if ":" in host else host
            address = f"http://{shown}:{listener.getsockname()[1]}"
            print(f"Serving at {address} (press Ctrl-C to stop)", flush=True)
            Server(create(desk, host), desk).run(sockets=[listener])
        except Failed as failed:
            print(failed, file=sys.stderr)
            raise UserError(
                f"{checkpoint}: the networks could not be loaded. The error above states the cause."
            ) from None
        except Stopped:
            raise UserError(
                f"{checkpoint}: the process that loads the networks ended unexpectedly, possibly"
                " because memory ran out."
            ) from None
        finally:
            worker.stop()


class Server(uvicorn.Server):
    """Uvicorn server that aborts running requests at shutdown."""

    def __init__(self, app: ASGIApp, desk: Desk) -> None:
        """Create the server.

        Args:
            app: The application.
            desk: Its handler of clips.
        """
        super().__init__(
            uvicorn.Config(
                app,
                access_log=False,  # Requests are private.
                http="h11",
                lifespan="off",
                log_config=None,
                log_level="warning",
                loop="asyncio",
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=_FAREWELL,
                ws="none",
            )
        )
        self._desk = desk

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start the shutdown."""
        self._desk.close()
        super().handle_exit(sig, frame)


def _check_host(host: str) -> None:
    """Warn if other computers can reach the host; reject wildcard addresses."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        local = host == "localhost"
    else:
        local = address.is_loopback
        # With a wildcard the server would not know its own name, so `Guard` could not distinguish
        # its own page from pages of other sites.
        if address.is_unspecified:
            raise UserError(
                f"--host={host} stands for every address. Pass the one name or address by which"
                " others reach this computer."
            )
    if not local:
        print(
            f"Warning: other computers can reach the server at {host}. Clips of faces are sent"
            " unencrypted, and no password is required. Omit --host to serve this computer only.",
            file=sys.stderr,
        )


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise UserError(
            f"Cannot listen on {host}, port {port} ({error.strerror}). Choose another --port or"
            " --host."
        ) from None
    return listener
