"""The command line: its errors and warnings, and the removal of all files at its end."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from atnet_jax.errors import UserError
from atnet_jax.inference.serve.server import serve
from tests.conftest import REPOSITORY
from tests.inference.serve.conftest import STAND_IN, below, multipart, wait_for


@pytest.fixture
def temporary(tmp_path):
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@pytest.fixture
def start(tmp_path, temporary):
    """Starts the server and returns its process, once it can be reached, and its port."""
    processes = []

    def start(*options):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.inference.serve.stand_in_server", "--port=0",
             str(tmp_path / 'starts'), *options],
            cwd=REPOSITORY, env={**os.environ, "TMPDIR": str(temporary)}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == f"Loading the networks of {tmp_path / 'starts'}\n"
        address = process.stdout.readline()
        match = re.fullmatch(
            r"Serving at http://127\.0\.0\.1:([0-9]+) \(press Ctrl-C to stop\)\n", address
        )
        assert match, address
        return process, int(match[1])

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def send(port, clip, length=None):
    """Sends a clip; a length that is too large makes the server wait for more."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    body, headers = multipart([("secret_name.avi", clip)])
    headers["Content-Length"] = str(length or len(body))
    connection.request("POST", "/predict?format=json", body, headers)
    return connection


@pytest.mark.usefixtures("heeds_interrupts")
@pytest.mark.parametrize(
    ("ending", "status", "busy"),
    [
        (signal.SIGINT, 130, True),
        (signal.SIGTERM, 128 + signal.SIGTERM, True),
        (signal.SIGHUP, 128 + signal.SIGTERM, True),
        (signal.SIGKILL, -signal.SIGKILL, True),
        (signal.SIGKILL, -signal.SIGKILL, False),
    ],
)
def test_nothing_is_left_or_said_however_it_ends(start, temporary, tmp_path, ending, status, busy):
    process, port = start()
    for clip in (b"a clip", b"user error"):
        connection = send(port, clip)
        assert connection.getresponse().status in (200, 422)
        connection.close()
    under_way = [send(port, b"sleep")] if busy else []
    under_way.append(send(port, b"half a clip", length=9999))
    wait_for(lambda: [p.name for p in below(temporary)].count("clip.avi") == len(under_way))
    if ending == signal.SIGINT:
        os.killpg(process.pid, ending)  # As a terminal does.
    else:
        process.send_signal(ending)
    if ending != signal.SIGKILL:
        for connection in under_way:
            response = connection.getresponse()
            assert response.status == 503
            assert "shutting down" in json.loads(response.read())["error"]
    output, _ = process.communicate(timeout=10)
    assert process.returncode == status
    # Nothing is said of what was sent.
    assert output == ("Interrupted.\n" if ending == signal.SIGINT else "")
    for connection in under_way:
        connection.close()
    wait_for(lambda: not [*temporary.iterdir()])
    reading = int((tmp_path / "starts").read_text())  # No other was started.
    wait_for(lambda: not os.path.exists(f"/proc/{reading}"))


def settings(**changes):
    return {"host": "127.0.0.1", "port": 0, "max_bytes": 1000, "max_seconds": 1.0,
            "prepare": STAND_IN, **changes}  # fmt: skip


def test_a_run_that_is_not_there():
    with pytest.raises(UserError, match="no run: no finished run in this folder"):
        serve("no run", **settings())


def test_networks_that_cannot_be_loaded(capsys):
    with pytest.raises(UserError, match=r"bug: the networks could not be loaded\. The error above"):
        serve("bug", **settings())
    assert "RuntimeError: a bug while loading" in capsys.readouterr().err
    with pytest.raises(UserError, match="crash: the process that loads the networks ended"):
        serve("crash", **settings())


def test_an_address_that_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} .*Choose another --port"):
            serve("no run", **settings(port=port))


def test_a_host_that_is_not_ours():
    with pytest.raises(UserError, match=r"Cannot listen on 192\.0\.2\.1"):
        serve("no run", **settings(host="192.0.2.1"))
    with pytest.raises(UserError, match=r"Cannot listen on no-such-host\.invalid"):
        serve("no run", **settings(host="no-such-host.invalid"))


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_all_hosts(host):
    with pytest.raises(UserError, match="stands for every address"):
        serve("no run", **settings(host=host))


def test_others_are_let_in_with_a_warning_only(capsys):
    for host in ("127.0.0.1", "localhost", "::1"):
        with pytest.raises(UserError):
            serve("no run", **settings(host=host))
    assert capsys.readouterr().err == ""
    with pytest.raises(UserError):
        serve("no run", **settings(host=socket.gethostname() + ".invalid"))
    assert "unencrypted" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["uvicorn", "starlette", "python_multipart"])
def test_missing_packages_of_the_server_are_named(name):
    code = f"""
import sys
sys.modules[{name!r}] = None
from atnet_jax import commands
sys.exit(commands.run(["serve", "run"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {name}")
    assert "pip install 'atnet_jax[serve]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
