"""One small tree of all three databases for the tests of this folder."""

from pathlib import Path

import pytest

from data_builders.synthetic import ClipSpec, generate

SEED = 3


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[ClipSpec]]:
    """Folder with two subjects of one usable clip each per database, and the clips in it."""
    folder = tmp_path_factory.mktemp("synthetic") / "tree"
    specs = generate(folder, subjects=2, clips=1, seed=SEED, num_workers=2)
    return folder, specs


@pytest.fixture(scope="session")
def macro_tree(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[ClipSpec]]:
    """Folder with one subject of three labelled clips per macro-expression set, and the clips."""
    folder = tmp_path_factory.mktemp("synthetic") / "macro"
    datasets = ("ck_plus", "oulu_casia", "jaffe", "mug")
    specs = generate(folder, datasets=datasets, subjects=1, clips=3, seed=SEED, num_workers=2)
    return folder, specs
