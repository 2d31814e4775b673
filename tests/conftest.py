"""Fixtures shared by all tests."""

import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

# Compiling takes most of the time, so every process of a test run, also those that tests start,
# finds what another has compiled. A folder of one's own in its place serves the next run too.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="atnet_jax_compiled_")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")

# In this order, before all others.
_LONGEST_FILES = (
    "test_configs",
    "test_experiment",
    "test_train",
    "test_parallel",
    "test_prepare",
    "test_durability",
    "test_pretrain",
    "test_parity",
    "test_variational",
    "test_benchmarks",
    "test_macro",
    "test_tiny_motion",
)


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


@pytest.fixture
def heeds_interrupts() -> Iterator[None]:
    """Processes that the test starts heed Ctrl-C, which is ignored in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
