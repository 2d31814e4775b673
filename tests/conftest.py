"""Fixtures shared by all tests."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

# Files that take more than 8 s of processor time, the longest first. They start before all others,
# and `--quick` leaves them out. A run names files that are missing here.
_LONG_FILES = (
    "docs/test_notebooks.py",
    "test_configs.py",
    "models/test_parity.py",
    "training/test_engine.py",
    "training/test_durability.py",
    "experiments/test_run.py",
    "preprocessing/test_variational.py",
    "training/test_parallel.py",
    "inference/predict/test_answers.py",
    "models/test_layers.py",
    "data_builders/test_prepare.py",
    "experiments/test_pretrain.py",
    "benchmarks/test_tiny_motion.py",
    "inference/explain/test_explain.py",
    "benchmarks/test_engine_benchmark.py",
    "inference/test_export.py",
    "models/test_models.py",
    "inference/explain/test_integrated_gradients.py",
    "models/test_networks.py",
    "models/test_htnet.py",
    "models/test_stem.py",
    "training/test_platforms.py",
    "training/test_fixed_order.py",
    "data_builders/synthetic/test_portrait.py",
    "data_builders/synthetic/test_macro.py",
    "data_builders/synthetic/test_generate.py",
    "data_builders/synthetic/test_annotation.py",
    "data_builders/synthetic/test_scene.py",
    "models/test_ablations.py",
    "experiments/test_leaderboard.py",
    "experiments/test_study.py",
    "experiments/test_merge.py",
    "inference/predict/test_command_line.py",
    "docs/test_site.py",
    "test_start_up.py",
    "test_python_interface.py",
    "system/test_compiled.py",
    "models/test_ststnet.py",
    "weights/test_import_caffe.py",
    "preprocessing/test_clip.py",
    "training/test_trained.py",
    "inference/spotting/test_intervals.py",
    "inference/serve/test_command.py",
    "models/handcrafted/test_svm.py",
    "training/test_augment.py",
    "training/test_sources.py",
    "training/test_exchange.py",
    "data_builders/test_manifest.py",
    "evaluation/test_comparison.py",
)
_LONG = 8.0  # Seconds.


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--quick`, which `make quick` passes."""
    parser.addoption("--quick", action="store_true", help="leave out the files that take long")


def pytest_configure(config: pytest.Config) -> None:
    """Has every process, also those that tests start, find what another one has compiled.

    Or an earlier run: compiling takes most of the time. `pytest --cache-clear` forgets it all.
    """
    known = "JAX_COMPILATION_CACHE_DIR" in os.environ
    if not known and config.pluginmanager.hasplugin("cacheprovider"):
        assert config.cache is not None
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(config.cache.mkdir("compiled"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
    # A test runs its program for a moment, so LLVM's optimisations of loops cost more than they
    # save. XLA's own passes over the program and the convolutions of Eigen stay the same. What the
    # tests of parity compare with Caffe's layers is optimised as users' programs are.
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    # NumPy's products: the cores are busy with other tests, and waiting threads take time too.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the long files if `--quick` is given."""
    long = collection_path in [REPOSITORY / "tests" / name for name in _LONG_FILES]
    return True if long and config.getoption("quick") else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Has no process left alone with a long file at the end."""
    place = {REPOSITORY / "tests" / name: number for number, name in enumerate(_LONG_FILES)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Name the files that took long but are not known to."""
    seconds: dict[str, float] = {}
    for report in (one for kind in terminalreporter.stats.values() for one in kind):
        if isinstance(report, pytest.TestReport):
            file = report.nodeid.partition("::")[0].removeprefix("tests/")
            seconds[file] = seconds.get(file, 0.0) + report.duration
    for file, took in sorted(seconds.items()):
        if took > 2 * _LONG and file not in _LONG_FILES:
            terminalreporter.write_line(f"{file} took {took:.0f} s: add it to _LONG_FILES.")


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
