"""The server: what it is started with, and how it ends."""

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
# A response that is not taken after so many seconds is broken off when the server is ended.
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
    """Serve the page until a signal ends it.

    It starts a process ('spawn'), so a script must call it under `if __name__ == "__main__":`.

    Args:
        checkpoint: workdir of a finished run.
        host: name or address to be reached by.
        port: 0 for any that is free.
        max_bytes: of an upload.
        max_seconds: that reading a clip may take.
        prepare: "module:function" that loads the networks; see `worker.Worker`.

    Raises:
        UserError: the address cannot be used, or there is no finished run.
    """
    _check_host(host)
    with _bind(host, port) as listener, server_folder() as folder:
        print(f"Loading the networks of {checkpoint}", flush=True)
        worker = Worker(prepare, checkpoint, folder, max_seconds)
        try:
            worker.start()
            desk = Desk(worker, folder, max_bytes)
            listener.listen()  # What comes before the server runs waits.
            shown = f"[{host}]" if ":" in host else host
            print(f"http://{shown}:{listener.getsockname()[1]} – Ctrl-C ends it", flush=True)
            Server(create(desk, host), desk).run(sockets=[listener])
        except Failed as failed:
            print(failed, file=sys.stderr)
            raise UserError(f"{checkpoint}: the networks could not be loaded, see above") from None
        except Stopped:
            raise UserError(
                f"{checkpoint}: the process that loads the networks ended, perhaps for want of"
                " memory"
            ) from None
        finally:
            worker.stop()


class Server(uvicorn.Server):
    """Breaks off what is under way when it is ended."""

    def __init__(self, app: ASGIApp, desk: Desk) -> None:
        """Serves an application whose clips this desk takes."""
        super().__init__(
            uvicorn.Config(
                app,
                access_log=False,  # Who sent what and when is nobody's business.
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
        """Begins to end the server."""
        self._desk.close()
        super().handle_exit(sig, frame)


def _check_host(host: str) -> None:
    """Warns of a host that others can reach.

    Raises:
        UserError: the host stands for all addresses, so that the server would not know the name
            that its own page has, and could not tell it from another site's.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        local = host == "localhost"
    else:
        local = address.is_loopback
        if address.is_unspecified:
            raise UserError(
                f"--host={host} stands for every address; give the one name or address by which"
                " this computer is to be reached"
            )
    if not local:
        print(
            f"Warning: others can reach {host}, and clips of faces will travel there unencrypted,"
            " with no password asked. Without --host only this computer can.",
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
            f"cannot listen at {host}, port {port} ({error.strerror}); choose another --port or"
            " --host"
        ) from None
    return listener
