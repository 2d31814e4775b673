"""Requests that the server accepts and rejects, and the headers of every response."""

import asyncio
import random
import socket
import struct
import zlib

import pytest

from atnet_jax.inference.serve.app import create
from atnet_jax.inference.serve.desk import Desk
from atnet_jax.inference.serve.worker import Worker
from tests.inference.serve.conftest import MAX_BYTES, multipart, wait_for

POLICY = {
    "default-src": ["'none'"],
    "script-src": ["'self'"],
    "style-src": ["'self'"],
    "img-src": ["data:"],
    "connect-src": ["'self'"],
    "form-action": ["'self'"],
    "base-uri": ["'none'"],
    "frame-ancestors": ["'none'"],
}


def policy(response):
    directives = response.headers["Content-Security-Policy"].split("; ")
    return {name: values for name, *values in map(str.split, directives)}


@pytest.fixture(autouse=True)
def nothing_is_left(server):
    yield
    server.wait_until_idle()
    assert server.left == []


# Formats.


def test_json(server):
    response = server.predict(("any name.AVI", b"a clip"), apex="12", explain="on", face="")
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/json"
    answer = response.json
    assert answer["files"] == {"clip.avi": "a clip"}
    assert answer["options"] == {"apex": 12, "explain": True}
    assert answer["mode"] == "700"
    assert answer["folder"].startswith(f"{server.folder}/")


def test_json_by_the_address(server):
    response = server.predict(accept="*/*", path="/predict?format=json")
    assert response.json["files"] == {"clip.avi": "a clip"}


def test_a_page_that_brings_its_style(server):
    response = server.predict(accept="text/html,*/*;q=0.8")
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "<p>surprise</p>" in response.text
    # printf 'p { color: teal }' | openssl dgst -sha256 -binary | base64
    digest = "'sha256-8fPwlIw/PLRUIsg7vYlNotoeuR0WiP8RAqPPGm2Lo4U='"
    assert policy(response) == {**POLICY, "style-src": ["'self'", digest]}


def test_lines_tell_the_stages_and_then_the_answer(server):
    response = server.predict(accept="application/x-ndjson")
    assert response.status == 200
    counted = [f"Reading the clip {i}/3" for i in range(3)]
    stages = ["Reading the clip", *counted, "Scoring it"]
    assert response.lines[:-1] == [{"stage": stage} for stage in stages]
    assert list(response.lines[-1]) == ["body"]
    assert "surprise" in response.lines[-1]["body"]


def test_a_refusal_in_each_format(server):
    clip = ("clip.avi", b"user error")
    sentence = "clip.avi: no face <here>; choose another clip"
    response = server.predict(clip)
    assert (response.status, response.json) == (422, {"error": sentence})
    response = server.predict(clip, accept="text/html")
    assert response.status == 422
    assert "clip.avi: no face &lt;here&gt;; choose another clip" in response.text
    response = server.predict(clip, accept="application/x-ndjson")
    # A stage had been told before the error was known.
    assert response.status == 200
    assert response.lines[1:] == [{"error": sentence, "status": 422}]
    response = server.predict(("clip.exe", b"MZ"), accept="application/x-ndjson")
    assert response.status == response.lines[0]["status"] == 415


@pytest.mark.parametrize("word", [b"bug", b"nan"])
def test_an_internal_error_is_shown_in_the_terminal_only(server, capfd, word):
    response = server.predict(("clip.avi", word))
    assert response.status == 500
    assert response.json["error"].startswith("Internal error.")
    assert "Traceback" not in response.text
    assert "Traceback" in capfd.readouterr().err
    assert server.predict().status == 200


def test_an_error_of_the_server_itself(server, monkeypatch, capfd):
    def full(fields):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("atnet_jax.inference.serve.form.options", full)
        response = server.predict()
    assert response.status == 500
    assert response.json["error"].startswith("Internal error.")
    assert "No space left on device" in capfd.readouterr().err
    assert server.predict().status == 200


# Headers.


def responses(server):
    yield server.get("/")
    yield server.get("/style.css")
    yield server.get("/app.js")
    yield server.get("/health")
    yield server.get("/nowhere")
    yield server.get("/predict")
    yield server.get("/", Host="evil.example")
    yield server.predict()
    yield server.predict(accept="application/x-ndjson")
    yield server.predict(("clip.exe", b"MZ"))
    yield server.predict(headers={"Origin": "https://evil.example"})


def test_every_response_has_the_headers(server):
    statuses = []
    for response in responses(server):
        statuses.append(response.status)
        assert policy(response) == POLICY
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["X-Frame-Options"] == "DENY"
        assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Access-Control-Allow-Origin" not in response.headers
    assert statuses == [200, 200, 200, 200, 404, 405, 400, 200, 200, 415, 403]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8080", 200),
        ("127.0.0.1:1", 200),
        ("[::1]", 200),
        ("[::1]:8080", 200),
        ("evil.example", 400),
        ("localhost.evil.example", 400),
        ("evil.example:127.0.0.1", 400),
        ("127.0.0.1.evil.example:80", 400),
        ("", 400),
    ],
)
def test_host(server, host, status):
    assert server.get("/", Host=host).status == status
    assert server.predict(headers={"Host": host}).status == status


@pytest.mark.parametrize(
    ("host", "asked"),
    [
        ("Lab.Example", "lab.example:8080"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "[2001:db8::1]:8080"),
    ],
)
def test_a_host_that_others_reach(tmp_path, host, asked):
    worker = Worker("nothing:prepare", "", tmp_path, 1.0)
    worker.about = {"style": ""}
    app = create(Desk(worker, tmp_path, MAX_BYTES), host)
    assert status_of(app, asked) == 200
    assert status_of(app, "localhost") == 200
    assert status_of(app, "evil.example") == 400


def status_of(app, host):
    """Request /health without networks."""
    scope = {"type": "http", "method": "GET", "path": "/health", "query_string": b""}
    scope["headers"] = [(b"host", host.encode())]
    sent = []

    async def receive():
        raise AssertionError

    async def send(message):
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent[0]["status"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://localhost:7000"}, 200),
        ({"Origin": "http://localhost:7000", "Sec-Fetch-Site": "same-origin"}, 200),
        # A form without script, of a page without referrer.
        ({"Origin": "null", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:7001"}, 403),
        ({"Origin": "https://localhost:7000"}, 403),
        ({"Origin": "http://127.0.0.1:7000"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:7000"}, 403),
    ],
)
def test_other_sites_cannot_post(server, headers, status):
    assert server.predict(headers={"Host": "localhost:7000", **headers}).status == status


# The clip.


@pytest.mark.parametrize(
    "name",
    [
        "../../../etc/passwd.avi",
        "/etc/passwd.avi",
        "..\\..\\boot.avi",
        "C:\\clips\\a.avi",
        "a\x01b\x7f.avi",
        "%2e%2e%2fa.avi",
        ".avi.avi",
        "x" * 3000 + ".avi",
        "\u202eiva.avi",
    ],
)
def test_a_name_is_no_path(server, name):
    answer = server.predict((name, b"a clip")).json
    assert answer["files"] == {"clip.avi": "a clip"}


@pytest.mark.parametrize("name", ["clip.zip", "clip", "clip.avi.exe", ".avi", "clip.av\x00i", "a/"])
def test_an_ending_that_is_not_known(server, name):
    response = server.predict((name, b"a clip"))
    assert response.status == 415
    assert ".mp4" in response.json["error"]
    assert ".png" in response.json["error"]


def test_pictures_keep_the_numbers_of_their_names_only(server):
    files = [("../reg_img10.PNG", b"ten"), ("b/img9.png", b"nine"), ("x12.img011.jpg", b"eleven")]
    answer = server.predict(*files).json
    assert answer["files"] == {
        "frame10.png": "ten",
        "frame11.jpg": "eleven",
        "frame9.png": "nine",
    }
    assert answer["folder"].startswith(f"{server.folder}/")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([("img1.png", b"1"), ("IMG01.png", b"1")], "number 1"),
        ([("img1.png", b"1"), ("face.png", b"1")], "img12.jpg"),
        ([("img1.png", b"1"), ("clip.avi", b"1")], "one video"),
        ([("a.avi", b"1"), ("b.avi", b"1")], "one video"),
        ([("a.avi", b"")], "empty"),
        ([("img1.png", b"1"), ("img2.png", b"")], "empty"),
        ([("", b"")], "No clip was chosen"),
        ([("", b"a clip")], "no name"),
    ],
)
def test_files_that_are_no_clip_are_rejected(server, files, said):
    response = server.predict(*files)
    assert response.status == 400
    assert said in response.json["error"]


def test_no_clip_at_all(server):
    body, headers = multipart([], apex="3")
    response = server.ask("POST", "/predict?format=json", body, headers)
    assert response.status == 400
    assert "No clip was chosen" in response.json["error"]


def test_a_file_of_another_name(server):
    body, headers = multipart(field="apex")
    response = server.ask("POST", "/predict?format=json", body, headers)
    assert response.status == 400
    assert "as the file “clip”" in response.json["error"]


def test_too_many_files(server, monkeypatch):
    monkeypatch.setattr("atnet_jax.inference.serve.upload._MOST_FILES", 3)
    files = [(f"{i}.png", b"1") for i in range(4)]
    assert server.predict(*files[:3]).status == 200
    assert server.predict(*files).status == 413


# The fields.


def test_all_fields(server):
    fields = {"onset": "0", "apex": " 7 ", "offset": "12", "face": "none", "frame_rate": "29.97"}
    assert server.predict(**fields).json["options"] == {
        "onset": 0,
        "apex": 7,
        "offset": 12,
        "face": "none",
        "frame_rate": 29.97,
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("onset", "-1"),
        ("apex", "1.5"),
        ("apex", "１"),
        ("offset", "1_0"),
        ("offset", "9" * 10),
        ("face", "haar"),
        ("frame_rate", "0"),
        ("frame_rate", "nan"),
        ("frame_rate", "inf"),
        ("frame_rate", "fast"),
        ("explain", "yes"),
        ("frame_rate", "1" + " " * 200),
        ("box", "0,0,1,1"),
        ("clip", "text"),
    ],
)
def test_a_field_that_makes_no_sense(server, name, value):
    response = server.predict(**{name: value})
    assert response.status == 400
    said = response.json["error"]
    assert name.replace("_", " ") in said or "field" in said


def test_a_field_twice(server):
    body, headers = multipart(apex="1")
    twice = body.replace(b"\r\n1\r\n", b"\r\n1\r\n" + body.split(b"1\r\n", 1)[0] + b"2\r\n", 1)
    response = server.ask("POST", "/predict?format=json", twice, headers)
    assert (response.status, response.json) == (
        400,
        {"error": "The form contains the field apex twice."},
    )


# The form itself.


def test_something_else_than_a_form(server):
    for kind in ("application/json", "multipart/form-data", "multipart/mixed; boundary=x", ""):
        headers = {"Content-Type": kind, "Accept": "application/json"}
        response = server.ask("POST", "/predict", b"{}", headers)
        assert response.status == 415
        assert "multipart/form-data" in response.json["error"]


def test_a_form_that_ends_too_soon(server):
    body, headers = multipart([("clip.avi", b"x" * 1000)])
    response = server.ask("POST", "/predict?format=json", body[:-40], headers)
    assert response.status == 400
    assert "damaged" in response.json["error"]


def test_a_damaged_form_is_never_an_error_of_ours(server):
    body, headers = multipart([("img1.png", b"one"), ("img2.png", b"two")], apex="3")
    chance = random.Random(0)
    for _ in range(150):
        damaged = bytearray(body)
        for _ in range(chance.randrange(1, 8)):
            at = chance.randrange(len(damaged))
            if chance.random() < 0.5:
                damaged[at] = chance.randrange(256)
            else:
                del damaged[at : at + chance.randrange(1, 20)]
        response = server.ask("POST", "/predict?format=json", bytes(damaged), headers)
        assert response.status in (200, 400, 415), bytes(damaged)


# Limits.


def test_an_upload_that_announces_too_much(server):
    """Nothing of it is waited for."""
    with server.connect() as connection:
        lines = ["POST /predict HTTP/1.1", "Host: localhost", f"Content-Length: {MAX_BYTES + 1}"]
        lines += [f"{name}: {value}" for name, value in multipart()[1].items()]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 413 ")


def test_a_too_large_upload_gets_an_answer(server):
    """Even of more than the system keeps for the server, which the sender sends to the end."""
    response = server.predict(("clip.avi", b"x" * 20_000_000))
    assert response.status == 413
    assert "larger than 0.3 MB" in response.json["error"]


def test_an_upload_as_large_as_allowed(server):
    room = MAX_BYTES - len(multipart([("clip.avi", b"")])[0])
    assert server.predict(("clip.avi", b"x" * room)).status == 200
    assert server.predict(("clip.avi", b"x" * (room + 1))).status == 413


def test_a_too_large_upload_is_rejected_while_it_arrives(server):
    """The request has no length and no end, so the server must reject it earlier."""
    body, headers = multipart([("clip.avi", b"x" * MAX_BYTES)])
    with server.connect() as connection:
        lines = ["POST /predict?format=json HTTP/1.1", "Host: localhost"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += ["Transfer-Encoding: chunked", "", ""]
        connection.sendall("\r\n".join(lines).encode())
        connection.sendall(b"%x\r\n" % (MAX_BYTES // 2) + body[: MAX_BYTES // 2] + b"\r\n")
        wait_for(lambda: [path for path in server.left if path.name == "clip.avi"])
        connection.sendall(b"%x\r\n" % MAX_BYTES + b"x" * MAX_BYTES + b"\r\n")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 413 ")
        wait_for(lambda: not server.left)
        assert server.get("/health").json == {"status": "ok", "clips": 0}


def test_an_upload_that_stops(server, monkeypatch):
    monkeypatch.setattr("atnet_jax.inference.serve.upload._SILENCE", 0.2)
    body, headers = multipart([("clip.avi", b"x" * 1000)])
    with server.connect() as connection:
        lines = ["POST /predict?format=json HTTP/1.1", "Host: localhost", "Content-Length: 9999"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body[:500])
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 408 ")


def test_uploads_beyond_the_places(server):
    body, headers = multipart()
    lines = ["POST /predict HTTP/1.1", "Host: localhost", "Content-Length: 9999"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    begun = "\r\n".join([*lines, "", ""]).encode() + body[:20]
    connections = [server.connect() for _ in range(4)]
    try:
        for connection in connections:
            connection.sendall(begun)
        wait_for(lambda: server.get("/health").json["clips"] == 4)
        response = server.predict()
        assert response.status == 503
        assert "4 clips" in response.json["error"]
    finally:
        for connection in connections:
            connection.shutdown(socket.SHUT_RDWR)
            connection.close()
    server.wait_until_idle()
    assert server.predict().status == 200


# Effects that a file may have on the process that reads it.


def test_a_playlist_is_not_followed(server):
    response = server.predict(("clip.avi", b"ffconcat version 1.0\nfile 'other.avi'\n"))
    assert response.json == {"clip": False, "other": True}


def test_a_small_picture_that_unpacks_to_too_much(server):
    assert server.predict(("1.png", grey_png(8000))).json == [[8000, 8000]]
    response = server.predict(("1.png", grey_png(8200)))
    assert response.status == 422
    assert "rejects this picture" in response.json["error"]


def grey_png(side):
    """A black square, 1 bit a pixel."""

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" * (1 + (side + 7) // 8)) * side, 1)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def test_a_crash_leaves_no_core_and_hits_no_other_process(server):
    limits = server.predict(("clip.avi", b"limits")).json
    assert limits == {"core": [0, 0], "killed first": "1000"}
