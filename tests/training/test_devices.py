"""The devices of a run on a CPU."""

import os
import subprocess
import sys

import pytest

from atnet_jax.system import cpus


def run_python(code: str, **variables: str) -> str:
    """Return the output of a fresh process, in which JAX has not started."""
    kept = {name: value for name, value in os.environ.items() if name != "JAX_NUM_CPU_DEVICES"}
    environment = {**kept, "JAX_PLATFORMS": "cpu", **variables}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("before", "variables", "expected"),
    [
        ("", {}, cpus.count()),
        ("jax.devices()", {}, 1),
        ("", {"JAX_NUM_CPU_DEVICES": "3"}, 3),
        ("", {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}, 4),
        ("cpus.share()", {}, 1),
    ],
    ids=["every CPU", "JAX has started", "variable", "flag", "parallel processes"],
)
def test_each_cpu_is_a_device_unless_told_otherwise(before, variables, expected):
    code = f"""
import jax
from atnet_jax.config import default_config
from atnet_jax.system import cpus
from atnet_jax.training.devices import set_options
{before}
set_options(default_config("ststnet"))
set_options(default_config("ststnet"))
print(jax.device_count())
"""
    assert run_python(code, **variables) == str(expected)


def test_units_take_the_devices_that_memory_and_settings_allow():
    code = """
import numpy as np
from atnet_jax.config import default_config
from atnet_jax.data.folds import Fold, Unit
from atnet_jax.training.batches import BatchPlan
from atnet_jax.training.devices import make_trainer_of
from atnet_jax.training.group_size import bytes_of_a_unit, units_at_once

maps = {"flow_map": np.zeros((6, 28, 28, 3), np.float32)}
clips, none = np.arange(6), np.zeros(0, int)
folds = [Fold(k, f"fold {k}", clips[clips != k], none, clips[k : k + 1]) for k in range(6)]
units = [Unit(0, fold, np.zeros(6, np.int32)) for fold in folds]

def taken(units, shared, at_once=0, available=2**40, deterministic=False):
    config = default_config("ststnet")
    config.deterministic = deterministic
    config.recipe.shared_batches, config.engine.folds_per_batch = shared, at_once
    plan = BatchPlan(config, units)
    trainer = make_trainer_of(config, maps, plan, units, available)
    return trainer.mesh.size, units_at_once(config, trainer, maps, plan, units)

config = default_config("ststnet")
config.recipe.shared_batches = False
plan = BatchPlan(config, units)
one = bytes_of_a_unit(make_trainer_of(config, maps, plan, units[:1]), maps, plan, units[0])
shares = [int((n * (one + maps["flow_map"].nbytes)) / 0.8) for n in (0.5, 2.5, 3.5, 9)]
print([taken(units, False, available=share) for share in shares])
print(taken(units[:2], False), taken(units, True), taken(units, False, 3), taken(units, False, 1))
print(taken(units, False, deterministic=True))
"""
    own, others, fixed = run_python(code, JAX_NUM_CPU_DEVICES="4").splitlines()
    assert own == "[(1, 1), (2, 2), (3, 3), (4, 4)]"
    assert others == "(2, 2) (1, 6) (3, 3) (1, 1)"
    assert fixed == "(1, 1)"  # Other CPUs have other numbers of devices, but the same bits.
