"""The networks and their training, compared with Caffe's layers in NumPy (`tests/reference`).

The reference computes in float64, ours in float32. Errors are relative: the length of the
difference of two arrays over the length of the reference's.

Outputs, losses and statistics depend continuously on what goes before, and agree to float32's
rounding. Gradients do not: a value within rounding of a ReLU's or maximum's kink may fall on its
other side, which moves the gradients of all layers below by about 1 %. That happens in one of some
fifty batches of these sizes, and which one it is may differ from machine to machine.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from threadpoolctl import threadpool_limits

from atnet_jax import models
from atnet_jax.config import default_config
from atnet_jax.models.layers import batch_norm, lstm, resnet10
from atnet_jax.training.batches import Batches
from atnet_jax.training.engine import make_trainer
from atnet_jax.training.optimizer import learning_rate
from tests.reference import caffe_layers as caffe
from tests.reference import networks

CLIPS, CLASSES = 4, 3
# Ragged, and such that pooling must round up in both directions: 60 → 30 → 15, 44 → 22 → 11.
SMALL = (60, 44)

STATISTICS = ("mean_sum", "variance_sum", "weight_sum")
OUR_NAMES = {
    caffe.Convolution: ("kernel", "bias"),
    caffe.BatchNorm: STATISTICS,
    caffe.Scale: ("scale", "bias"),
    caffe.LSTM: ("input_kernel", "gate_bias", "recurrent_kernel"),
    caffe.InnerProduct: ("kernel", "bias"),
}
# Kernels [out, in, row, column] → [row, column, in, out], matrices [out, in] → [in, out].
OUR_AXES = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}


def our_place(layer: str) -> tuple[str, ...]:
    """The module of ours that is the release's layer of this name."""
    if layer == networks.CLASSIFIER:
        return ("classifier", "Micro_expression")
    if layer.startswith("lstm"):
        return ("temporal", layer)
    return ("spatial", layer.replace("scale", "bn"))


def in_our_tree(net: caffe.Net, arrays: str) -> dict[str, Any]:
    """The reference's "blobs", or their "diffs", as our "params" and "batch_stats"."""
    leaves = {}
    for layer_name, layer in net.layers.items():
        for name, array in zip(
            OUR_NAMES.get(type(layer), ()), getattr(layer, arrays), strict=False
        ):
            collection = "batch_stats" if name in STATISTICS else "params"
            array = array[0] if name == "weight_sum" else array.transpose(OUR_AXES[array.ndim])
            leaves[collection, *our_place(layer_name), name] = array
    return {"params": {}, "batch_stats": {}, **unflatten_dict(leaves)}


def our_variables(net: caffe.Net) -> dict[str, Any]:
    """The reference's blobs as our network takes them."""
    return jax.tree.map(np.float32, in_our_tree(net, "blobs"))


def relative_errors(ours: Any, reference: Any) -> dict[str, float]:
    """Path → |ours - reference| / |reference|, of two trees of the same paths and shapes.

    The length of an array counts as at least 1 % of its whole layer's: the gradient of conv1's
    bias is zero, for a normalisation follows, and what is left of it is rounding.
    """
    ours, reference = flatten_dict(ours), flatten_dict(reference)
    assert ours.keys() == reference.keys()
    layers: dict[tuple[str, ...], float] = {}
    for path, array in reference.items():
        layers[path[:-1]] = max(layers.get(path[:-1], 0.0), float(np.linalg.norm(array)))
    errors = {}
    for path, array in reference.items():
        assert ours[path].shape == array.shape, path
        length = max(np.linalg.norm(array), 0.01 * layers[path[:-1]])
        errors["/".join(path)] = float(np.linalg.norm(ours[path] - array) / length)
    return errors


def assert_close(ours: Any, reference: Any, tolerance: float) -> None:
    errors = relative_errors(ours, reference)
    # Not "error > tolerance": a NaN must not pass.
    assert not {name: error for name, error in errors.items() if not error <= tolerance}


def filled(model: str, seed: int = 0) -> caffe.Net:
    """The reference with random blobs that float32 holds exactly."""
    net = networks.fill(networks.build(model), np.random.default_rng(seed))
    return net.astype(np.float32).astype(np.float64)


def some_inputs(
    clips: int, height: int, width: int, rows: int = 64, seed: int = 0
) -> dict[str, np.ndarray]:
    """Raw pictures and ADM features, in Caffe's layout."""
    rng = np.random.default_rng(seed)
    inputs = {
        "apex": networks.pictures(rng, clips, height, width),
        "adm": networks.adm_features(rng, clips, rows),
    }
    return {name: array.astype(np.float32).astype(np.float64) for name, array in inputs.items()}


def our_inputs(model: str, inputs: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    layout = {"apex": (0, 2, 3, 1), "adm": (0, 1, 2)}
    return {
        name: jnp.asarray(inputs[name].transpose(layout[name]), jnp.float32)
        for name in models.find(model).inputs
    }


def our_tops(intermediates: Any) -> dict[str, Any]:
    """The outputs of our network's layers, of those that have parameters."""
    outputs: dict[Any, Any] = flatten_dict(intermediates)
    return unflatten_dict({path: output for path, (output,) in outputs.items() if len(path) == 3})


def reference_tops(net: caffe.Net) -> dict[str, Any]:
    """The same of the reference, in our layout."""
    tops = {}
    for name in net.blobs:
        # Our normalisation ends with the Scale layer, our mask's layer with the sigmoid.
        top = net.tops[name.replace("Concat_", "").replace("_1x1", "")]
        top = top.transpose(0, 2, 3, 1) if top.ndim == 4 else top
        tops[*our_place(name), "__call__"] = top[..., :1] if name.startswith("mask") else top
    return unflatten_dict(tops)


@functools.cache
def dropout_values(model: str, clips: int) -> Callable[[jax.Array], jax.Array]:
    """A compiled function: a dropout key → what our network multiplies its features by."""
    network = models.find(model).build_network()
    inputs = our_inputs(model, some_inputs(clips, 16, 16, rows=8))

    def on_ones(next_fun: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if isinstance(context.module, nn.Dropout):
            args = (jnp.ones_like(args[0]),)
        return next_fun(*args, **kwargs)

    @jax.jit
    def values(key: jax.Array) -> jax.Array:
        with nn.intercept_methods(on_ones):
            _, state = network.init_with_output(
                {"params": key, "dropout": key},
                inputs,
                train=True,
                capture_intermediates=lambda module, _: isinstance(module, nn.Dropout),
            )
        (captured,) = jax.tree.leaves(state["intermediates"])
        return captured

    return values


def set_dropout(net: caffe.Net, model: str, key: jax.Array) -> None:
    """Gives the reference the mask that our network draws from this key in training."""
    layer = net.layers.get("dropout")
    if isinstance(layer, caffe.Dropout):
        values = np.asarray(dropout_values(model, CLIPS)(key))
        assert set(np.unique(values)) == {0, 2}
        layer.mask = values > 0


def check_outputs(model: str, clips: int, height: int, width: int) -> None:
    """Every layer's output in test mode, by the running statistics."""
    net, inputs = filled(model), some_inputs(clips, height, width)
    net.forward(inputs)
    network = models.find(model).build_network()

    @jax.jit
    def apply(variables: Any, inputs: Any) -> Any:
        return network.apply(
            variables, inputs, train=False, capture_intermediates=True, mutable=["intermediates"]
        )

    _, state = apply(our_variables(net), our_inputs(model, inputs))
    # Measured: at most 7e-7.
    assert_close(our_tops(state["intermediates"]), reference_tops(net), 1e-5)


def check_training(
    model: str,
    steps: int = 20,
    *,
    rate: float = 0.01,
    decay: float = 5e-6,
    classifier: float = 1.0,
    tolerance: float = 1e-4,
    **changes: float,
) -> None:
    """Steps of our trainer beside those of Caffe's solver, whose rate drops every 8 steps.

    Args:
      model: the network.
      steps: how many.
      rate: the first learning rate.
      decay: of both.
      classifier: times the weights of the classifier.
      tolerance: of what the steps change in the parameters.
      **changes: further fields of our configuration, and of ours alone.
    """
    config = default_config(model)
    config.recipe.augment.probability = 0.0
    config.recipe.steps_per_epoch, config.recipe.decay_epochs = 4, 2
    config.recipe.learning_rate, config.recipe.weight_decay = rate, decay
    config.recipe.update(changes)
    rng = np.random.default_rng(2)
    inputs = some_inputs(3 * CLIPS, *SMALL, rows=8)
    labels = rng.integers(0, CLASSES, 3 * CLIPS)
    batches = np.stack([rng.permutation(3 * CLIPS)[:CLIPS] for _ in range(steps)])

    net = filled(model)
    weights = net.blobs[networks.CLASSIFIER][0]
    weights[:] = np.float32(classifier * weights)
    start = our_variables(net)

    ours = our_inputs(model, inputs)
    trainer = make_trainer(config, jax.device_get(ours))
    # In place of its `init`, which takes longer to compile than to train: momentum starts at zero.
    zero = np.zeros(1, np.int32)
    shapes = jax.eval_shape(trainer.init, zero, zero)
    state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    state = state.replace(**jax.tree.map(lambda array: jnp.asarray(array)[None], start))
    solver = caffe.SGDSolver(net, rate, 0.9, decay, gamma=0.1, stepsize=8)
    losses, expected = [], []
    for step, batch in enumerate(batches):
        step_key = jax.random.fold_in(jax.random.wrap_key_data(state.key[0]), step)
        set_dropout(net, model, jax.random.split(step_key)[1])
        expected.append(solver.step({name: x[batch] for name, x in inputs.items()}, labels[batch]))
        step_rate = learning_rate(config, step // config.recipe.steps_per_epoch)
        block = Batches(batch[None, None], labels[batch][None, None], None)
        state, metrics = trainer.epoch(state, ours, [block], step_rate)
        losses.append(float(metrics.loss[0] / metrics.count[0]))
    params, batch_stats = jax.tree.map(
        lambda leaf: np.asarray(leaf[0]), (state.params, state.batch_stats)
    )
    end = in_our_tree(net, "blobs")

    def change(end: Any) -> Any:
        return jax.tree.map(np.subtract, end, start["params"])

    np.testing.assert_allclose(losses, expected, rtol=1e-3)
    assert_close(change(params), change(end["params"]), tolerance)
    assert_close(batch_stats, end["batch_stats"], 1e-3)


@pytest.fixture(autouse=True)
def machine():
    """Products in full float32 on accelerators too; NumPy's on one thread; optimised programs.

    More threads wait for each other, and for those of other tests, most of the time. The programs
    of other tests are not optimised.
    """
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", False)
    with jax.default_matmul_precision("highest"), threadpool_limits(1, "blas"):
        yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.mark.parametrize("model", networks.MODELS)
def test_outputs_in_test_mode(model):
    check_outputs(model, 2, 224, 224)


@pytest.mark.parametrize("model", networks.MODELS)
def test_outputs_statistics_and_gradients_in_training(model):
    network = models.find(model).build_network()
    labels = np.arange(CLIPS) % CLASSES
    key = jax.random.key(5)

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def loss_of(params, batch_stats, inputs):
        logits, updated = network.apply(
            {"params": params, "batch_stats": batch_stats},
            inputs,
            train=True,
            rngs={"dropout": key},
            capture_intermediates=True,
            mutable=["batch_stats", "intermediates"],
        )
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), updated

    errors = []
    for seed in range(3):
        net, inputs = filled(model, seed), some_inputs(CLIPS, *SMALL, seed=seed)
        set_dropout(net, model, key)
        variables = our_variables(net)
        (loss, updated), gradients = loss_of(
            variables["params"], variables["batch_stats"], our_inputs(model, inputs)
        )
        # Measured: at most 2e-6 (outputs) and 1e-7 (statistics).
        assert float(loss) == pytest.approx(net.forward_backward(inputs, labels), rel=1e-5)
        assert_close(our_tops(updated["intermediates"]), reference_tops(net), 1e-5)
        batch_stats = in_our_tree(net, "blobs")["batch_stats"]
        assert_close(updated.get("batch_stats", {}), batch_stats, 1e-6)
        errors.append(relative_errors(gradients, in_our_tree(net, "diffs")["params"]))
    # The best of three batches, as kinks may spoil one. Measured: at most 2e-5, of data_bn, whose
    # gradient is what the next normalisation leaves of large terms; 4e-6 of the others.
    for name in errors[0]:
        assert min(each[name] for each in errors) <= 1e-4, name


def test_twenty_steps_of_temporal():
    # No kinks, so rounding alone: measured 4e-6. The recipe's own decay of 5e-6 moves the weights
    # by less than float32 resolves.
    check_training("temporal", decay=0.05)


def test_ten_steps_of_fusion():
    # A classifier as large as released: with one that is 7 times larger the steps are chaotic (the
    # reference itself, started 1e-6 beside, has other losses by 1e-2). Measured without kinks:
    # 2e-3, for weights of about 1 move by 1e-4, which is what float32 knows of that; the reference
    # in float32 differs by as much. Measured with kinks: 3e-2 in the worst of seven starts.
    check_training("fusion", 10, classifier=0.03, tolerance=0.1)


def test_ten_steps_of_micro_attention():
    # Its features are not of unit length: at a rate of 0.01 the steps are chaotic. Measured: 6e-5,
    # for most of the change is decay; 3e-3 with the recipe's.
    check_training("micro_attention", 10, rate=0.001, decay=0.05, tolerance=0.1)


@pytest.mark.parametrize("model", networks.MODELS)
def test_recipe_is_the_released_solver(model):
    config = default_config(model)
    assert (config.recipe.optimizer, config.recipe.momentum, config.recipe.weight_decay) == (
        "sgd",
        0.9,
        5e-6,
    )
    assert (config.recipe.batch_size, config.recipe.bias_learning_rate_factor) == (16, 2)
    rates = [learning_rate(config, epoch) for epoch in range(config.recipe.num_epochs)]
    steps = np.repeat(rates, config.recipe.steps_per_epoch)
    np.testing.assert_allclose(steps, 0.01 * 0.1 ** (np.arange(2500) // 500))


# Each of these changes must take ours and the reference apart.


def test_notices_another_epsilon(monkeypatch):
    monkeypatch.setattr(batch_norm, "EPSILON", 1e-3)
    with pytest.raises(AssertionError):
        check_outputs("spatial", 1, *SMALL)


def test_notices_pooling_that_rounds_down(monkeypatch):
    rounding_down = functools.partial(nn.max_pool, window_shape=(3, 3), strides=(2, 2))
    monkeypatch.setattr(resnet10, "max_pool_rounding_up", rounding_down)
    with pytest.raises(AssertionError):
        check_outputs("spatial", 1, *SMALL)


def test_notices_another_order_of_gates(monkeypatch):
    split = jnp.split
    monkeypatch.setattr(lstm.jnp, "split", lambda *args, **kwargs: split(*args, **kwargs)[::-1])
    with pytest.raises(AssertionError):
        check_outputs("temporal", 1, *SMALL)


@pytest.mark.parametrize("change", [{"bias_learning_rate_factor": 1.0}, {"weight_decay": 0.0}])
def test_notices_another_solver(change):
    with pytest.raises(AssertionError):
        check_training("temporal", steps=3, decay=0.05, **change)
