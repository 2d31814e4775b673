"""The notebooks run, and are shipped with the outputs of a run."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
sys.path.append(str(DOCS))

NOTEBOOKS = sorted(path.name for path in (DOCS / "guides").glob("*.ipynb"))


def kinds(notebook: nbformat.NotebookNode) -> list[tuple[str, list[list[str]]]]:
    """The source of each code cell, and the media types of its outputs."""
    return [
        (cell.source, [sorted(output.get("data", {"text": ""})) for output in cell.outputs])
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def test_there_are_the_four():
    assert NOTEBOOKS == [
        "own_clips.ipynb",
        "quickstart.ipynb",
        "reading_runs.ipynb",
        "two_frames_to_a_map.ipynb",
    ]


@pytest.fixture
def one_cpu() -> Iterator[None]:
    """Leave the others to other tests: on one, `prepare` starts no processes of its own."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture
def fast_flow(tmp_path, monkeypatch) -> None:
    """Have kernels compute the default flow by OpenCV, because it takes most of their time."""
    start = tmp_path / "profile_default" / "startup" / "flow.py"
    start.parent.mkdir(parents=True)
    start.write_text(
        "from atnet_jax.preprocessing.optical_flow import _METHODS\n"
        '_METHODS["spatiotemporal"] = _METHODS["farneback"]\n'
    )
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    # They train for longer than it takes to optimise their programs.
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "0")


@pytest.mark.usefixtures("one_cpu", "fast_flow")
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_gives_outputs_of_the_kinds_that_are_shipped(name):
    from run_notebooks import execute

    path = DOCS / "guides" / name
    shipped = nbformat.read(path, as_version=4)
    assert kinds(execute(path)) == kinds(shipped), f"run `make notebooks` and look at {name}"
    counts = [cell.execution_count for cell in shipped.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert not [o for c in shipped.cells for o in c.get("outputs", []) if o.get("name") == "stderr"]
