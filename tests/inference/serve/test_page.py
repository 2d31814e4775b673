"""The page: accessibility, no external resources, and its use in a browser."""

import re
from collections import Counter
from html.parser import HTMLParser

import pytest

from atnet_jax.inference.serve import page
from tests.inference.serve import browser
from tests.inference.serve.conftest import MAX_BYTES

ABOUT = {"networks": "Two <stand-ins>.", "notes": ["A note & a half."], "style": ""}


class Elements(HTMLParser):
    def __init__(self, source):
        super().__init__()
        self.all = []
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.all.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data):
        self.text += data

    def find(self, *tags):
        return [attributes for tag, attributes in self.all if tag in tags]


def check(source):
    """Check the properties that every page of the server must have."""
    elements = Elements(source)
    attributes = [item for _, each in elements.all for item in each.items()]
    # Nothing from elsewhere, and no script or style but of our own files.
    addresses = {value for name, value in attributes if name in ("src", "href", "action")}
    # Relative, so that the page also works behind a proxy that serves it below a path.
    assert addresses <= {"app.js", "style.css", "predict", "./", "#content", "data:,"}
    assert all(script == {"src": "app.js", "defer": ""} for script in elements.find("script"))
    assert not elements.find("style", "iframe", "object", "embed", "base")
    assert not [name for name, _ in attributes if name.startswith("on") or name == "style"]
    # Marked up for all.
    assert elements.find("html") == [{"lang": "en"}]
    assert elements.find("main") == [{"id": "content"}]
    assert elements.find("a")[0] == {"class": "skip", "href": "#content"}
    assert len(elements.find("h1")) == 1
    ids = Counter(value for name, value in attributes if name == "id")
    assert set(ids.values()) == {1}
    for name, value in attributes:
        if name in ("for", "aria-describedby", "aria-labelledby"):
            assert value in ids
    labelled = {label["for"] for label in elements.find("label")}
    assert {each["id"] for each in elements.find("input", "select")} == labelled
    return elements


def test_page():
    elements = check(page.index(ABOUT, 200_000_000, 120.0, local=True))
    said = " ".join(elements.text.split())
    assert "they are not a lie detector" in said
    assert "Do not use them to judge people" in said
    assert "people who have agreed to it" in said
    assert "Limits: 200 MB and 120 s" in said
    assert "on this computer" in said
    assert "unencrypted" not in said
    assert "Two <stand-ins>." in said
    assert "A note & a half." in said
    (form,) = elements.find("form")
    assert form["method"] == "post"
    assert form["enctype"] == "multipart/form-data"
    names = [each["name"] for each in elements.find("input", "select")]
    assert sorted(names) == sorted(
        ["clip", "onset", "apex", "offset", "frame_rate", "face", "explain"]
    )


def test_page_for_others():
    elements = check(page.index(ABOUT, 1000, 1.0, local=False))
    assert "unencrypted" in elements.text


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", '"><img src=x>', "'&amp;", "</p><b>"]
)
def test_names_are_shown_not_obeyed(name):
    def pages(name):
        about = {"networks": f"From the run {name}.", "notes": [name], "style": ""}
        return page.index(about, 1000, 1.0, local=True), page.error_page(f"no face in {name}")

    for source, harmless in zip(pages(name), pages("harmless"), strict=True):
        elements, expected = check(source), check(harmless)
        assert elements.all == expected.all
        assert elements.text == expected.text.replace("harmless", name)


def test_style(server):
    style = server.get("/style.css").text
    assert ".of-the-answer" in style
    assert "prefers-color-scheme: dark" in style
    assert not re.search(r"url\(|@import", style)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    if browser.PATH is None:
        pytest.skip("no Chromium on this machine")
    chromium = browser.Browser(tmp_path_factory.mktemp("profile"))
    yield chromium
    chromium.close()


@pytest.fixture
def opened(chromium, server, tmp_path):
    """The page, and what the browser had to say until the end of the test."""
    chromium.events.clear()
    chromium.look(390)
    chromium.open(f"http://127.0.0.1:{server.port}/")
    yield chromium
    said = [
        event["params"]
        for event in chromium.events
        if event.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown")
    ]
    # A refused upload is an error to the console as well.
    assert all("status of 4" in each["entry"]["text"] for each in said), said
    asked = [
        event["params"]["request"]["url"]
        for event in chromium.events
        if event.get("method") == "Network.requestWillBeSent"
    ]
    assert all(url.startswith((f"http://127.0.0.1:{server.port}/", "data:")) for url in asked)
    server.wait_until_idle()
    assert server.left == []


def write(folder, name, contents):
    path = folder / name
    path.write_bytes(contents)
    return path


SHOWN = "document.querySelector('#{}').hidden === false"


def text(chromium, selector):
    return chromium.run(f"document.querySelector({selector!r}).textContent")


def test_a_clip_is_dropped_and_answered(opened, tmp_path):
    opened.drop("#drop", write(tmp_path, "sub01 <EP02>.avi", b"a clip"))
    opened.wait(SHOWN.format("chosen"))
    assert text(opened, "#chosen") == "sub01 <EP02>.avi: 1 kB"
    opened.click("#read")
    opened.wait(SHOWN.format("result"))
    assert text(opened, "#said") == "surprise"
    assert text(opened, "#result-heading") == "Result: sub01 <EP02>.avi"
    stages = opened.run("[...document.querySelectorAll('#stages li')].map((e) => e.textContent)")
    assert stages == ["Sending the clip", "Reading the clip", "Scoring it"]
    assert opened.run("document.activeElement.id") == "result-heading"
    assert opened.run("document.documentElement.scrollWidth") == 390


def test_by_the_keyboard(opened, tmp_path):
    opened.drop("#drop", write(tmp_path, "img1.png", b"1"), write(tmp_path, "img2.png", b"2"))
    opened.run("document.querySelector('details').open = true")
    opened.run("document.querySelector('#clip').focus()")
    order = []
    while order[-1:] != ["read"]:
        opened.press("Tab", 9)
        order.append(opened.run("document.activeElement.id || document.activeElement.tagName"))
        if order[-1] == "apex":
            opened.type("1")
        assert len(order) < 20
    assert order == ["SUMMARY", "onset", "apex", "offset", "frame_rate", "face", "explain", "read"]
    opened.press("Enter", 13, "\r")
    opened.wait(SHOWN.format("result"))
    assert text(opened, "#result-heading") == "Result: 2 files"


def test_an_error_is_shown(opened, tmp_path):
    opened.drop("#drop", write(tmp_path, "clip.avi", b"user error"))
    opened.click("#read")
    opened.wait(SHOWN.format("error"))
    assert text(opened, "#error") == "clip.avi: no face <here>; choose another clip"
    assert opened.run("document.activeElement.id") == "error"
    # A refusal with its own status, and another clip after it.
    opened.drop("#drop", write(tmp_path, "clip.exe", b"MZ"))
    opened.wait("document.querySelector('#error').hidden")
    opened.click("#read")
    opened.wait(SHOWN.format("error"))
    assert ".exe cannot be read" in text(opened, "#error")
    opened.drop("#drop", write(tmp_path, "clip.avi", b"a clip"))
    opened.click("#read")
    opened.wait(SHOWN.format("result"))
    assert opened.run("document.querySelector('#error').hidden")


def test_a_too_large_file_is_rejected_before_upload(opened, tmp_path):
    opened.drop("#drop", write(tmp_path, "clip.avi", b"x" * (MAX_BYTES + 1)))
    opened.wait(SHOWN.format("error"))
    assert "the server accepts at most 300 kB" in text(opened, "#error")
    opened.click("#read")
    assert opened.run("fetch('/health').then((response) => response.status)") == 200
    methods = [event["params"]["request"]["method"] for event in opened.events
               if event.get("method") == "Network.requestWillBeSent"]  # fmt: skip
    assert "POST" not in methods


def test_stop(opened, server, tmp_path):
    opened.drop("#drop", write(tmp_path, "clip.avi", b"sleep"))
    opened.click("#read")
    opened.wait("document.querySelector('#stages').textContent.includes('Reading')")
    assert opened.run("document.querySelector('#read').disabled")
    opened.click("#stop")
    opened.wait(SHOWN.format("error"))
    assert text(opened, "#error").startswith("Stopped.")
    assert not opened.run("document.querySelector('#read').disabled")


def test_a_drop_beside_the_field_leaves_the_page(opened, tmp_path):
    opened.drop("h1", write(tmp_path, "clip.avi", b"a clip"))
    assert opened.run("document.querySelector('#clip').files.length") == 0
    assert opened.run("location.pathname") == "/"


def test_without_script(opened, server, tmp_path):
    opened.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        opened.open(f"http://127.0.0.1:{server.port}/")
        node = opened.call("DOM.getDocument")["root"]["nodeId"]
        field = opened.call("DOM.querySelector", nodeId=node, selector="#clip")["nodeId"]
        path = write(tmp_path, "clip.avi", b"a clip")
        opened.call("DOM.setFileInputFiles", files=[str(path)], nodeId=field)
        opened.click("#read")
        opened.wait("location.pathname === '/predict' && document.readyState === 'complete'")
        assert text(opened, "body") == "surprise"
        colour = opened.run("getComputedStyle(document.querySelector('p')).color")
        assert colour == "rgb(0, 128, 128)"  # The style of the answer's page is let in.
    finally:
        opened.call("Emulation.setScriptExecutionDisabled", value=False)
