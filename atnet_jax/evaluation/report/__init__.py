"""What runs are read by: `atnet report RUN… --out=report.html`.

A report is one HTML file that needs no network and no script, and beside it the same tables in
Markdown and LaTeX. It is made from what the workdirs hold and from nothing else. Names come from
users' files, so every one is escaped.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from atnet_jax.errors import UserError
from atnet_jax.evaluation.report import latex, leaderboard, markdown, page, standings
from atnet_jax.evaluation.report.blocks import MARK, Document
from atnet_jax.evaluation.report.contents import document
from atnet_jax.evaluation.runs import load_run
from atnet_jax.system.files import write_text_atomically


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
    formats = _formats(out)
    _write(formats, document([load_run(workdir) for workdir in workdirs], title))


def write_leaderboard(workdir: Path) -> Path | None:
    """Write the leaderboard of the runs in `workdir`/PROTOCOL/METHOD/seed_N.

    report.html, report.md, report.tex and leaderboard.csv; earlier ones are overwritten.

    Returns:
        The page, or None where no run is finished: then nothing is written.

    Raises:
        UserError: a file that would be written is there and is none of these.
    """
    page_path, table_path = workdir / "report.html", workdir / "leaderboard.csv"
    formats = _formats(page_path)
    _check_replaceable(table_path, leaderboard.CSV_BEGINS)
    boards, missing = standings.read(workdir)
    if not boards:
        return None
    formats[table_path] = lambda _: leaderboard.as_csv(boards, missing)
    _write(formats, leaderboard.document(boards, missing))
    return page_path


def _formats(out: Path) -> dict[Path, Callable[[Document], str]]:
    """The files of a report, none of which is something else, and what renders each."""
    formats = {
        out: page.render,
        out.with_suffix(".md"): markdown.render,
        out.with_suffix(".tex"): latex.render,
    }
    for path in formats:
        _check_replaceable(path)
    return formats


def _write(formats: dict[Path, Callable[[Document], str]], contents: Document) -> None:
    """Renders all files before it writes one."""
    texts = {path: render(contents) for path, render in formats.items()}
    for path, text in texts.items():
        write_text_atomically(path, text)


def _check_replaceable(path: Path, mark: str = MARK) -> None:
    """A report says what it is in its first lines."""
    if not path.exists() and not path.is_symlink():
        return
    try:
        with path.open("rb") as file:
            if mark.encode() in file.read(256):
                return
    except OSError:
        pass
    raise UserError(f"{path} is there and is no report; move it away, or choose another --out")
