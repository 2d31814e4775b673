"""One small tree of all three databases for the tests of this folder."""

from pathlib import Path

import pytest

from atnet_jax.synthetic import ClipSpec, generate

SEED = 3


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[ClipSpec]]:
    """Folder with two subjects of one usable clip each per database, and the clips in it."""
    folder = tmp_path_factory.mktemp("synthetic") / "tree"
    specs = generate(folder, subjects=2, clips=1, seed=SEED, num_workers=2, progress=False)
    return folder, specs
