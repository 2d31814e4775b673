import dataclasses
import html.parser
import re

import cv2
import numpy as np
import pytest

from atnet_jax.inference.explain import Explanation
from atnet_jax.inference.predict import Answer, Options, draw, page, predict_clip
from atnet_jax.inference.predict.caveats import Caveat


@pytest.fixture(scope="module")
def found(clip, networks) -> Answer:
    """An answer with all maps there are, made up."""
    told = predict_clip(clip, networks, Options(onset=5, offset=26))
    rng = np.random.default_rng(0)
    explanation = Explanation(
        class_index=told.expressions[0].likeliest,
        networks=3,
        grad_cam=rng.uniform(0, 1, (224, 224)).astype(np.float32),
        occlusion=rng.normal(0, 0.1, (224, 224)).astype(np.float32),
        adm=rng.normal(0, 0.1, (64, 8, 8)).astype(np.float32),
        shares={"spatial": 0.25, "temporal": 0.75},
        contributions={"spatial": -0.5, "temporal": 1.5},
    )
    expression = dataclasses.replace(told.expressions[0], explanation=explanation)
    return dataclasses.replace(told, expressions=[expression])


def picture(png: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image


class Reader(html.parser.HTMLParser):
    """Collects what a page is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "line", "rect", "polyline", "path"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("meta", "img", "line", "rect", "polyline", "path"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    return reader


def test_page_shows_the_whole_answer(found):
    reader = read(page.page(found))
    text = " ".join(reader.text.split())
    (expression,) = found.expressions
    interval = expression.interval
    assert f"Onset {interval.onset}, apex {interval.apex}, offset {interval.offset}" in text
    for score in expression.scores:
        assert f"{score:.3f}" in text
    assert "lie detector" in text
    assert "spatial stream 25% (-0.50 logits)" in text
    assert "temporal stream 75% (+1.50 logits)" in text
    assert "smile.mp4" in text


def test_page_needs_nothing_else(found):
    text = page.page(found)
    reader = read(text)
    assert not re.search(r"https?://", text.replace("http://www.w3.org", ""))
    assert {tag for tag, _ in reader.tags}.isdisjoint({"script", "link", "iframe", "object"})
    pictures = [attributes for tag, attributes in reader.tags if tag == "img"]
    assert len(pictures) == 6  # Onset, apex, motion, Grad-CAM, occlusion, integrated gradients.
    assert all((each["src"] or "").startswith("data:image/png;base64,") for each in pictures)
    assert all(each["alt"] for each in pictures)


def test_body_has_no_inline_style(found):
    """A page that embeds it may forbid inline styles."""
    for tag, attributes in read(page.body(found)).tags:
        assert tag != "style"
        assert "style" not in attributes and not any(name.startswith("on") for name in attributes)


@pytest.mark.parametrize("name", ["<script>alert(1)", '"><img src=x>', "'&amp;", "<b><p>"])
def test_names_and_texts_are_shown_not_obeyed(found, name):
    def told(name):
        return dataclasses.replace(
            found,
            clip=f"{name}.mp4",
            warnings=[Caveat("x", f"{name} & more.")],
            model=found.model | {"method": name, "flow": name, "trained_on": [name]},
            seconds={name: 1.0},
        )

    reader, harmless = read(page.page(told(name))), read(page.page(told("harmless")))
    assert reader.tags == harmless.tags
    assert reader.text == harmless.text.replace("harmless", name)
    assert reader.text.count(name) == 8


def test_the_course_shows_the_found_expression(found):
    drawing = page.body(found)
    apex = found.expressions[0].interval.apex
    # Of the frames 5 to 26, whose course is 900 units wide.
    across = round((apex - 5) / 21 * 900, 1)
    assert f'class="apex" x1="{across}"' in drawing
    assert f"Found: frames 5 to 26, apex {apex}" in drawing


def test_no_expression_and_no_answer(found):
    empty = dataclasses.replace(found, expressions=[])
    assert "0 expressions found" in page.page(empty)
    assert picture(draw.sheet(empty)).shape[1] > 1000
    assert "Face that was watched, frame" in page.page(empty)
    unsure = dataclasses.replace(found.expressions[0], predicted=None)
    text = page.page(dataclasses.replace(found, expressions=[unsure]))
    assert "No prediction" in text


def test_the_heading_is_the_name_alone(found):
    text = page.page(dataclasses.replace(found, clip="/very/long/way/to/smile.mp4"))
    assert "<h1>smile.mp4</h1>" in text and "<title>smile.mp4</title>" in text
    assert "Clip: /very/long/way/to/smile.mp4" in text


def test_many_expressions_fit_into_one_picture(found):
    one = picture(draw.sheet(found))
    copies = [dataclasses.replace(found.expressions[0]) for _ in range(20)]
    many = picture(draw.sheet(dataclasses.replace(found, expressions=copies)))
    assert many.shape[1] == one.shape[1]
    assert many.shape[0] < 4 * one.shape[0]
    each = [
        dataclasses.replace(
            found.expressions[0],
            interval=dataclasses.replace(found.expressions[0].interval, apex=apex),
        )
        for apex in range(6, 26)
    ]
    drawn = draw._strongest(dataclasses.replace(found, expressions=each))
    strength = found.course.strength
    assert len(drawn) == 3
    assert min(strength[e.interval.apex - 5] for e in drawn) >= np.sort(strength[1:21])[-3]


def test_figures_show_the_face(found, frames):
    shown = draw.figures(found.expressions[0])
    assert list(shown) == ["onset", "apex", "flow", "grad_cam", "occlusion", "adm"]
    small = cv2.resize(picture(shown["apex"][1])[..., 0], (224, 224), interpolation=cv2.INTER_AREA)
    apex = found.expressions[0].features.apex
    assert np.abs(small.astype(float) - apex).mean() < 3


def test_arrows_point_along_the_motion():
    flow_map = np.zeros((28, 28, 3), np.float32)
    flow_map[8:12, 8:12, 0] = 3.0  # To the right.
    image = draw._arrows(np.full((224, 224), 128, np.uint8), flow_map).astype(int)
    inked = np.abs(image - image[0, 0]).sum(axis=-1) > 60
    rows, columns = np.flatnonzero(inked.any(axis=1)), np.flatnonzero(inked.any(axis=0))
    # Cells of 16 pixels in a picture of 448.
    assert rows[0] >= 128 - 8 and rows[-1] < 192 + 8
    assert columns[0] >= 128 - 16 and columns[-1] < 192 + 16
    # The head of an arrow is wider than its tail.
    cell = inked[128:160, 128:160]
    assert cell[:, 16:].sum() > 1.2 * cell[:, :16].sum()
