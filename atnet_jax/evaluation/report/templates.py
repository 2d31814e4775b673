"""The templates of all pages: every text in them is escaped, a misspelt name is an error."""

from pathlib import Path
from typing import Any

import jinja2

from atnet_jax.evaluation.report.blocks import fit

_HERE = Path(__file__).parent

STYLE = (_HERE / "style.css").read_text()
"""The style sheet of all pages."""


def load(folder: Path = _HERE) -> jinja2.Environment:
    """Return the templates of a folder, beside the layout and the style of all pages."""
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
    """A plain text without what cannot stand in a file; what is marked up was one before."""
    return fit(value) if type(value) is str else value
