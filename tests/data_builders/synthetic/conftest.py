"""One small tree of all three databases for the tests of this folder."""

import fcntl
import os
from pathlib import Path

import pytest

from data_builders.synthetic import ClipSpec, clip_specs, generate

SEED = 3


def generated(
    factory: pytest.TempPathFactory, name: str, datasets: tuple[str, ...], subjects: int, clips: int
) -> tuple[Path, list[ClipSpec]]:
    """Generate a tree once for all processes of a test run; the first one to come does it."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            generate(
                folder, datasets=datasets, subjects=subjects, clips=clips, seed=SEED, num_workers=2
            )
    return folder, [s for each in datasets for s in clip_specs(each, subjects, clips, SEED)]


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[ClipSpec]]:
    """Folder with two subjects of one usable clip each per database, and the clips in it."""
    return generated(tmp_path_factory, "tree", ("casme2", "samm", "smic"), subjects=2, clips=1)


@pytest.fixture(scope="session")
def macro_tree(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[ClipSpec]]:
    """Folder with one subject of three labelled clips per macro-expression set, and the clips."""
    datasets = ("ck_plus", "oulu_casia", "jaffe", "mug")
    return generated(tmp_path_factory, "macro", datasets, subjects=1, clips=3)
