"""Shared code of the tests of networks: random variables, and comparison with NumPy."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

KEYS = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
LABELS = np.array([0, 2, 1, 0])


def initial_parameters(network: nn.Module, inputs: Any, *more: Any) -> Any:
    """As training starts from; `more` of what the network is called with."""
    # As arguments: XLA works for seconds on what follows from constants.
    init = jax.jit(lambda keys, inputs: network.init(keys, inputs, *more))
    return init(KEYS, inputs)["params"]


def random_variables(network: nn.Module, *arguments: Any) -> dict[str, Any]:
    """Parameters and running statistics of which none is at a constant where it could not be seen.

    Kernels as large as keeps the values of a deep network; scales of both signs.
    """
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: network.init(KEYS, *arguments))

    def draw(path: Any, leaf: Any) -> jax.Array:
        name = path[-1].key
        if name == "var":
            values = rng.uniform(0.5, 2, leaf.shape)
        elif name == "scale":
            values = rng.uniform(0.7, 1.3, leaf.shape) * rng.choice([-1, 1], leaf.shape)
        elif leaf.ndim == 1:
            values = rng.normal(0, 0.3, leaf.shape)
        else:
            fan_in = leaf.size / leaf.shape[-1]
            values = rng.normal(0, np.sqrt(2 / fan_in), leaf.shape)
        return jnp.asarray(values, jnp.float32)

    return jax.tree_util.tree_map_with_path(draw, dict(shapes))


def in_float64(tree: Any) -> Any:
    """A copy for NumPy; the reference may move its statistics."""
    return jax.tree.map(lambda leaf: np.array(leaf, np.float64), tree)


def without_dropout(next_function: Any, args: Any, kwargs: Any, context: Any) -> Any:
    """An interceptor: dropout passes its input on."""
    if isinstance(context.module, nn.Dropout):
        return args[0]
    return next_function(*args, **kwargs)


@functools.cache
def _compiled(network: nn.Module, train: bool) -> Callable[..., Any]:
    @jax.jit
    def applied(variables: Any, inputs: Any, weight: Any) -> Any:
        with nn.intercept_methods(without_dropout):
            return network.apply(variables, inputs, train, weight, mutable=["batch_stats"])

    return applied


def apply(
    network: nn.Module,
    variables: Any,
    inputs: Any,
    train: bool,
    weight: jax.Array | None = None,
) -> tuple[jax.Array, Any]:
    """Logits, and the running statistics after it; without dropout."""
    logits, updated = _compiled(network, train)(variables, inputs, weight)
    return logits, dict(updated).get("batch_stats", {})


def training_gradient(network: nn.Module, variables: Any, inputs: Any) -> Any:
    """Of the mean loss of as many clips as `LABELS`, for the parameters; without dropout."""

    @jax.jit
    def gradient(params: Any, others: Any, inputs: Any) -> Any:
        def loss(params: Any) -> jax.Array:
            with nn.intercept_methods(without_dropout):
                logits, _ = network.apply(
                    {**others, "params": params}, inputs, True, mutable=["batch_stats"]
                )
            return optax.softmax_cross_entropy_with_integer_labels(logits, LABELS).mean()

        return jax.grad(loss)(params)

    others = {name: tree for name, tree in variables.items() if name != "params"}
    return gradient(variables["params"], others, inputs)


def check_slopes(
    gradient: Any, params: Any, reference_loss: Callable[[Any], float], directions: int = 2
) -> None:
    """A gradient against differences of the reference's loss, along random directions."""
    rng = np.random.default_rng(1)
    start, gradient = in_float64(params), in_float64(gradient)
    for _ in range(directions):
        direction = jax.tree.map(
            lambda leaf: rng.normal(0, np.sqrt(np.mean(leaf**2)), leaf.shape), start
        )
        products = jax.tree.map(lambda a, b: float((a * b).sum()), gradient, direction)
        expected = sum(jax.tree.leaves(products))
        ahead, behind = (
            reference_loss(jax.tree.map(lambda p, d, s=step: p + s * d, start, direction))
            for step in (1e-6, -1e-6)
        )
        np.testing.assert_allclose((ahead - behind) / 2e-6, expected, rtol=1e-3, atol=1e-4)


def dropouts(network: nn.Module, variables: Any, inputs: Any) -> list[tuple[float, tuple]]:
    """Rate, and shape of its input without the batch, of each dropout that acts in training."""
    found = []

    def note(next_function: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if isinstance(context.module, nn.Dropout) and not context.module.deterministic:
            found.append((context.module.rate, args[0].shape[1:]))
        return next_function(*args, **kwargs)

    def applied(train: bool) -> Any:
        return network.apply(
            variables, inputs, train, rngs={"dropout": KEYS["dropout"]}, mutable=["batch_stats"]
        )

    with nn.intercept_methods(note):
        jax.eval_shape(lambda: applied(False))
        assert not found
        jax.eval_shape(lambda: applied(True))
    return found


def layer_shapes(network: nn.Module, inputs: Any) -> dict[str, tuple[int, ...]]:
    """Return the output of each named layer without the batch axis; the last of two calls."""
    _, state = jax.eval_shape(
        lambda: network.init_with_output(KEYS, inputs, train=False, capture_intermediates=True)
    )
    shapes = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state["intermediates"]):
        shapes["/".join(entry.key for entry in path[:-2])] = leaf.shape[1:]
    return shapes


def unused(key: jax.Array, pictures: jax.Array) -> jax.Array:
    """The augmentation of apex frames, for networks that have their own."""
    raise AssertionError


def flow_maps(size: int = 28) -> jax.Array:
    """One for each of `LABELS`, in pixels: coarse patterns of different extents."""
    rng = np.random.default_rng(0)
    coarse = rng.normal(size=(len(LABELS), size // 4, size // 4, 3))
    maps = coarse.repeat(4, 1).repeat(4, 2) + rng.normal(0, 0.2, (len(LABELS), size, size, 3))
    return jnp.asarray(rng.uniform(0.2, 3, (len(LABELS), 1, 1, 3)) * maps, jnp.float32)


def check_learning(
    network: nn.Module,
    variables: Any,
    inputs: Mapping[str, jax.Array],
    steps: int,
    optimizer: optax.GradientTransformation,
) -> None:
    """Some steps inside one `scan`, as ours are, halve the loss. The last clip only pads."""
    labels = jnp.asarray(LABELS)
    weight = jnp.ones(len(labels)).at[-1].set(0)

    def step(inputs: Any, state: Any, _: None) -> tuple[Any, jax.Array]:
        params, others, memory = state

        def loss(params: Any) -> tuple[jax.Array, Any]:
            with nn.intercept_methods(without_dropout):
                logits, updated = network.apply(
                    {**others, "params": params}, inputs, True, weight, mutable=["batch_stats"]
                )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return (losses * weight).sum() / weight.sum(), updated

        (value, updated), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        updates, memory = optimizer.update(gradient, memory, params)
        return (optax.apply_updates(params, updates), {**others, **updated}, memory), value

    @jax.jit
    def losses(variables: Any, inputs: Any) -> jax.Array:
        params = variables.pop("params")
        start = params, variables, optimizer.init(params)
        return jax.lax.scan(functools.partial(step, inputs), start, None, steps)[1]

    found = losses(dict(variables), inputs)
    assert found[-1] < 0.5 * found[0], found


def check_units(network: nn.Module, variables: Any, inputs: Mapping[str, jax.Array]) -> None:
    """Two networks in one `vmap` give what each gives alone."""

    def logits(one: Any, inputs: Any) -> jax.Array:
        return network.apply(one, inputs, False)

    # In NumPy: JAX would compile a program for each shape.
    variables = jax.device_get(variables)
    other = jax.tree.map(lambda leaf: leaf[..., ::-1], variables)
    both = jax.tree.map(lambda *leaves: np.stack(leaves), variables, other)
    found, alone = jax.jit(jax.vmap(logits, (0, None)))(both, inputs), jax.jit(logits)
    for unit, one in enumerate((variables, other)):
        np.testing.assert_allclose(found[unit], alone(one, inputs), rtol=1e-3, atol=1e-3)
