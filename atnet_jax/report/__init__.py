"""What runs are read by: `python -m atnet_jax.report WORKDIR… --out report.html`.

A report is one HTML file that needs no network and no script, and beside it the same tables in
Markdown and LaTeX. It is made from what the workdirs hold and from nothing else. Names come from
users' files, so every one is escaped.
"""

from collections.abc import Sequence
from pathlib import Path

from atnet_jax.errors import UserError
from atnet_jax.files import write_text_atomically
from atnet_jax.report import latex, markdown, page
from atnet_jax.report.blocks import MARK
from atnet_jax.report.contents import document
from atnet_jax.report.results import table_markdown
from atnet_jax.report.runs import Curve, Exclusion, Run, load_run

__all__ = [
    "Curve",
    "Exclusion",
    "Run",
    "load_run",
    "table_markdown",
    "write",
]


def write(workdirs: Sequence[Path], out: Path, title: str | None = None) -> None:
    """Write the report of finished runs: `out`, and beside it the names ending in .md and .tex.

    Workdirs that differ in the seed alone are one method. An earlier report is overwritten.

    Args:
        workdirs: of the runs, in any order.
        out: the page; its name ends in .html.
        title: heading; None: the method's name, or how many there are.

    Raises:
        UserError: a workdir holds no finished run or a damaged one, two hold the same run, or a
            file that would be written is there and is no report. Nothing has been written then.
    """
    out = Path(out)
    if out.suffix != ".html":
        raise UserError(f"{out}: the name of a report must end in .html")
    if not workdirs:
        raise UserError("give the workdir of one run or more")
    if not out.parent.is_dir():
        raise UserError(f"{out.parent} is no folder; make it, or choose another name than {out}")
    formats = {
        out: page.render,
        out.with_suffix(".md"): markdown.render,
        out.with_suffix(".tex"): latex.render,
    }
    for path in formats:
        _check_replaceable(path)
    contents = document([load_run(workdir) for workdir in workdirs], title)
    texts = {path: render(contents) for path, render in formats.items()}
    for path, text in texts.items():
        write_text_atomically(path, text)


def _check_replaceable(path: Path) -> None:
    """A report says what it is in its first lines."""
    if not path.exists() and not path.is_symlink():
        return
    try:
        with path.open("rb") as file:
            if MARK.encode() in file.read(256):
                return
    except OSError:
        pass
    raise UserError(f"{path} is there and is no report; move it away, or choose another --out")
