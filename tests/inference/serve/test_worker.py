"""Clips that take too long, crash their reader, or are cancelled by the user."""

import multiprocessing
import os
import threading
import time

import pytest

from atnet_jax.errors import UserError
from atnet_jax.inference.serve.desk import Desk
from atnet_jax.inference.serve.worker import Failed, Stopped, Worker, _Leash
from tests.inference.serve.conftest import STAND_IN, multipart, wait_for


def alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def begin(server, clip, accept="application/json"):
    """Sends a clip and does not wait for the answer."""
    body, headers = multipart([("clip.avi", clip)])
    lines = ["POST /predict HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    lines += [f"Accept: {accept}", *(f"{name}: {value}" for name, value in headers.items())]
    connection = server.connect()
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
    return connection


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
def test_a_clip_that_takes_too_long(hasty, accept):
    began = time.monotonic()
    response = hasty.predict(("clip.avi", b"sleep"), accept=accept)
    assert 1 <= time.monotonic() - began < 30
    refused = response.lines[-1]
    assert "longer than 1 s" in refused["error"]
    if accept == "application/json":
        assert response.status == 504
    else:
        assert refused["status"] == 504
    assert hasty.left == []
    killed = hasty.processes[-1]
    wait_for(lambda: not alive(killed))
    assert hasty.predict().status == 200
    assert hasty.processes[-1] != killed


def test_a_clip_that_crashes_the_process(server):
    for _ in range(2):
        response = server.predict(("clip.avi", b"crash"))
        assert response.status == 500
        assert "Another process has been started" in response.json["error"]
        assert server.left == []
    answer = server.predict(accept="application/x-ndjson")
    assert answer.lines[0] == {"stage": "Restarting the networks"}
    assert "body" in answer.lines[-1]
    assert server.predict(accept="application/x-ndjson").lines[0] != answer.lines[0]


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
def test_a_browser_that_goes_away(server, accept):
    server.predict()
    reading = server.processes[-1]
    connection = begin(server, b"sleep", accept)
    wait_for(lambda: [path for path in server.left if path.name == "clip.avi"])
    assert alive(reading)
    connection.close()
    server.wait_until_idle()
    assert server.left == []
    wait_for(lambda: not alive(reading))
    assert server.predict().status == 200


def test_a_browser_that_goes_away_while_it_waits_does_not_end_the_work(server):
    server.predict()
    reading = server.processes[-1]
    with begin(server, b"slow", "application/x-ndjson") as first:
        with begin(server, b"a clip", "application/x-ndjson") as second:
            heard = b""
            while b"Waiting for another clip" not in heard:
                heard += second.recv(1 << 16)
        wait_for(lambda: server.get("/health").json["clips"] < 2)
        heard = b""
        while b"body" not in heard:
            heard += first.recv(1 << 16)
    server.wait_until_idle()
    assert server.processes[-1] == reading
    assert server.left == []


def test_clips_are_read_one_after_another(server):
    server.predict()
    answers = []

    def ask():
        answers.append(server.predict(("clip.avi", b"slow"), accept="application/x-ndjson"))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - began >= 1.5
    first = sorted(answer.lines[0]["stage"] for answer in answers)
    assert first == ["Reading the clip"] + 2 * ["Waiting for another clip to finish"]
    assert all("body" in answer.lines[-1] for answer in answers)


def test_a_browser_that_goes_away_during_the_upload(server):
    body, headers = multipart([("clip.avi", b"x" * 1000)])
    lines = ["POST /predict HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    with server.connect() as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body[:500])
        wait_for(lambda: [path for path in server.left if path.name == "clip.avi"])
    server.wait_until_idle()
    assert server.left == []


# Without a server.


def worker(tmp_path, argument=None, seconds=20.0):
    return Worker(STAND_IN, argument or str(tmp_path / "starts"), tmp_path, seconds)


def test_networks_that_cannot_be_had(tmp_path):
    with pytest.raises(UserError, match="no finished run"):
        worker(tmp_path, "no run").start()
    with pytest.raises(Failed, match="a bug while loading"):
        worker(tmp_path, "bug").start()
    crashing = worker(tmp_path, "crash")
    with pytest.raises(Stopped, match="crashed"):
        crashing.start()
    crashing.stop()


def test_a_process_that_is_killed_between_two_clips_is_replaced(tmp_path):
    clip = tmp_path / "clip.avi"
    clip.write_text("a clip")
    ours = worker(tmp_path)
    ours.start()
    try:
        killed = int((tmp_path / "starts").read_text())
        os.kill(killed, 9)
        os.waitid(os.P_PID, killed, os.WEXITED | os.WNOWAIT)
        assert ours.answer(clip, {}, "json", lambda stage: None)["options"] == {}
        # A late signal must not reach another process.
        ours.interrupt()
        assert ours.answer(clip, {}, "json", lambda stage: None)["options"] == {}
    finally:
        ours.stop()
    assert not any(alive(int(line)) for line in (tmp_path / "starts").read_text().split())


def test_a_server_that_is_being_ended_starts_no_other_process(tmp_path):
    clip = tmp_path / "clip.avi"
    clip.write_text("crash")
    ours = worker(tmp_path)
    ours.start()
    Desk(ours, tmp_path, 1000).close()
    for _ in range(2):
        with pytest.raises(Stopped, match="crashed"):
            ours.answer(clip, {}, "json", lambda stage: None)
        assert ours._process is None
    assert len((tmp_path / "starts").read_text().split()) == 1


def test_a_process_that_was_let_go_is_not_killed():
    process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    process.start()
    try:
        leash = _Leash(process)
        assert not leash.let_go()
        leash.kill("overrun")
        process.join(0.2)
        assert process.is_alive()
        short = _Leash(process)
        short.kill("overrun")
        short.kill("interrupted")
        process.join(10)
        assert (short.reason, short.let_go()) == ("overrun", True)
    finally:
        process.kill()
