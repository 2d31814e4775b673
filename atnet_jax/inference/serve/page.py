"""The page with the upload form; it also works without scripts."""

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
    "none": "None: the clip is already cropped to the face",
}


def style(about: dict[str, Any]) -> str:
    """Return the style sheet: the styles of all pages, of the form, and of results.

    Args:
        about: Description of the networks; "style" is the style of results.
    """
    return templates.STYLE + (_HERE / "app.css").read_text(encoding="utf-8") + about["style"]


def index(about: dict[str, Any], max_bytes: int, max_seconds: float, *, local: bool) -> str:
    """Return the page with the form as HTML.

    Args:
        about: Description of the networks: "networks" (a sentence), "notes" (a list of sentences)
            and "style".
        max_bytes: Largest size of an upload in bytes.
        max_seconds: Longest time of a prediction in seconds.
        local: True if the server can only be reached from its own computer.
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
    """Return a page with an error message as HTML.

    Args:
        sentence: The message.
    """
    return _TEMPLATES.get_template("error.html.jinja").render(sentence=sentence)
