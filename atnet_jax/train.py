"""Training many folds at once: pure functions with a leading fold axis.

Every array of a `TrainState` and of a batch has the fold as its first axis. The functions for one
fold are written without it and mapped over it, so folds cannot see each other; all randomness comes
from (seed, fold number, step), so a fold trained alone is the same fold trained among others.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from atnet_jax import augment, models
from atnet_jax.config import Config
from atnet_jax.errors import UserError

Inputs = Mapping[str, jax.Array]


class TrainState(flax.struct.PyTreeNode):
    """Everything training changes; what a checkpoint holds.

    Its leaves are arrays on the device or on the host, or shapes alone (`jax.ShapeDtypeStruct`).

    Attributes:
      step: optimiser steps taken, `[fold]`.
      params: trainable parameters.
      batch_stats: running statistics of batch normalisation.
      opt_state: the optimiser's state.
      key: `[fold, 2]`; the fold's own PRNG key, from which each step's is derived.
    """

    step: Any
    params: Any
    batch_stats: Any
    opt_state: Any
    key: Any


class Metrics(flax.struct.PyTreeNode):
    """Sums over a batch's training clips, `[fold]`: divide by `count` for means."""

    loss: jax.Array
    correct: jax.Array
    count: jax.Array


@dataclasses.dataclass(frozen=True)
class Trainer:
    """The compiled functions of one configuration; see `make_trainer`.

    Attributes:
      init: fold numbers `[fold]` → `TrainState`.
      step: (state, inputs of all clips, clip indices, labels, weights `[fold, batch]` or None,
        learning rate) → (state, `Metrics`). Weight 0 marks padding, None that there is none; a
        fold whose weights are all 0 keeps its state. The state is donated: use the returned one
        only.
      predict: (state, inputs of all clips, clip indices `[fold, clip]`) → class probabilities
        `[fold, clip, 3]`.
    """

    init: Callable[..., TrainState]
    step: Callable[..., tuple[TrainState, Metrics]]
    predict: Callable[..., jax.Array]


def learning_rate(config: Config, epoch: int) -> float:
    """The step schedule: times `decay_factor` every `decay_epochs` epochs."""
    drops = epoch // config.decay_epochs if config.decay_epochs else 0
    return config.learning_rate * config.decay_factor**drops


def _leaf_name(path: Sequence[Any]) -> str:
    return "/".join(str(entry.key) for entry in path)


def make_optimizer(
    config: Config, learning_rate: float | jax.Array
) -> optax.GradientTransformation:
    """The optimiser at one learning rate; its state does not depend on the rate.

    "sgd" orders its terms as Caffe does: weight decay joins the gradient, the learning rate is
    applied before the momentum is (so a drop of the rate does not touch past velocity), biases
    learn at their own rate, and a classifier's bias does not decay.
    """

    def is_bias(path: Sequence[Any], _: Any) -> bool:
        return _leaf_name(path).endswith("/bias")

    def decays(path: Sequence[Any], _: Any) -> bool:
        name = _leaf_name(path)
        return not (name.startswith("classifier") and name.endswith("/bias"))

    def mask(rule: Callable[..., bool]) -> Callable[[Any], Any]:
        return functools.partial(jax.tree_util.tree_map_with_path, rule)

    rates = optax.chain(
        optax.masked(optax.scale(config.bias_learning_rate_factor), mask(is_bias)),
        optax.scale(learning_rate),
    )
    if config.optimizer == "sgd":
        return optax.chain(
            optax.add_decayed_weights(config.weight_decay, mask(decays)),
            rates,
            optax.trace(config.momentum),
            optax.scale(-1.0),
        )
    if config.optimizer == "adam":
        return optax.chain(optax.scale_by_adam(), rates, optax.scale(-1.0))
    raise UserError(f"The optimizer is 'sgd' or 'adam', not {config.optimizer!r}.")


def over_folds(fn: Callable[..., Any], in_axes: tuple[int | None, ...]) -> Callable[..., Any]:
    """Maps a function of one fold over the leading fold axis of its arguments.

    As `jax.vmap`, but on a CPU the folds follow one another inside the program: there, the grouped
    convolution and batched products that `vmap` makes of per-fold weights are about 2× slower.
    """
    if jax.default_backend() != "cpu":
        return jax.vmap(fn, in_axes)

    def loop(*args: Any) -> Any:
        def at(fold: int) -> list[Any]:
            return [
                arg if axis is None else jax.tree.map(lambda leaf: leaf[fold], arg)
                for arg, axis in zip(args, in_axes, strict=True)
            ]

        folds = len(jax.tree.leaves(args[0])[0])
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *(fn(*at(k)) for k in range(folds)))

    return loop


def make_trainer(config: Config, inputs: Mapping[str, np.ndarray]) -> Trainer:
    """Compiles the functions that initialise, train and apply `config.model` on groups of folds.

    Args:
      config: see `atnet_jax.config`.
      inputs: of all clips; only their shapes are used here.

    Raises:
      UserError: an option is not one of those there are.
    """
    model: nn.Module = models.build(config.model, config.options.to_dict())
    augmentation = augment.Augmentation(**config.augment)
    if augmentation.shift_kind not in augment.SHIFT_KINDS:
        raise UserError(
            f"augment.shift_kind is one of {augment.SHIFT_KINDS}, not {augmentation.shift_kind!r}."
        )
    make_optimizer(config, 0.0)  # Refuses an unknown optimiser before anything is compiled.

    def gather(inputs: Inputs, indices: jax.Array) -> dict[str, jax.Array]:
        return {name: array[indices].astype(jnp.float32) for name, array in inputs.items()}

    def init_fold(fold: jax.Array) -> TrainState:
        params_key, key = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), fold))
        example = {name: jnp.zeros((2, *array.shape[1:])) for name, array in inputs.items()}
        variables = model.init({"params": params_key, "dropout": key}, example, train=True)
        params = variables["params"]
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            batch_stats=variables.get("batch_stats", {}),
            opt_state=make_optimizer(config, 0.0).init(params),
            key=jax.random.key_data(key),
        )

    def step_fold(
        state: TrainState,
        inputs: Inputs,
        indices: jax.Array,
        labels: jax.Array,
        weights: jax.Array | None,
        learning_rate: jax.Array,
    ) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        augment_key, dropout_key = jax.random.split(key)
        batch = gather(inputs, indices)
        if "apex" in batch and augmentation.probability > 0:
            batch["apex"] = augment.augment(augment_key, batch["apex"], augmentation)
        weight = jnp.ones(labels.shape) if weights is None else weights
        count = weight.sum()

        def mean_loss(logits: jax.Array) -> jax.Array:
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return (losses * weight).sum() / jnp.maximum(count, 1)

        def loss_fn(params: Any) -> tuple[jax.Array, tuple[jax.Array, jax.Array, Any]]:
            logits, updated = model.apply(
                {"params": params, "batch_stats": state.batch_stats},
                batch,
                train=True,
                weight=weights,
                rngs={"dropout": dropout_key},
                mutable=["batch_stats", "auxiliary"],
            )
            loss = mean_loss(logits)
            auxiliary = jax.tree.leaves(updated.get("auxiliary", {}))
            total = loss + sum(mean_loss(own) for own in auxiliary)
            return total, (loss, logits, updated.get("batch_stats", {}))

        gradients, (loss, logits, batch_stats) = jax.grad(loss_fn, has_aux=True)(state.params)
        optimizer = make_optimizer(config, learning_rate)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        new = state.replace(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
        )
        if weights is not None:
            # A fold with fewer clips may have no batch left in this step: nothing changes.
            new = jax.tree.map(lambda a, b: jnp.where(count > 0, a, b), new, state)
        correct = ((logits.argmax(-1) == labels) * weight).sum()
        return new, Metrics(loss=loss * count, correct=correct, count=count)

    def predict_fold(state: TrainState, inputs: Inputs, indices: jax.Array) -> jax.Array:
        logits: Any = model.apply(
            {"params": state.params, "batch_stats": state.batch_stats},
            gather(inputs, indices),
            train=False,
        )
        return jax.nn.softmax(logits)

    jax.eval_shape(init_fold, 0)  # Refuses unknown options of the network before anything is run.
    return Trainer(
        init=jax.jit(over_folds(init_fold, (0,))),
        step=jax.jit(over_folds(step_fold, (0, None, 0, 0, 0, None)), donate_argnums=0),
        predict=jax.jit(over_folds(predict_fold, (0, None, 0))),
    )
