"""Digests of basic operations, to see which of them give other bits on another CPU.

    python -m benchmarks.cpu_bits > here.txt
    PJRT_NPROC=1 python -m benchmarks.cpu_bits > one_thread.txt
    qemu-x86_64 -cpu EPYC .venv/bin/python -m benchmarks.cpu_bits > epyc.txt
    diff here.txt epyc.txt

Each line names an operation, and the SHA-256 (first 8 digits) of its result in two programs: with
YNNPACK, as training uses it, and without. With `--deterministic`, one program computes as training
with `config.deterministic` does. The emulator is in Debian's package qemu-user; it does not know
AVX-512, and takes some minutes.
"""

import argparse
import hashlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from atnet_jax.config import default_config
from atnet_jax.experiments.train import make_deterministic
from atnet_jax.training.engine import compiler_options
from atnet_jax.training.fixed_order import fixed_order


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--deterministic", action="store_true", help="as config.deterministic")
    config = default_config("fusion")
    config.deterministic = parser.parse_args().deterministic
    make_deterministic(config)
    rng = np.random.default_rng(0)
    without = compiler_options("cpu", deterministic=True)
    if config.deterministic:
        programs = {"fixed order": (fixed_order, without)}
    else:
        programs = {
            "YNNPACK": (lambda fn: fn, compiler_options("cpu")),
            "without": (lambda fn: fn, without),
        }
    print(f"{'operation':28}", *(f"{name:12}" for name in programs))
    for name, (fn, *shapes) in operations().items():
        args = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
        found = [
            digest(jax.jit(form(fn), compiler_options=options)(*args))
            for form, options in programs.values()
        ]
        print(f"{name:28}", *(f"{text:12}" for text in found), flush=True)


def digest(array: Any) -> str:
    """Return the first digits of the SHA-256 of an array's values."""
    return hashlib.sha256(np.asarray(array).tobytes()).hexdigest()[:8]


def operations() -> dict[str, tuple[Callable[..., Any], *tuple[tuple[int, ...], ...]]]:
    """Return the operations: (function, shapes of its arguments) by name."""

    def product(name: str) -> Callable[..., jax.Array]:
        return lambda a, b: jnp.einsum(name, a, b, precision="highest")

    def conv(stride: int) -> Callable[..., jax.Array]:
        return lambda x, kernel: lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=lax.Precision.HIGHEST,
        )

    return {
        "conv 3×3, 28×28×64": (conv(1), (1, 28, 28, 64), (3, 3, 64, 64)),
        "conv 3×3, 14×14×256": (conv(1), (1, 14, 14, 256), (3, 3, 256, 256)),
        "conv 3×3, 7×7×512": (conv(1), (1, 7, 7, 512), (3, 3, 512, 512)),
        "conv 7×7/2, 112×112×1": (conv(2), (1, 112, 112, 1), (7, 7, 1, 64)),
        "product 784×576×64": (product("ab,bc->ac"), (784, 576), (576, 64)),
        "product 98×4608×512": (product("ab,bc->ac"), (98, 4608), (4608, 512)),
        "product 150×12544×16": (product("ba,bc->ac"), (12544, 150), (12544, 16)),
        "product 70×130, 128 terms": (product("ab,bc->ac"), (70, 128), (128, 130)),
        "product 3×6, 64 terms": (product("ab,bc->ac"), (3, 64), (64, 6)),
        "sum of all": (jnp.sum, (3000, 1001)),
        "mean over places": (lambda x: x.mean((0, 1, 2)), (4, 56, 56, 64)),
        "exp": (jnp.exp, (16, 3000)),
        "tanh": (jnp.tanh, (16, 3000)),
        "1/√x": (lambda x: lax.rsqrt(jnp.abs(x)), (16, 3000)),
        "random normal": (lambda _: jax.random.normal(jax.random.key(0), (1000,)), (1,)),
    }


if __name__ == "__main__":
    main()
