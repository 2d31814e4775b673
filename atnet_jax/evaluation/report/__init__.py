"""Reports of finished runs: `atnet report RUN… --out=report.html`.

A report is one HTML file without external resources or scripts, plus its tables in Markdown and
LaTeX. It is computed from the files in the workdirs alone. Names come from users' files, so every
name is escaped.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from atnet_jax.errors import UserError
from atnet_jax.evaluation.report import (
    latex,
    leaderboard,
    markdown,
    page,
    reproducibility,
    standings,
)
from atnet_jax.evaluation.report.blocks import MARK, Document
from atnet_jax.evaluation.report.contents import document
from atnet_jax.evaluation.runs import load_run
from atnet_jax.system.files import write_text_atomically


def write(workdirs: Sequence[Path], out: Path, title: str | None = None) -> None:
    """Write the report of finished runs: `out`, and the same name with .md and .tex.

    Runs that differ only in the seed form one method. An earlier report is overwritten. If an error
    is raised, nothing is written.

    Args:
        workdirs: Folders of the runs, in any order.
        out: File of the page; its name ends in .html.
        title: Heading; None for the method's name or the number of methods.

    Raises:
        UserError: A workdir holds no finished run or a damaged one, two workdirs hold the same
            run, or a file to be written exists and is not a report.
    """
    out = Path(out)
    if out.suffix != ".html":
        raise UserError(f"The name of the report is {out}, but it must end in .html.")
    if not workdirs:
        raise UserError("No run was given. Pass the workdir of at least one run.")
    if not out.parent.is_dir():
        raise UserError(
            f"The folder {out.parent} does not exist. Create it, or choose another file than {out}."
        )
    formats = _formats(out)
    _write(formats, document([load_run(workdir) for workdir in workdirs], title))


def write_leaderboard(workdir: Path) -> Path | None:
    """Write the leaderboard of the runs in `workdir`/PROTOCOL/METHOD/seed_N.

    The files are report.html, report.md, report.tex and leaderboard.csv in `workdir`. Earlier
    versions are overwritten.

    Args:
        workdir: Folder of the runs.

    Returns:
        The path of the page; None, with nothing written, if no run is finished.

    Raises:
        UserError: A file to be written exists and is not part of a leaderboard.
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


def write_reproducibility(
    workdirs: Mapping[str, Sequence[Path]], without_effect: Sequence[str], out: Path
) -> None:
    """Write the page of a reproducibility study: `out`, and the same name with .md and .tex.

    An earlier page is overwritten.

    Args:
        workdirs: Varied source, or "all", → folders of its runs; see `reproducibility.document`.
        without_effect: Sources that cannot change the training.
        out: File of the page; its name ends in .html.

    Raises:
        UserError: A run is damaged, or a file to be written exists and is not a report.
    """
    formats = _formats(out)
    runs = {source: [load_run(folder) for folder in own] for source, own in workdirs.items()}
    _write(formats, reproducibility.document(runs, without_effect))


def _formats(out: Path) -> dict[Path, Callable[[Document], str]]:
    """Return the files of a report with their renderers; refuse to overwrite other files."""
    formats = {
        out: page.render,
        out.with_suffix(".md"): markdown.render,
        out.with_suffix(".tex"): latex.render,
    }
    for path in formats:
        _check_replaceable(path)
    return formats


def _write(formats: dict[Path, Callable[[Document], str]], contents: Document) -> None:
    """Render all files before writing the first."""
    texts = {path: render(contents) for path, render in formats.items()}
    for path, text in texts.items():
        write_text_atomically(path, text)


def _check_replaceable(path: Path, mark: str = MARK) -> None:
    """Refuse to overwrite a file whose beginning does not contain the mark of a report."""
    if not path.exists() and not path.is_symlink():
        return
    try:
        with path.open("rb") as file:
            if mark.encode() in file.read(256):
                return
    except OSError:
        pass
    raise UserError(
        f"{path} exists and is not a report. Move the file away, or choose another --out."
    )
