"""Training of many folds at once: pure functions with a leading axis of units.

A unit is one fold of one seed. The first axis of every array of a `TrainState` is the unit axis,
which is sharded over the devices of a mesh. The functions for one unit have no such axis and are
mapped over it, so units cannot see each other and devices do not communicate. All randomness
derives from (seed, fold number, step), so a fold gives the same result alone and among others.
Each source of randomness may have its own seed (`config.seed_of`).
"""

import concurrent.futures
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.typing import ArrayLike

from atnet_jax import models
from atnet_jax.config import Config, seed_of
from atnet_jax.models import Network
from atnet_jax.system import backend, compiled, cpus
from atnet_jax.training import augment
from atnet_jax.training.batches import Batches
from atnet_jax.training.fixed_order import fixed_order
from atnet_jax.training.optimizer import leaf_name, make_optimizer

Inputs = Mapping[str, jax.Array]

# JAX's matmul precision of float32 products for each config.recipe.precision.
PRECISIONS = {"float32": "highest", "tensorfloat32": "tensorfloat32", "bfloat16": "highest"}

_UNIT = "unit"


class TrainState(flax.struct.PyTreeNode):
    """Everything that training changes; a checkpoint contains it.

    The leaves are arrays on the device or the host, or shapes (`jax.ShapeDtypeStruct`).

    Attributes:
        step: Number of optimiser steps taken, `[unit]`.
        params: Trainable parameters.
        batch_stats: Running statistics of batch normalisation.
        opt_state: State of the optimiser.
        key: Random key of the unit, `[unit, 2]`, from which each step derives a key; if only one
            of augmentation and dropout follows the seed, the keys of both, `[unit, 2, 2]`.
    """

    step: Any
    params: Any
    batch_stats: Any
    opt_state: Any
    key: Any

    @property
    def network(self) -> dict[str, Any]:
        """Variables of the network, {"params": …, "batch_stats": …}."""
        return {"params": self.params, "batch_stats": self.batch_stats}


class Metrics(flax.struct.PyTreeNode):
    """Sums over training clips, `[unit]`; dividing them by `count` gives means.

    Of an epoch, `first_loss` is the mean loss of its first step; of a step, it is None.
    """

    loss: jax.Array | np.ndarray
    correct: jax.Array | np.ndarray
    count: jax.Array | np.ndarray
    first_loss: jax.Array | np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Trainer:
    """The compiled functions of one configuration; see `make_trainer`.

    Attributes:
        mesh: Mesh of the devices. The number of units in a group is a multiple of the number of
            devices.
        init: (seeds `[unit]`, fold numbers `[unit]`) → `TrainState`.
        epoch: (state, inputs of all clips, sequence of `Batches`, learning rate) → (state,
            `Metrics`). The given state is donated; use only the returned state.
        predict: (state, inputs of all clips, clip indices `[unit, clip]`) → class probabilities
            `[unit, clip, 3]`.
        lower_epoch: (inputs of all clips, sequence of `Batches`) → the program of `epoch` for
            arrays of these shapes, not compiled. The devices of the mesh need not be at hand.
    """

    mesh: Mesh
    init: Callable[..., TrainState]
    epoch: Callable[..., tuple[TrainState, Metrics]]
    predict: Callable[..., jax.Array | np.ndarray]
    lower_epoch: Callable[..., jax.stages.Lowered]

    def spread(self, tree: Any) -> Any:
        """Shard host arrays over the devices along their leading unit axis."""
        return jax.device_put(tree, NamedSharding(self.mesh, PartitionSpec(_UNIT)))

    def replicate(self, tree: Any) -> Any:
        """Copy host arrays to every device."""
        return jax.device_put(tree, NamedSharding(self.mesh, PartitionSpec()))

    def shapes(self) -> TrainState:
        """Return the shapes of the state of a group with one unit per device."""
        numbers = np.zeros(self.mesh.size, np.int32)
        return jax.eval_shape(self.init, numbers, numbers)

    def unit_shapes(self) -> TrainState:
        """Return the shapes of the state of one unit, without the unit axis."""
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), self.shapes())


def over_units(
    fn: Callable[..., Any], in_axes: tuple[int | None, ...], *, vectorise: bool
) -> Callable[..., Any]:
    """Map a function of one unit over the leading unit axis of its arguments.

    Args:
        fn: The function of one unit.
        in_axes: 0 or None for each argument, as for `jax.vmap`.
        vectorise: Use `jax.vmap`. Otherwise the program contains one unit after another, which is 2
            to 3× faster on a CPU: with separate weights per unit, `vmap` produces grouped
            convolutions and batched products.

    Returns:
        The mapped function, whose results have a leading unit axis.
    """
    if vectorise:
        return jax.vmap(fn, in_axes)

    def loop(*args: Any) -> Any:
        def at(unit: int) -> list[Any]:
            return [
                arg if axis is None else jax.tree.map(lambda leaf: leaf[unit], arg)
                for arg, axis in zip(args, in_axes, strict=True)
            ]

        units = len(jax.tree.leaves(args[0])[0])
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *(fn(*at(k)) for k in range(units)))

    return loop


def side_by_side(
    program: Callable[..., tuple[TrainState, Metrics]], lower: Callable[..., jax.stages.Lowered]
) -> Callable[..., tuple[TrainState, Metrics]]:
    """Run the program of one unit for each unit of a group, as many at once as there are CPUs.

    A small network cannot keep several CPUs busy. The program is the same for any number of CPUs
    and units, and so are its bits.

    Args:
        program: `Trainer.epoch` for groups of one unit.
        lower: `Trainer.lower_epoch`.

    Returns:
        `Trainer.epoch` for groups of any size.
    """
    compiled_for: set[tuple[tuple[int, ...], ...]] = set()

    def epoch(
        state: TrainState,
        inputs: Mapping[str, Any],
        blocks: Sequence[Batches],
        learning_rate: ArrayLike,
    ) -> tuple[TrainState, Metrics]:
        def blocks_of(unit: int) -> list[Batches]:
            return [jax.tree.map(lambda leaf: leaf[:, unit : unit + 1], each) for each in blocks]

        units = blocks[0].labels.shape[1]
        if units == 1:
            return program(state, inputs, blocks, learning_rate)
        shapes = tuple(block.labels.shape for block in blocks)
        if shapes not in compiled_for:  # Otherwise, each thread would compile the program.
            lower(inputs, blocks_of(0)).compile()
            compiled_for.add(shapes)
        state = jax.tree.map(np.asarray, state)

        def train(unit: int) -> tuple[TrainState, Metrics]:
            own = jax.tree.map(lambda leaf: leaf[unit : unit + 1], state)
            return jax.block_until_ready(program(own, inputs, blocks_of(unit), learning_rate))

        with concurrent.futures.ThreadPoolExecutor(min(units, cpus.count())) as pool:
            trained = list(pool.map(train, range(units)))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *trained)

    return epoch


def one_by_one(predict: Callable[..., jax.Array]) -> Callable[..., jax.Array | np.ndarray]:
    """Apply the program of one unit to each unit of a group in turn.

    Args:
        predict: `Trainer.predict` for groups of one unit.

    Returns:
        `Trainer.predict` for groups of any size.
    """

    def run(
        state: TrainState, inputs: Mapping[str, Any], indices: np.ndarray
    ) -> jax.Array | np.ndarray:
        if len(indices) == 1:
            return predict(state, inputs, indices)
        state = jax.tree.map(np.asarray, state)
        parts = [
            predict(jax.tree.map(lambda leaf, k=k: leaf[k : k + 1], state), inputs, own[None])
            for k, own in enumerate(indices)
        ]
        return np.concatenate(parts)

    return run


def apply_network(
    network: Network, precision: str, params: Any, batch_stats: Any, batch: Inputs, **kwargs: Any
) -> Any:
    """Apply a network to a batch, with the matmul precision that JAX is set to.

    Args:
        network: Network of the method.
        precision: The value of config.recipe.precision.
        params: Parameters of the network.
        batch_stats: Running statistics of the network's batch normalisation.
        batch: Inputs of the network by name, float32.
        **kwargs: `train`, and other arguments of Flax's `apply`.

    Returns:
        The result of Flax's `apply`: logits `[clip, 3]`, and the changed variables if `mutable`.
    """
    variables = {"params": in_precision(params, precision), "batch_stats": batch_stats}
    return network.apply(variables, batch, **kwargs)


def make_trainer(
    config: Config, inputs: Mapping[str, np.ndarray], devices: Sequence[Any] | None = None
) -> Trainer:
    """Compile the functions that initialise, train and apply `config.model` on groups of units.

    Args:
        config: The settings of the run.
        inputs: Inputs of all clips by name, `[clip, ...]`; only their shapes are used.
        devices: Devices that share the units. None selects all devices of this process.

    Returns:
        The compiled functions.

    Raises:
        UserError: The method or one of its options is unknown.
    """
    network = models.find(config.model).build_network(config.options.to_dict()).for_training()
    augmentation = augment.Augmentation(**config.recipe.augment)
    one_key = ("augmentation" in config.varied) == ("dropout" in config.varied)

    def init_unit(seed: jax.Array, fold: jax.Array) -> TrainState:
        def keys(source: str) -> jax.Array:
            base = jax.random.key(seed_of(config, source, seed))
            return jax.random.split(jax.random.fold_in(base, fold))

        params_key, key = keys("weights")
        example = {name: jnp.zeros((2, *array.shape[1:])) for name, array in inputs.items()}
        variables = network.init({"params": params_key, "dropout": key}, example, train=True)
        params = variables["params"]
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            batch_stats=variables.get("batch_stats", {}),
            opt_state=make_optimizer(config, 0.0).init(params),
            key=jax.random.key_data(
                keys("dropout")[1]
                if one_key
                else jnp.stack([keys("augmentation")[1], keys("dropout")[1]])
            ),
        )

    def keys_of_step(state: TrainState) -> jax.Array:
        def split(key: jax.Array) -> jax.Array:
            return jax.random.split(jax.random.fold_in(key, state.step))

        unit_key = jax.random.wrap_key_data(state.key)
        if one_key:
            return split(unit_key)
        return jnp.stack([split(unit_key[0])[0], split(unit_key[1])[1]])

    def change_apex(key: jax.Array, frames: jax.Array) -> jax.Array:
        return augment.augment(key, frames, augmentation)

    platform = devices[0].platform if devices else backend.platform()
    devices = list(devices or jax.local_devices())
    precision = config.recipe.precision
    shared = bool(config.recipe.shared_batches)

    def gradients_of_unit(
        params: Any,
        recurrent: Inputs,
        batch_stats: Any,
        batch: Inputs,
        labels: jax.Array,
        weights: jax.Array | None,
        dropout_key: jax.Array,
    ) -> tuple[tuple[Any, Any], tuple[jax.Array, jax.Array, Any]]:
        weight = jnp.ones(labels.shape) if weights is None else weights

        def mean_loss(logits: jax.Array) -> jax.Array:
            return (network.loss(logits, labels) * weight).sum() / jnp.maximum(weight.sum(), 1)

        def loss_fn(
            params: Any, recurrent: Inputs
        ) -> tuple[jax.Array, tuple[jax.Array, jax.Array, Any]]:
            logits, updated = network.apply(
                {"params": params, "batch_stats": batch_stats},
                {**batch, **recurrent},
                train=True,
                weight=weights,
                rngs={"dropout": jax.random.wrap_key_data(dropout_key)},
                mutable=["batch_stats", "auxiliary"],
            )
            loss = mean_loss(logits)
            auxiliary = jax.tree.leaves(updated.get("auxiliary", {}))
            total = loss + sum(mean_loss(own) for own in auxiliary)
            return total, (loss, logits, updated.get("batch_stats", {}))

        return jax.grad(loss_fn, argnums=(0, 1), has_aux=True)(params, recurrent)

    if platform == "tpu" and not shared:
        # The arrays of all units together exceed the fast memory, so that units take turns. Only
        # recurrent layers, whose steps are too small for the chip, are computed side by side.
        gradients_of_unit = jax.custom_batching.sequential_vmap(gradients_of_unit)

    def step_unit(
        state: TrainState,
        params: Any,
        batch: Inputs,
        labels: jax.Array,
        weights: jax.Array | None,
        learning_rate: jax.Array,
    ) -> tuple[TrainState, Metrics]:
        augment_key, dropout_key = keys_of_step(state)
        batch = {name: array.astype(jnp.float32) for name, array in batch.items()}
        if augmentation.probability > 0:
            batch = network.augment(augment_key, batch, change_apex)
        weight = jnp.ones(labels.shape) if weights is None else weights
        count = weight.sum()

        layers = {name: params[name] for name in network.recurrent_layers}
        others = {name: leaf for name, leaf in params.items() if name not in layers}
        features, pull_back = jax.vjp(lambda p: network.recurrent_features(p, batch), layers)
        (gradients, of_features), (loss, logits, batch_stats) = gradients_of_unit(
            others, features, state.batch_stats, batch, labels, weights,
            jax.random.key_data(dropout_key),
        )  # fmt: skip
        gradients = jax.tree.map(
            lambda gradient, leaf: gradient.astype(leaf.dtype),
            {**gradients, **pull_back(of_features)[0]},
            state.params,
        )
        optimizer = make_optimizer(config, learning_rate)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        new = state.replace(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
        )
        if weights is not None:
            # A fold with fewer clips may have no batch left in this step; it keeps its state.
            new = jax.tree.map(lambda a, b: jnp.where(count > 0, a, b), new, state)
        correct = ((logits.argmax(-1) == labels) * weight).sum()
        return new, Metrics(loss=loss * count, correct=correct, count=count)

    def predict_unit(state: TrainState, batch: Inputs) -> jax.Array:
        batch = {name: array.astype(jnp.float32) for name, array in batch.items()}
        logits = apply_network(
            network, precision, state.params, state.batch_stats, batch, train=False
        )
        return jax.nn.softmax(logits)

    # Clips that the units share have no unit axis.
    batch_axis = None if shared else 0
    vectorise = platform != "cpu" or shared
    step_units = over_units(step_unit, (0, 0, batch_axis, 0, 0, None), vectorise=vectorise)
    predict_units = over_units(predict_unit, (0, 0), vectorise=vectorise)

    def gather(inputs: Inputs, indices: jax.Array) -> dict[str, jax.Array]:
        return {name: array[indices] for name, array in inputs.items()}

    def epoch(
        state: TrainState, inputs: Inputs, blocks: Sequence[Batches], learning_rate: jax.Array
    ) -> tuple[TrainState, Metrics]:
        def rounded(state: TrainState) -> Any:
            # Rounded parameters accompany the state, so that the pass over the parameters that
            # updates them also rounds them.
            return in_precision(state.params, precision) if precision == "bfloat16" else None

        def step(carried: tuple[TrainState, Any], batch: Batches) -> tuple[Any, Metrics]:
            state, params = carried
            clips = gather(inputs, batch.indices)
            state, metrics = step_units(
                state, params or state.params, clips, batch.labels, batch.weights, learning_rate
            )
            return (state, rounded(state)), metrics

        totals, steps = [], []
        carried = (state, rounded(state))
        for block in blocks:
            carried, metrics = jax.lax.scan(step, carried, block)
            totals.append(jax.tree.map(lambda leaf: leaf.sum(axis=0), metrics))
            steps.append(metrics)
        sums = jax.tree.map(lambda *leaves: sum(leaves), *totals)
        return carried[0], sums.replace(first_loss=steps[0].loss[0] / steps[0].count[0])

    def predict(state: TrainState, inputs: Inputs, indices: jax.Array) -> jax.Array:
        return predict_units(state, gather(inputs, indices))

    # This rejects unknown options of the network before anything runs.
    jax.eval_shape(init_unit, 0, 0)
    mesh = Mesh(np.array(devices), (_UNIT,))
    unit, whole, by_step = PartitionSpec(_UNIT), PartitionSpec(), PartitionSpec(None, _UNIT)
    block_specs = Batches(whole if config.recipe.shared_batches else by_step, by_step, by_step)

    def on_devices(fn: Callable[..., Any], *in_specs: Any) -> Callable[..., Any]:
        ordered = fixed_order(fn) if platform == "cpu" and config.deterministic else fn

        def precise(*args: Any) -> Any:
            # The contexts must enclose the gradients too: custom ones are traced after the forward
            # pass.
            products = jax.default_matmul_precision(PRECISIONS[precision])
            with backend.tracing_for(platform), products:
                return ordered(*args)

        # The devices exchange no data, so their replicas need no check.
        return jax.shard_map(precise, mesh=mesh, in_specs=in_specs, out_specs=unit, check_vma=False)

    def epoch_on_devices(
        state: TrainState, inputs: Inputs, blocks: Sequence[Batches], learning_rate: jax.Array
    ) -> tuple[TrainState, Metrics]:
        mapped = on_devices(epoch, unit, whole, [block_specs] * len(blocks), whole)
        return mapped(state, inputs, blocks, learning_rate)

    options = compiler_options(platform, deterministic=config.deterministic)
    jit = functools.partial(jax.jit, compiler_options=options)
    # The initialisation runs once per group. With fewer optimisations it compiles in half the time,
    # to the same values.
    quick = {**options, "xla_backend_optimization_level": 1} if platform == "cpu" else options
    init = jax.jit(on_devices(jax.vmap(init_unit), unit, unit), compiler_options=quick)
    epoch_of_group = jit(epoch_on_devices, donate_argnums=0)

    def lower_epoch(inputs: Mapping[str, Any], blocks: Sequence[Batches]) -> jax.stages.Lowered:
        def shapes(tree: Any, spec: PartitionSpec) -> Any:
            sharding = NamedSharding(mesh, spec)
            return jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
            )

        numbers = np.zeros(blocks[0].labels.shape[1], np.int32)
        state = shapes(jax.eval_shape(init, numbers, numbers), unit)
        # As in training, the batches and the rate are on the host: `epoch` finds this program.
        rate = jax.ShapeDtypeStruct((), jnp.float32, weak_type=True)
        return epoch_of_group.lower(state, shapes(dict(inputs), whole), blocks, rate)

    predict_group = jit(on_devices(predict, unit, whole, unit))
    alone = platform == "cpu" and mesh.size == 1 and not shared
    return Trainer(
        mesh=mesh,
        init=init,
        epoch=side_by_side(epoch_of_group, lower_epoch) if alone else epoch_of_group,
        predict=one_by_one(predict_group) if alone else predict_group,
        lower_epoch=lower_epoch,
    )


@functools.cache
def compiler_options(platform: str, *, deterministic: bool = False) -> dict[str, str]:
    """Return the options that make XLA on a CPU use Eigen's convolutions.

    They are faster than the convolutions of YNNPACK. The programs that are compiled with these
    options are kept for later processes.

    Args:
        platform: "cpu", "gpu" or "tpu".
        deterministic: Whether a CPU does without YNNPACK altogether, whose products and sums depend
            on the processor and the number of threads.
    """
    compiled.keep_programs()
    library = "LIBRARY_FUSION_TYPE_DOT,LIBRARY_FUSION_TYPE_REDUCE"
    options = {"xla_cpu_experimental_ynn_fusion_type": "" if deterministic else library}
    if platform != "cpu":
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:  # Some versions of XLA lack this option.
        return {}
    return options


def in_precision(params: Any, precision: str) -> Any:
    """Round the kernels of convolutions and LSTMs if a precision requires it.

    Args:
        params: Parameters of a network.
        precision: The value of config.recipe.precision.

    Returns:
        The parameters as the layers receive them.
    """

    def rounded(path: Sequence[Any], leaf: jax.Array) -> jax.Array:
        return leaf.astype(jnp.bfloat16) if leaf_name(path).endswith("kernel") else leaf

    return jax.tree_util.tree_map_with_path(rounded, params) if precision == "bfloat16" else params
