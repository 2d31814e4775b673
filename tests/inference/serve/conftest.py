"""A real server on a free port, in a thread, with a stand-in for the networks."""

import contextlib
import http.client
import json
import os
import signal
import socket
import threading
import time
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pytest

from atnet_jax.inference.serve import server as web
from atnet_jax.inference.serve.app import create
from atnet_jax.inference.serve.desk import Desk
from atnet_jax.inference.serve.worker import Worker

MAX_BYTES = 300_000
STAND_IN = "tests.inference.serve.stand_ins:prepare"
_BOUNDARY = "5d2d6c3e"


@dataclass
class Response:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self):
        return self.body.decode()

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def lines(self):
        return [json.loads(line) for line in self.text.splitlines()]


def multipart(files=(("clip.avi", b"a clip"),), field="clip", **fields):
    """The body of a form: (name, contents) of files, and fields; and its headers."""
    parts = [
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
        f"{value}\r\n".encode()
        for name, value in fields.items()
    ]
    parts += [
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
        + contents
        + b"\r\n"
        for name, contents in files
    ]
    body = b"".join(parts) + f"--{_BOUNDARY}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}


@dataclass
class Server:
    """Requests of the tests by HTTP, and the files on the disk."""

    port: int
    folder: Path
    starts: Path
    worker: Worker

    def ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return Response(response.status, response.headers, response.read())

    def get(self, path, **headers):
        return self.ask("GET", path, headers=headers)

    def predict(self, *files, accept="application/json", path="/predict", headers=None, **fields):
        body, needed = multipart(files or (("clip.avi", b"a clip"),), **fields)
        return self.ask("POST", path, body, {"Accept": accept, **needed, **(headers or {})})

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    @property
    def processes(self):
        """Numbers of the processes that have got ready so far."""
        return [int(line) for line in self.starts.read_text().split()]

    def wait_until_idle(self):
        """Until no clip is under way."""
        wait_for(lambda: self.get("/health").json["clips"] == 0)

    @property
    def left(self):
        return below(self.folder)


def below(folder):
    """All files and folders in a folder, of which the server may delete some meanwhile.

    `Path.rglob` fails if a folder is deleted before it is listed.
    """
    return [Path(top, name) for top, *names in os.walk(folder) for name in chain(*names)]


def wait_for(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@contextlib.contextmanager
def serving(folder, max_seconds=20.0):
    uploads, starts = folder / "uploads", folder / "starts"
    uploads.mkdir()
    worker = Worker(STAND_IN, str(starts), uploads, max_seconds)
    worker.start()
    desk = Desk(worker, uploads, MAX_BYTES)
    server = web.Server(create(desk), desk)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_for(lambda: server.started)
            yield Server(listener.getsockname()[1], uploads, starts, worker)
        finally:
            server.handle_exit(signal.SIGTERM, None)
            thread.join()
            worker.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("serve")) as server:
        yield server


@pytest.fixture(scope="module")
def hasty(tmp_path_factory):
    """A server that gives a clip no more than a second."""
    with serving(tmp_path_factory.mktemp("hasty"), max_seconds=1.0) as server:
        yield server
