"""Worker of this engine: `python -m benchmarks.ours WHAT FOLDER`, started by the benchmark.

WHAT is "train" (train the task of the folder at each request), "check" (write the results of one
batch to the folder) or "peak" (measure the matrix products of this device, without a task).
"""

import functools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict

from atnet_jax import models
from atnet_jax.config import Config
from atnet_jax.data.composite import Composite
from atnet_jax.data.folds import Fold, Unit, make_folds
from atnet_jax.models import ststnet
from atnet_jax.system.memory import keep_freed_memory
from atnet_jax.training import augment
from atnet_jax.training.batches import BatchPlan
from atnet_jax.training.engine import PRECISIONS, make_trainer
from atnet_jax.training.group_size import units_at_once
from atnet_jax.training.optimizer import learning_rate
from benchmarks import task, worker

_CHECKED_CLIPS = 8


def train_ours(config: Config, composite: Composite, folds: Sequence[Fold]) -> Callable[[], float]:
    """Prepare a training with this engine, without scoring and checkpoints, as in the twin.

    Args:
        config: The settings.
        composite: The clips and their inputs.
        folds: The folds to train.

    Returns:
        A function that trains every fold of every seed from the beginning, waits for the device,
        and returns the mean loss of the last epoch. Its first call compiles.
    """
    keep_freed_memory()
    all_folds = make_folds(config.protocol, composite)
    plan = BatchPlan(
        config, [Unit(s, fold, composite.labels) for s in config.seeds for fold in all_folds]
    )
    units = [Unit(s, fold, composite.labels) for s in config.seeds for fold in folds]
    trainer = make_trainer(config, composite.inputs)
    size = units_at_once(config, trainer, composite.inputs, plan, units)
    inputs = trainer.replicate(dict(composite.inputs))
    # Only units of the same seed share batches.
    kinds = config.seeds if config.recipe.shared_batches else [None]
    alike = [[unit for unit in units if seed in (None, unit.seed)] for seed in kinds]
    groups = [own[first : first + size] for own in alike for first in range(0, len(own), size)]

    def train() -> float:
        loss, count = 0.0, 0.0
        for group in groups:
            padded = [*group, *[group[-1]] * (size - len(group))]
            keys = np.array([unit.key for unit in padded], np.int32).T
            state = trainer.init(*trainer.spread(tuple(keys)))
            for epoch in range(config.recipe.num_epochs):
                blocks, rate = plan.blocks(padded, epoch), learning_rate(config, epoch)
                state, sums = trainer.epoch(state, inputs, blocks, rate)
                # The training loop also fetches the loss of every epoch.
                sums = jax.device_get(sums)
                if epoch + 1 == config.recipe.num_epochs:
                    loss += sums.loss[: len(group)].sum()
                    count += sums.count[: len(group)].sum()
        return float(loss / count)

    return train


def check(folder: Path) -> dict[str, Any]:
    """Write the outputs and gradients of one batch, and rotated pictures, to check.npz.

    The arrays are "params/…", "gradients/…" (names joined by slashes), "input_…", "labels",
    "logits" and, for pictures, "degrees" and "rotated". Everything is computed in full float32.
    Normalisation uses the statistics of the batch, and dropout is off. Parameters are random,
    because zero biases and unit scales would hide errors.

    Args:
        folder: Folder of the task.

    Returns:
        The number of clips, as {"clips": …}.
    """
    config, composite, _ = task.load(folder)
    model = models.find(config.model).build_network(config.options.to_dict()).for_training()
    clips = slice(min(_CHECKED_CLIPS, len(composite.labels)))
    inputs = {name: jnp.float32(array[clips]) for name, array in composite.inputs.items()}
    labels = composite.labels[clips]
    keys = dict(zip(("params", "dropout"), jax.random.split(jax.random.key(0)), strict=True))
    rng = np.random.default_rng(0)

    def no_dropout(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        return args[0] if isinstance(context.module, nn.Dropout) else call(*args, **kwargs)

    def loss_fn(params: Any, rest: Mapping[str, Any]) -> tuple[jax.Array, jax.Array]:
        # STSTNet's dropout is a function; other methods use a module.
        undropped = mock.patch.object(ststnet, "drop_half", lambda _, x: x)
        with nn.intercept_methods(no_dropout), undropped:
            logits, _ = model.apply(
                {"params": params, **rest},
                inputs,
                train=True,
                rngs={"dropout": keys["dropout"]},
                mutable=["batch_stats"],
            )
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), logits

    with jax.default_matmul_precision("highest"):
        rest = dict(jax.jit(model.init, static_argnames="train")(keys, inputs, train=True))
        params = jax.tree.map(
            lambda leaf: np.asarray(leaf + 0.02 * rng.standard_normal(leaf.shape), np.float32),
            rest.pop("params"),
        )
        gradients, logits = jax.jit(jax.grad(loss_fn, has_aux=True))(params, rest)
        found = {"labels": labels, "logits": logits}
        if "apex" in inputs:
            degrees = jnp.float32(rng.uniform(-5, 5, len(labels)))
            still = jnp.zeros(2)
            found["degrees"] = degrees
            turn = jax.vmap(augment.rotate_and_translate, (0, 0, None))
            found["rotated"] = turn(inputs["apex"], degrees, still)
    for prefix, tree in (("params", params), ("gradients", gradients)):
        found |= {
            f"{prefix}/{name}": leaf
            for name, leaf in flatten_dict(jax.device_get(tree), sep="/").items()
        }
    found |= {f"input_{name}": array for name, array in inputs.items()}
    arrays: dict[str, Any] = jax.device_get(found)
    np.savez(folder / "check.npz", **arrays)
    return {"clips": len(labels)}


def peak() -> dict[str, Any]:
    """Measure matrix products on the device, the fastest within two seconds.

    Returns:
        The device, and operations per second for each value of `config.recipe.precision` (on a CPU
        only float32).
    """
    on_cpu = jax.default_backend() == "cpu"
    size = 2048 if on_cpu else 8192
    speed = {}
    for name in ("float32",) if on_cpu else PRECISIONS:
        keys = jax.random.split(jax.random.key(0))
        dtype = jnp.bfloat16 if name == "bfloat16" else jnp.float32
        a, b = (jax.random.normal(key, (size, size), dtype) for key in keys)
        with jax.default_matmul_precision(PRECISIONS[name]):
            product = jax.jit(jnp.matmul).lower(a, b).compile()
        product(a, b).block_until_ready()
        seconds, begin = [], time.perf_counter()
        while time.perf_counter() - begin < 2:
            start = time.perf_counter()
            product(a, b).block_until_ready()
            seconds.append(time.perf_counter() - start)
        speed[name] = 2 * size**3 / min(seconds)
    return {
        "backend": jax.default_backend(),
        "kind": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "matmul_flops_per_second": speed,
    }


def _device_peak() -> int | None:
    if jax.default_backend() == "cpu":
        return None
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


def main(what: str, folder: Path) -> None:
    """Answer requests of the benchmark."""

    def prepare() -> Callable[[], dict[str, Any]]:
        if what == "peak":
            return peak
        if what == "check":
            return functools.partial(check, folder)
        train = train_ours(*task.load(folder))
        return lambda: {"loss": train()}

    worker.serve(prepare, _device_peak)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
