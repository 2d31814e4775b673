"""Parser of a page, and checks that every page must pass."""

import re
from collections import Counter
from html.parser import HTMLParser

_VOID = {"meta", "br", "line", "circle", "rect", "path", "polyline"}


class Page(HTMLParser):
    """Collects what a page holds, and checks that its tags are closed in order."""

    def __init__(self, page):
        super().__init__()
        self.source = page
        self.tags = Counter()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.headings: list[int] = []
        self.text = ""
        self.svgs: list[list[str]] = []
        self.tables_outside = 0
        self._open: list[tuple[str, dict[str, str]]] = []
        self._rows: list[list[str]] = []
        self._caption = ""
        self.feed(page)
        self.close()
        assert not self._open

    @property
    def attributes(self):
        return [
            (name, value) for _, attributes in self.elements for name, value in attributes.items()
        ]

    @property
    def ids(self):
        return [value for name, value in self.attributes if name == "id"]

    def find(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def handle_starttag(self, tag, attrs):
        attributes = {name: value or "" for name, value in attrs}
        assert len(attributes) == len(attrs), "an attribute twice"
        self.tags[tag] += 1
        self.elements.append((tag, attributes))
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "table":
            parent = self._open[-1]
            self.tables_outside += parent[0] != "div" or parent[1].get("class") != "scroll"
            self._rows, self._caption = [], ""
        if tag == "tr":
            self._rows.append([])
        if tag in ("td", "th"):
            self._rows[-1].append("")
        if tag == "svg":
            self.svgs.append([])
        elif any(name == "svg" for name, _ in self._open):
            self.svgs[-1].append(tag)
        if tag not in _VOID:
            self._open.append((tag, attributes))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self._open.pop()

    def handle_endtag(self, tag):
        # A polyline may hold a title.
        if tag in _VOID:
            return
        assert self._open.pop()[0] == tag
        if tag == "table":
            assert self._caption not in self.tables, f"two tables are called {self._caption}"
            self.tables[self._caption] = self._rows

    def handle_data(self, data):
        names = [name for name, _ in self._open]
        if names and names[-1] == "style":
            return
        self.text += data
        if "caption" in names:
            self._caption += data
        elif "td" in names or "th" in names:
            self._rows[-1][-1] += data


def check(source: str) -> Page:
    """Asserts what must hold of every page: self-contained, and marked up for all readers."""
    page = Page(source)
    # Nothing from outside, and nothing that runs.
    assert not {"script", "link", "img", "iframe", "object", "embed", "base", "form"} & {*page.tags}
    assert not {"src", "srcset", "action", "data", "background"} & {k for k, _ in page.attributes}
    assert not [k for k, _ in page.attributes if k.startswith("on") or ":" in k]
    style = re.search(r"<style>(.*?)</style>", source, re.S)
    assert style is not None
    assert not re.search(r"url\(|@import|expression|javascript:", style[1])
    assert page.tags["style"] == 1
    for name, value in page.attributes:
        if name == "style":
            assert re.fullmatch(r"--share:[01]\.\d{3}", value)
    # Links stay on the page, and lead somewhere.
    assert len(page.ids) == len(set(page.ids))
    assert page.find("a")
    for link in page.find("a"):
        assert link["href"].startswith("#")
        assert link["href"][1:] in page.ids
    for name, value in page.attributes:
        if name in ("aria-labelledby", "aria-describedby"):
            assert set(value.split()) <= set(page.ids)
    # Language, size on a phone, dark mode, paper.
    assert page.find("html") == [{"lang": "en"}]
    metas = {meta.get("name"): meta.get("content") for meta in page.find("meta")}
    assert metas["viewport"] == "width=device-width, initial-scale=1"
    assert metas["color-scheme"] == "light dark"
    assert "@media (prefers-color-scheme: dark)" in style[1]
    assert "@media print" in style[1]
    # The first link skips the navigation; there is one main part.
    assert page.find("a")[0] == {"class": "skip", "href": "#content"}
    assert page.find("main") == [{"id": "content"}]
    assert all("aria-label" in nav for nav in page.find("nav"))
    # Headings begin with one h1 and leave no level out.
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    for before, after in zip(page.headings, page.headings[1:], strict=False):
        assert after <= before + 1
    # Tables: in a box of their own that a keyboard can scroll, with a caption and scopes.
    assert page.tags["table"] == page.tags["caption"] == len(page.tables)
    assert page.tables_outside == 0
    boxes = [box for box in page.find("div") if box.get("class") == "scroll"]
    assert len(boxes) == page.tags["table"]
    assert all(box["tabindex"] == "0" and box["role"] == "region" for box in boxes)
    assert all(box["aria-label"].strip() for box in boxes)
    scopes = {"col", "row", "colgroup", "rowgroup"}
    assert all(header.get("scope") in scopes for header in page.find("th"))
    # Drawings say what they show.
    for svg, inside in zip(page.find("svg"), page.svgs, strict=True):
        assert svg["role"] == "img"
        assert len(svg["aria-labelledby"].split()) == 2
        assert inside[:2] == ["title", "desc"]
    # Every shaded or outlined cell must contain a number.
    for name, attributes in page.elements:
        if name == "td" and "style" in attributes:
            assert "number" in attributes["class"].split()
    return page
