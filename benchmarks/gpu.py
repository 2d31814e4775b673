"""Estimated cost of training on an NVIDIA H100, from the GPU compiler, without a GPU.

    pip install '.[gpu-compiler]'
    python -m benchmarks.gpu --model=fusion --precision=bfloat16 --folds_at_once=17 --out=gpu.json

compiles the training epoch of this engine for one H100 and prints, for one optimiser step, the
memory that the compiler plans, the number of kernels, the compiler's estimate of the time of those
that it generates, by part of the network, and the operations of the convolutions.

Matrix products and convolutions are calls of cuBLAS and cuDNN, for which the compiler has no
estimate. For convolutions, the least time at the peaks of the chip is computed. The figures
therefore give no time of a step; they compare forms of the same program.
"""

import collections
import dataclasses
import importlib.util
import os
from collections.abc import Sequence
from typing import Any

from absl import app, flags

os.environ.update(
    JAX_PLATFORMS="cpu",
    JAX_ENABLE_COMPILATION_CACHE="false",
    # The first has the compiler write its estimates into the program. The second leaves products to
    # cuBLAS: without a GPU to tune them on, the compiler's own get tiles of 16×8, and the estimates
    # of these exceed all others.
    XLA_FLAGS=os.environ.get("XLA_FLAGS", "")
    + " --xla_gpu_collect_cost_model_stats=true --xla_gpu_enable_triton_gemm=false",
)

from jax.experimental import topologies

from atnet_jax.config import Config
from atnet_jax.errors import UserError
from benchmarks import absent, hlo_cost

_MEMORY = 80 * 2**30
# Peaks of the SXM5 card: bfloat16 products without sparsity, and memory.
_FLOPS, _BYTES = 989e12, 3.352e12
_HERTZ = 1.98e9
# An H100 in the compiler's description of devices, stream_executor/device_description.proto of XLA.
_H100 = f"""
gpu_device_info {{
  cuda_compute_capability {{ major: 9 }}
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: {_HERTZ / 1e9}
  memory_bandwidth: {_BYTES:.0f}
  device_memory_size: {_MEMORY}
  l2_cache_size: 52428800
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  registers_per_block_limit: 65536
  registers_per_core_limit: 65536
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 8 }}
runtime_version {{ major: 12 minor: 9 }}
device_description_str: "NVIDIA H100 80GB HBM3"
"""

_FOLDS = flags.DEFINE_integer(
    "folds_at_once", 0, "Folds that train in one program; 0: the automatic choice.", lower_bound=0
)


def main(argv: Sequence[str]) -> None:
    """Compile, and print and write the estimates."""
    absent.run(argv, lambda config: estimate(config, _FOLDS.value), _show)


def estimate(config: Config, folds_at_once: int = 0) -> tuple[dict[str, Any], str]:
    """Compile the epoch of a configuration for an H100 and read its estimated cost.

    Args:
        config: The settings; one seed of its protocol is trained.
        folds_at_once: Folds that train in one program; 0 takes the automatic choice.

    Returns:
        The figures, and the text of the program.

    Raises:
        UserError: JAX's CUDA plugin is missing, or the method is no network.
    """
    if importlib.util.find_spec("jax_cuda12_plugin") is None:
        raise UserError("The GPU compiler is not installed. Run pip install '.[gpu-compiler]'.")
    devices = topologies.get_topology_desc(
        platform="cuda", topology="1x1x1", target_config=_H100
    ).devices
    program = absent.compile_steps(config, devices, _MEMORY, folds_at_once)
    cost = hlo_cost.read(program.text, absent.STEPS, program.network)
    kernels = collections.Counter[str]()
    for kind, _, rounds in hlo_cost.kernels_of_a_step(program.text, absent.STEPS):
        kernels[kind] += rounds
    found = {
        **program.described(config),
        "device": devices[0].device_kind,
        "folds_at_once": program.folds_at_once,
        "memory_bytes": program.memory_bytes(_MEMORY),
        "step": {
            "kernels": dict(kernels.most_common()),
            "estimated_seconds": cost.step / _HERTZ,
            "parts": {name: cycles / _HERTZ for name, cycles in cost.parts.items()},
            "values_without_estimate": cost.without_estimate,
            "convolutions": {
                kind: dataclasses.asdict(total)
                for kind, total in hlo_cost.convolutions(
                    program.text, absent.STEPS, _FLOPS, _BYTES
                ).items()
            },
        },
    }
    return found, program.text


def _show(found: dict[str, Any]) -> None:
    step, memory = found["step"], found["memory_bytes"]
    print(
        f"{found['model']}, {found['precision']}, batches of {found['batch_size']}: one"
        f" {found['device']}, {found['folds_at_once']} of {found['folds']} folds at once"
        f" (compiled in {found['compile_seconds']:.0f} s)\n"
        f"memory: arguments {memory['arguments'] / 2**30:.2f} + temporary"
        f" {memory['temporary'] / 2**30:.2f} of {memory['of_the_device'] / 2**30:.0f} GiB\n"
        f"one step: {sum(step['kernels'].values()):,} kernels; convolutions:"
    )
    for kind, total in step["convolutions"].items():
        print(
            f"{total['calls']:6,} {kind}: {total['operations'] / 1e9:,.0f} G operations,"
            f" {total['bytes'] / 1e9:.2f} GB, at least {1e3 * total['least_seconds']:.2f} ms"
        )
    print(
        "estimate of the kernels that are no products or convolutions:"
        f" {1e3 * step['estimated_seconds']:.2f} ms"
    )
    for name, seconds in list(step["parts"].items())[: absent.PARTS.value]:
        print(f"{1e3 * seconds:9.3f} ms {seconds / step['estimated_seconds']:6.1%}  {name}")


if __name__ == "__main__":
    app.run(main)
