"""Jinja templates of all pages: every text is escaped, and undefined names are errors."""

from pathlib import Path
from typing import Any

import jinja2

from atnet_jax.evaluation.report.blocks import fit

_HERE = Path(__file__).parent

STYLE = (_HERE / "style.css").read_text(encoding="utf-8")
"""The style sheet of all pages."""


def load(folder: Path = _HERE) -> jinja2.Environment:
    """Return the environment with the templates of a folder and the layout and style of all pages.

    Args:
        folder: Folder of the templates.
    """
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, _HERE]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_fit,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _fit(value: Any) -> Any:
    """Apply `fit` to plain text; markup is made of text that was already fitted."""
    return fit(value) if type(value) is str else value
