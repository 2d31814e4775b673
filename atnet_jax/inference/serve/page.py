"""The page on which a clip is given; it works without script too."""

from pathlib import Path
from typing import Any

from atnet_jax.evaluation.report import templates
from atnet_jax.inference.serve.form import FRAMES
from atnet_jax.inference.serve.upload import PICTURES, VIDEOS

_HERE = Path(__file__).parent
_TEMPLATES = templates.load(_HERE)
_DETECTORS = {
    "": "As in the training data",
    "mtcnn": "Find the face (MTCNN)",
    "none": "None: the clip is cropped to the face already",
}


def style(about: dict[str, Any]) -> str:
    """The style sheet: that of all pages, what a form needs besides, and that of the answers."""
    return templates.STYLE + (_HERE / "app.css").read_text() + about["style"]


def index(about: dict[str, Any], max_bytes: int, max_seconds: float, *, local: bool) -> str:
    """The page with the form.

    Args:
        about: the networks: "networks" (a sentence), "notes" (a list of sentences) and "style".
        max_bytes: of an upload.
        max_seconds: that a clip may take.
        local: whether the server can be reached from its own computer alone.
    """
    return _TEMPLATES.get_template("index.html.jinja").render(
        about=about,
        max_bytes=max_bytes,
        max_seconds=max_seconds,
        local=local,
        endings=VIDEOS + PICTURES,
        frames=FRAMES,
        detectors=_DETECTORS,
    )


def error_page(sentence: str) -> str:
    """A page that says why there is no answer."""
    return _TEMPLATES.get_template("error.html.jinja").render(sentence=sentence)
