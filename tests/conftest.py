"""Fixtures shared by all tests."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

# In this order, before all others.
_LONGEST_FILES = (
    "test_configs",
    "test_run",
    "test_engine",
    "test_parallel",
    "test_prepare",
    "test_durability",
    "test_pretrain",
    "test_parity",
    "test_variational",
    "test_engine_benchmark",
    "test_macro",
    "test_tiny_motion",
    "test_leaderboard",
    "test_published_ststnet",
    "test_vgg_magnified",
    "test_dtscnn",
    "test_capsule_net",
    "test_mmnet",
    "test_htnet",
    "test_tlcnn",
)


def pytest_configure(config: pytest.Config) -> None:
    """Has every process, also those that tests start, find what another one has compiled.

    Or an earlier run: compiling takes most of the time. `pytest --cache-clear` forgets it all.
    """
    known = "JAX_COMPILATION_CACHE_DIR" in os.environ
    if not known and config.pluginmanager.hasplugin("cacheprovider"):
        assert config.cache is not None
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(config.cache.mkdir("compiled"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
    # NumPy's products: the cores are busy with other tests, and waiting threads take time too.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Has no process left alone with a long file at the end."""
    place = {name: number for number, name in enumerate(_LONGEST_FILES)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of features derived from the real databases; they are licence-gated, never shipped."""
    folder = REPOSITORY.parent / "shared" / "real"
    if not folder.is_dir():
        pytest.skip(f"no features of the real databases at {folder}")
    return folder


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared flow maps of three databases, small enough to train STSTNet on in seconds."""
    from tests.tiny_runs import prepare_data  # JAX is imported once the cache is chosen.

    return prepare_data(tmp_path_factory.mktemp("flow_maps"))


@pytest.fixture
def heeds_interrupts() -> Iterator[None]:
    """Processes that the test starts heed Ctrl-C, which is ignored in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
