"""Estimated cost of training on TPUs, from the TPU compiler, without a TPU.

    pip install '.[tpu]'
    python -m benchmarks.tpu --model=fusion --chip=v5e --chips=4 --precision=bfloat16 --out=tpu.json

compiles the training epoch of this engine for TPU chips and prints the memory that the compiler
plans, the operations, and its estimate of the cycles of one optimiser step by part of the network,
with the time of the complete evaluation that follows from it. The estimates are the compiler's
model, not measurements: the ratio of two forms of the same program is more reliable than a time.
"""

import dataclasses
import importlib.util
import math
import os
from collections.abc import Sequence
from typing import Any

from absl import app, flags

# libtpu would otherwise ask a metadata server which TPU this machine has.
os.environ.update(
    JAX_PLATFORMS="cpu",
    TPU_SKIP_MDS_QUERY="1",
    TPU_ACCELERATOR_TYPE="v5litepod-4",
    TPU_WORKER_HOSTNAMES="localhost",
    ALLOW_MULTIPLE_LIBTPU_LOAD="true",
    JAX_ENABLE_COMPILATION_CACHE="false",
)

from jax.experimental import topologies

from atnet_jax.config import Config
from atnet_jax.errors import UserError
from benchmarks import absent, hlo_cost


@dataclasses.dataclass(frozen=True)
class Chip:
    """A kind of TPU chip.

    Attributes:
        memory: High-bandwidth memory in bytes.
        flops: Peak of bfloat16 products, operations per second.
        flops_per_cycle: The same per cycle, from the size and number of the matrix units.
        topologies: Names of the topologies that the compiler knows, by number of chips.
    """

    memory: int
    flops: float
    flops_per_cycle: int
    topologies: dict[int, str]

    @property
    def hertz(self) -> float:
        """Clock of the matrix units."""
        return self.flops / self.flops_per_cycle


_FLAT = {4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8"}
_DEEP = {4: "2x2x1", 8: "2x2x2", 16: "2x2x4", 32: "2x4x4", 64: "4x4x4"}
# Memory and peaks: cloud.google.com/tpu/docs, pages v5e, v5p and v6e. Matrix units per chip: four
# of 128×128 (v5e), eight of 128×128 (v5p), four of 256×256 (v6e).
CHIPS = {
    "v5e": Chip(16 * 2**30, 197e12, 4 * 2 * 128**2, _FLAT),
    "v5p": Chip(95 * 2**30, 459e12, 8 * 2 * 128**2, _DEEP),
    "v6e": Chip(32 * 2**30, 918e12, 4 * 2 * 256**2, _FLAT),
}

_CHIP = flags.DEFINE_enum("chip", "v5e", list(CHIPS), "Kind of chip.")
_COUNT = flags.DEFINE_integer("chips", 4, "Number of chips.", lower_bound=1, upper_bound=64)
_FOLDS = flags.DEFINE_integer(
    "folds_per_chip",
    0,
    "Folds that a chip trains in one program; 0: the automatic choice.",
    lower_bound=0,
)


def main(argv: Sequence[str]) -> None:
    """Compile, and print and write the estimates."""
    absent.run(
        argv, lambda config: estimate(config, _CHIP.value, _COUNT.value, _FOLDS.value), _show
    )


def estimate(
    config: Config, kind: str, count: int, folds_per_chip: int = 0
) -> tuple[dict[str, Any], str]:
    """Compile the epoch of a configuration for chips and read its estimated cost.

    Args:
        config: The settings; one seed of its protocol is trained.
        kind: Kind of chip, from `CHIPS`.
        count: Number of chips, 1 to 64.
        folds_per_chip: Folds that a chip trains in one program; 0 takes the automatic choice.

    Returns:
        The figures, and the text of the program.

    Raises:
        UserError: libtpu is missing, or the method is no network.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise UserError("The TPU compiler is not installed. Run pip install '.[tpu]'.")
    chip = CHIPS[kind]
    layout = chip.topologies[min(size for size in chip.topologies if size >= count)]
    devices = topologies.get_topology_desc(
        platform="tpu", topology_name=f"{kind}:{layout}"
    ).devices[:count]
    program = absent.compile_steps(config, devices, chip.memory, folds_per_chip)
    cost = hlo_cost.read(program.text, absent.STEPS, program.network)
    rounds = math.ceil(program.folds / program.folds_at_once)
    step_seconds = cost.step / chip.hertz
    found = {
        **program.described(config),
        "chip": kind,
        "chips": count,
        "folds_per_chip": program.folds_at_once // count,
        "groups": rounds,
        "memory_bytes": program.memory_bytes(chip.memory),
        "step": {
            "cycles": cost.step,
            "cycles_per_fold": cost.step / (program.folds_at_once // count),
            "seconds": step_seconds,
            "parts": cost.parts,
            "values_without_estimate": cost.without_estimate,
        },
        "epoch_cycles_outside_steps": cost.once,
        "evaluation": {
            "steps": program.steps,
            "seconds": rounds
            * (program.steps * step_seconds + config.recipe.num_epochs * cost.once / chip.hertz),
        },
    }
    return found, program.text


def _show(found: dict[str, Any]) -> None:
    step, memory = found["step"], found["memory_bytes"]
    print(
        f"{found['model']}, {found['precision']}, batches of {found['batch_size']}:"
        f" {found['chips']} × {found['chip']}, {found['folds_per_chip']} folds a chip,"
        f" {found['groups']} group{'s' * (found['groups'] > 1)} for {found['folds']} folds"
        f" (compiled in {found['compile_seconds']:.0f} s)\n"
        f"memory of a chip: arguments {memory['arguments'] / 2**30:.2f} + temporary"
        f" {memory['temporary'] / 2**30:.2f} of {memory['of_the_device'] / 2**30:.0f} GiB\n"
        f"one step: {step['cycles'] / 1e6:.2f} M cycles, {step['cycles_per_fold'] / 1e6:.2f} M a"
        f" fold, {1e3 * step['seconds']:.2f} ms\n"
        f"the whole evaluation, {found['evaluation']['steps']:,} steps a fold:"
        f" {found['evaluation']['seconds']:.0f} s"
    )
    for name, cycles in list(step["parts"].items())[: absent.PARTS.value]:
        print(f"{cycles / 1e6:9.3f} M {cycles / step['cycles']:6.1%}  {name}")
    if step["values_without_estimate"]:
        print("values that instructions without an estimate return in a step:")
        for name, values in step["values_without_estimate"].items():
            print(f"{values / 1e6:9.3f} M  {name}")


if __name__ == "__main__":
    app.run(main)
