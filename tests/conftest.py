"""Fixtures shared by all tests."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


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
