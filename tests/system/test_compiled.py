"""The folder of compiled programs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Trains a tiny network and prints the programs found in the cache, and what was learned.
_TRAIN = """
import hashlib, jax, numpy as np
from atnet_jax.config import default_config
from atnet_jax.data.folds import Fold, Unit
from atnet_jax.training.batches import BatchPlan
from atnet_jax.training.engine import make_trainer

hits = []
jax.monitoring.register_event_listener(
    lambda name, **_: hits.append(1) if name.endswith("cache_hits") else None
)
config = default_config("temporal")
config.recipe.steps_per_epoch = 2
adm = np.random.default_rng(0).random((20, 64, 162)).astype(np.float32)
trainer = make_trainer(config, {"adm": adm})
none = np.zeros(0, np.int32)
unit = Unit(0, Fold(0, "a", np.arange(20), none, none), np.arange(20) % 3)
state = trainer.init(*trainer.spread((np.zeros(1, np.int32), np.zeros(1, np.int32))))
state, _ = trainer.epoch(state, {"adm": adm}, BatchPlan(config, [unit]).blocks([unit], 0), 0.1)
digest = hashlib.sha256()
for leaf in jax.tree.leaves(jax.device_get(state)):
    digest.update(np.asarray(leaf).tobytes())
print(len(hits), digest.hexdigest())
"""
# Compiles a program in the cheapest way that keeps it.
_COMPILE = """
import jax
from atnet_jax.system import compiled
compiled._WORTH_KEEPING = 0.0
compiled.keep_programs()
print(jax.jit(lambda x: x + 1)(1))
"""


def run(program: str, caches: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program whose user has the folder `caches` for caches."""
    kept = {name: value for name, value in os.environ.items() if "CACHE" not in name}
    return subprocess.run(
        [sys.executable, "-c", program],
        env={
            **kept, "JAX_DISABLE_MOST_OPTIMIZATIONS": "0", "XDG_CACHE_HOME": str(caches),
            **environment,
        },
        capture_output=True, text=True, check=True,
    )  # fmt: skip


def programs(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*-cache")}


def test_a_second_process_finds_the_programs_and_learns_the_same_bytes(tmp_path: Path):
    fresh = run(_TRAIN, tmp_path).stdout.split()
    assert programs(tmp_path / "atnet_jax" / "compiled")
    found = run(_TRAIN, tmp_path)
    hits, digest = found.stdout.split()
    assert fresh == ["0", digest]
    assert int(hits) >= 2  # init and epoch
    assert not found.stderr


def test_worker_processes_keep_the_programs_of_the_flow(tmp_path: Path):
    (tmp_path / "flow_of_nothing.py").write_text(
        "import numpy as np\n"
        "from atnet_jax.preprocessing.optical_flow import flow_method\n"
        "def total(name):\n"
        "    return flow_method(name).between(*np.zeros((2, 32, 32), np.uint8)).sum()\n"
    )
    program = """
from flow_of_nothing import total
from atnet_jax.system.workers import map_in_order
print(list(map_in_order(total, ["spatiotemporal", "spatiotemporal"], 2)))
"""
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    run(program, tmp_path, PYTHONPATH=path)
    assert programs(tmp_path / "atnet_jax" / "compiled")


@pytest.mark.parametrize(
    "setting",
    [
        {"JAX_ENABLE_COMPILATION_CACHE": "false"},
        {"JAX_COMPILATION_CACHE_DIR": "own"},
        {"JAX_COMPILATION_CACHE_DIR": ""},
    ],
)
def test_the_users_own_setting_wins(tmp_path: Path, setting: dict[str, str]):
    own = {
        name: str(tmp_path / value) if value == "own" else value for name, value in setting.items()
    }
    least = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    assert not run(_COMPILE, tmp_path, **own, **least).stderr
    assert not (tmp_path / "atnet_jax").exists()
    assert bool(programs(tmp_path / "own")) == ("own" in setting.values())


def test_without_a_folder_programs_are_compiled_in_silence(tmp_path: Path):
    (tmp_path / "atnet_jax").write_text("a file in the place of the folder")
    done = run(_COMPILE, tmp_path)
    assert (done.stdout, done.stderr) == ("2\n", "")


def test_what_a_killed_process_left_is_removed(tmp_path: Path):
    folder = tmp_path / "atnet_jax" / "compiled"
    run(_COMPILE, tmp_path)
    whole = programs(folder)
    assert whole
    for name, last_use in (("first", None), ("second", b"")):
        (folder / f"{name}-cache").write_bytes(b"half a program")
        if last_use is not None:
            (folder / f"{name}-atime").write_bytes(last_use)
    (damaged := folder / min(whole)).write_bytes(damaged.read_bytes()[:100])
    done = run(_COMPILE, tmp_path)
    assert (done.stdout, done.stderr) == ("2\n", "")
    assert programs(folder) == whole


def test_the_folder_has_a_size_limit(tmp_path: Path):
    small = _COMPILE.replace("compiled.keep", "compiled._LARGEST = 4000\ncompiled.keep")
    other = small.replace("x + 1", "x * 3 + jax.numpy.sin(x)")
    folder = tmp_path / "atnet_jax" / "compiled"
    run(small, tmp_path)
    first = programs(folder)
    for program in (other, other.replace("sin", "cos"), other.replace("sin", "tan")):
        run(program, tmp_path)
    assert sum(path.stat().st_size for path in folder.glob("*-cache")) <= 4000
    assert not first <= programs(folder)
