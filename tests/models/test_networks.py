"""The networks against plain re-implementations in NumPy (`tests/reference`), one row per network.

Tests of a single network are in its test_NAME.py.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from atnet_jax import models
from tests.models.against_reference import (
    KEYS,
    LABELS,
    apply,
    check_learning,
    check_slopes,
    check_units,
    dropouts,
    flow_maps,
    in_float64,
    layer_shapes,
    random_variables,
    training_gradient,
)
from tests.reference import (
    capsule_net,
    dtscnn,
    dual_inception,
    mmnet,
    off_apexnet,
    plain_layers,
    rcn,
    sssnet,
    tlcnn,
    vgg_magnified,
)

Inputs = Mapping[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Case:
    """One network.

    Attributes:
      name: the method's.
      seen: what training sees of as many clips as `LABELS`.
      reference: (params, running statistics, what is seen, train) → what the network gives; moves
        the statistics in training.
      options: those that are not the default.
      tested: the same clips as they are prepared, where augmentation makes something else of them.
      variables: (network, seen) → of which none is where a mistake would not show.
      modes: in which its outputs are compared: "tested", "trained", and "padded", which is training
        with a last clip that only fills up the batch.
      close: relative and absolute difference allowed in the outputs.
      close_statistics: and in the running statistics.
      spread: the least by which what the reference gives must differ from clip to clip.
      slopes: directions along which the gradient is compared with the reference's loss.
      dropouts: rate and shape of each, in training.
      layers: the shape that a layer gives, at full size.
      parameters: the shape of a parameter.
      recipe: facts of the published training.
      learns: steps, and Adam's rate, that halve the loss.
      units: whether two networks in one `vmap` are compared with each alone.
    """

    name: str
    seen: Callable[[], Inputs]
    reference: Callable[[Any, Any, Mapping[str, np.ndarray], bool], np.ndarray]
    layers: Mapping[str, tuple[int, ...]]
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    tested: Callable[[Inputs], Inputs] = dict
    variables: Callable[[Any, Inputs], Any] = lambda network, seen: random_variables(
        network, seen, False
    )
    modes: tuple[str, ...] = ("tested", "trained")
    close: tuple[float, float] = (1e-3, 1e-3)
    close_statistics: tuple[float, float] = (1e-3, 1e-4)
    spread: float = 0.1
    slopes: int = 0
    dropouts: tuple[tuple[float, tuple[int, ...]], ...] = ()
    parameters: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    learns: tuple[int, float] | None = None
    units: bool = False

    def __str__(self) -> str:
        return "_".join([self.name, *map(str, self.options.values())])

    @functools.cached_property
    def network(self) -> Any:
        method = models.find(self.name)
        return method.build_network({**method.options, **self.options})

    @functools.cached_property
    def drawn(self) -> tuple[Any, Inputs]:
        """Variables and inputs."""
        seen = self.seen()
        return self.variables(self.network, seen), seen


def pictures(seed: int, *shape: int) -> jax.Array:
    levels = np.random.default_rng(seed).integers(0, 256, (len(LABELS), *shape))
    return jnp.asarray(levels, jnp.float32)


def around(face: jax.Array, top: int, left: int, height: int, width: int) -> jax.Array:
    """Five larger frames, in the middle of the third of them this face."""
    frames = jnp.repeat(pictures(9, height, width, 3)[:, None], 5, axis=1)
    rows, columns = face.shape[1:3]
    return frames.at[:, 2, top : top + rows, left : left + columns].set(face)


def prepared_pair(seen: Inputs) -> Inputs:
    """Onset and apex, beside frames that are not to be read."""
    other = pictures(5, *seen["onset"].shape[1:])
    return {
        "onset": jnp.stack([seen["onset"], other], axis=1),
        "apex": jnp.stack([other, seen["apex"], other], axis=1),
        "reach": jnp.ones((len(other), 3)),
    }


def smaller_logits(network: Any, seen: Inputs) -> Any:
    """As drawn, 4,608 inputs would make far larger logits than a trained network's."""
    variables = random_variables(network, seen, False)
    variables["params"]["classifier"]["kernel"] *= 0.2
    return variables


def of_trained_trunk(network: Any, seen: Inputs) -> Any:
    """Of a trained ResNet-10's size; Caffe's normalisation keeps sums."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: network.init(KEYS, seen, train=False))

    def draw(path: Any, leaf: Any) -> jax.Array:
        name = path[-1].key
        level, spread = (128, 50) if path[-2].key == "data_bn" else (0, 1)
        if name == "scale":
            values = rng.uniform(0.7, 1.3, leaf.shape)
        elif name == "weight_sum":
            values = np.array(40.0)
        elif name == "mean_sum":
            values = 40 * (level + spread * rng.normal(0, 0.3, leaf.shape))
        elif name == "variance_sum":
            values = 40 * spread**2 * rng.uniform(1, 4, leaf.shape)
        elif name == "kernel":
            values = rng.normal(0, np.sqrt(2 * leaf.shape[-1] / leaf.size), leaf.shape)
        else:
            values = rng.normal(0, 0.1, leaf.shape)
        return jnp.asarray(values, jnp.float32)

    kept = {name: shapes[name] for name in ("params", "batch_stats")}
    return jax.tree_util.tree_map_with_path(draw, kept)


def random_flows() -> Inputs:
    rng = np.random.default_rng(0)
    shapes = models.find("dtscnn").build_network().input_shapes(224)
    return {
        name: jnp.asarray(rng.normal(size=(len(LABELS), *shape)), jnp.float32)
        for name, shape in shapes.items()
    }


def flow_pictures() -> Inputs:
    return {"flow_picture": jnp.asarray(plain_layers.unit_range(np.asarray(flow_maps(60))))}


def rcn_case(variant: str, **particular: Any) -> Case:
    return Case(
        name="rcn",
        options={"variant": variant},
        seen=flow_pictures,
        reference=lambda params, running, x, train: rcn.logits(
            variant, x["flow_picture"], params, running, train
        ),
        modes=("tested", "trained", "padded"),
        close=(1e-3, 1e-4),
        close_statistics=(1e-4, 1e-5),
        slopes=1,
        parameters={"classifier/kernel": (7, 7, 64, 3), "classifier/bias": (3,)},
        recipe={
            "batch_size": 64, "num_epochs": 100, "optimizer": "sgd", "learning_rate": 5e-4,
            "momentum": 0.9, "decay_epochs": 0,
        },
        learns=(8, 1e-2),
        **particular,
    )  # fmt: skip


CASES = (
    Case(
        name="capsule_net",
        # The smallest there is: 32 capsules.
        seen=lambda: {"face": pictures(0, 129, 129, 3)},
        tested=lambda seen: {"faces": around(seen["face"], 3, 4, 135, 138)},
        reference=lambda params, running, x, train: capsule_net.lengths(
            params, running, x["face"], train
        ),
        modes=("tested", "padded"),
        close=(2e-3, 0.0),
        spread=0.01,
        layers={
            "conv1": (112, 112, 64),
            "layer1": (112, 112, 64),
            "layer2": (56, 56, 128),
            "layer3": (28, 28, 256),
            "conv2": (20, 20, 256),
            "primary": (6, 6, 256),
            "capsules": (3, 16),
            "": (3,),
        },
        parameters={"capsules/kernel": (3, 1152, 16, 8)},
    ),
    Case(
        name="dtscnn",
        seen=random_flows,
        reference=lambda params, running, x, train: dtscnn.logits(
            params, x["flow_64"], x["flow_128"]
        ),
        modes=("tested",),
        layers={
            **{f"stream_{steps}/conv1": (steps, 28, 28, 16) for steps in (64, 128)},
            **{f"stream_{steps}/conv2": (steps // 4, 14, 14, 32) for steps in (64, 128)},
            **{f"stream_{steps}": (steps // 16 * 7 * 7 * 32,) for steps in (64, 128)},
            "classifier": (3,),
        },
        parameters={"classifier/kernel": (18816, 3)},
    ),
    Case(
        name="dual_inception",
        seen=lambda: {"flow_map": flow_maps()},
        reference=lambda params, running, x, train: dual_inception.logits(x["flow_map"], params),
        close=(1e-4, 1e-4),
        slopes=2,
        layers={
            **{
                f"{stream}/inception{number}/{branch}": (size, size, channels)
                for stream in ("u", "v")
                for number, size, channels in ((1, 28, 6), (2, 14, 16))
                for branch in (
                    "alone", "before_conv3", "conv3", "before_conv5", "conv5", "after_pool"
                )
            },
            **{f"{stream}/inception1": (28, 28, 24) for stream in ("u", "v")},
            **{f"{stream}/inception2": (14, 14, 64) for stream in ("u", "v")},
            "u": (3136,),
            "v": (3136,),
            "hidden": (1024,),
            "classifier": (3,),
        },
        recipe={"batch_size": 3, "num_epochs": 40, "optimizer": "adam", "learning_rate": 1e-4},
        learns=(8, 1e-4),
    ),
    Case(
        name="mmnet",
        # Its last map is 3×3.
        seen=lambda: {"onset": pictures(0, 40, 40, 3), "apex": pictures(1, 40, 40, 3)},
        tested=prepared_pair,
        variables=smaller_logits,
        reference=lambda params, running, x, train: mmnet.logits(
            params, running, x["onset"], x["apex"], train
        ),
        modes=("tested", "padded"),
        close=(2e-3, 2e-3),
        dropouts=tuple((rate, (9, 512)) for rate in (0.0, 0.15, 0.3) for _ in range(2)),
        layers={
            "motion_conv": (112, 112, 180),
            "conv1": (112, 112, 128),
            **{
                f"block{number}/{layer}": (side, side, channels)
                for number, side, features in (
                    (1, 112, 128), (2, 56, 128), (3, 28, 256), (4, 14, 512)
                )
                for layer, channels in (
                    ("second_bn", features),
                    ("attention_bn", 1),
                    *([("shortcut_bn", features)] if number > 1 else []),
                )
            },
            "positions": (14, 14, 512),
            "classifier": (3,),
        },
        parameters={"classifier/kernel": (100352, 3), "positions/place": (196, 512)},
    ),
    Case(
        name="off_apexnet",
        seen=lambda: {"flow_map": flow_maps()},
        reference=lambda params, running, x, train: off_apexnet.logits(x["flow_map"], params),
        close=(1e-4, 1e-4),
        slopes=2,
        dropouts=((0.5, (1024,)), (0.5, (1024,))),
        layers={
            **{f"{stream}/conv1": (28, 28, 6) for stream in ("u", "v")},
            **{f"{stream}/conv2": (14, 14, 16) for stream in ("u", "v")},
            "u": (784,),
            "v": (784,),
            "hidden1": (1024,),
            "hidden2": (1024,),
            "classifier": (3,),
        },
        recipe={"batch_size": 64, "num_epochs": 3000, "optimizer": "adam", "learning_rate": 1e-4},
        learns=(8, 1e-3),
    ),
    rcn_case(
        "a",
        dropouts=((0.5, (28, 28, 64)), (0.5, (14, 14, 64))),
        layers={
            "stem/conv": (56, 56, 64),
            "stem": (56, 56, 64),
            "Dropout_0": (28, 28, 64),
            "recurrent_convolution/feed_forward": (28, 28, 64),
            "recurrent_convolution/recurrent": (28, 28, 64),
            "recurrent_convolution": (14, 14, 64),
        },
    ),
    rcn_case(
        "w",
        units=True,
        dropouts=((0.5, (20, 20, 64)), (0.5, (10, 10, 64))),
        layers={
            "streams/conv1": (20, 20, 32),
            "streams/conv2": (20, 20, 16),
            "streams/conv3": (20, 20, 16),
            "streams": (20, 20, 64),
            "recurrent_convolution/feed_forward": (20, 20, 64),
            "recurrent_convolution/recurrent": (20, 20, 64),
            "recurrent_convolution": (10, 10, 64),
        },
    ),
    Case(
        name="sssnet",
        seen=lambda: {"flow_map": flow_maps(64)},
        reference=lambda params, running, x, train: sssnet.logits(
            x["flow_map"], params, running, train
        ),
        close_statistics=(1e-3, 1e-3),
        slopes=2,
        dropouts=((0.5, (20, 20, 32)), (0.5, (9, 9, 64)), (0.5, (256,))),
        layers={
            "conv1": (60, 60, 32),
            "norm1": (20, 20, 32),
            "conv2": (18, 18, 64),
            "norm2": (9, 9, 64),
            "hidden": (256,),
            "classifier": (3,),
        },
        recipe={
            "batch_size": 32, "num_epochs": 200, "optimizer": "adam", "learning_rate": 1e-4,
            "weight_decay": 1e-3,
        },
        learns=(12, 1e-3),
        units=True,
    ),
    Case(
        name="tlcnn",
        # Five frames a clip.
        seen=lambda: {"sequence": pictures(0, 5, 28, 28)},
        variables=of_trained_trunk,
        reference=lambda params, running, x, train: tlcnn.logits(
            params, running, x["sequence"], train
        ),
        modes=("tested", "padded"),
        close=(2e-3, 2e-3),
        close_statistics=(1e-3, 1e-3),
        spread=0.01,
        # The batch of the spatial stream is the frames.
        layers={
            "spatial/conv1": (28, 28, 64),
            "spatial": (512,),
            "lstm": (32, 512),
            "classifier": (3,),
        },
    ),
    Case(
        name="vgg_magnified",
        # The smallest: the linear layers are nearly all there is.
        seen=lambda: {"face": pictures(0, 32, 32)},
        tested=lambda seen: {
            "faces": jnp.stack([pictures(k, 32, 32) for k in (1, 2)] + [seen["face"]]
            + [pictures(k, 32, 32) for k in (3, 4)], axis=1)
        },
        reference=lambda params, running, x, train: vgg_magnified.logits(params, x["face"]),
        dropouts=((0.5, (4096,)), (0.5, (4096,))),
        layers={
            **{
                f"conv{block}_{number}": (side, side, channels)
                for block, side, channels, count in (
                    (1, 224, 64, 2), (2, 112, 128, 2), (3, 56, 256, 3), (4, 28, 512, 3),
                    (5, 14, 512, 3),
                )
                for number in range(1, count + 1)
            },
            "fc6": (4096,),
            "fc7": (4096,),
            "classifier": (3,),
        },
        parameters={"fc6/kernel": (7 * 7 * 512, 4096)},
    ),
)  # fmt: skip


def those(wanted: Callable[[Case], Any]) -> Any:
    return pytest.mark.parametrize("case", [c for c in CASES if wanted(c)], ids=str)


def full_size(case: Case) -> Inputs:
    shapes = case.network.input_shapes(224)
    return {name: jnp.zeros((1, *shape)) for name, shape in shapes.items()}


@those(lambda case: True)
def test_layers_have_the_published_sizes(case):
    shapes = layer_shapes(case.network, full_size(case))
    assert {name: shapes.get(name) for name in case.layers} == case.layers
    variables = jax.eval_shape(lambda: case.network.init(KEYS, full_size(case), train=True))
    found = {
        "/".join(key.key for key in path): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables["params"])
    }
    assert case.parameters.items() <= found.items()


@pytest.mark.parametrize(
    ("case", "mode"),
    [pytest.param(case, mode, id=f"{case}-{mode}") for case in CASES for mode in case.modes],
)
def test_outputs_and_statistics_are_the_reference_s(case, mode):
    variables, seen = case.drawn
    weight, real = None, len(LABELS)
    if mode == "padded":
        real = 3
        weight = jnp.array([1.0, 1, 1, 0])
        # The padding has no motion, for which a map may be NaN.
        seen = {name: array.at[real].set(0) for name, array in seen.items()}
    given = case.tested(seen) if mode == "tested" else seen
    out, updated = apply(case.network, variables, given, mode != "tested", weight)
    wanted = in_float64(variables)
    running = wanted.get("batch_stats", {})
    clips = {name: np.asarray(array[:real], np.float64) for name, array in seen.items()}
    expected = case.reference(wanted["params"], running, clips, mode != "tested")
    relative, absolute = case.close
    np.testing.assert_allclose(out[:real], expected, rtol=relative, atol=absolute)
    assert np.isfinite(out).all() and np.ptp(expected, axis=0).max() > case.spread
    relative, absolute = case.close_statistics
    close = functools.partial(np.testing.assert_allclose, rtol=relative, atol=absolute)
    jax.tree.map(close, dict(updated), running)


@those(lambda case: True)
def test_gradient_reaches_every_parameter(case):
    """And is the slope of the reference's loss."""
    variables, seen = case.drawn
    gradient = training_gradient(case.network, variables, seen)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.isfinite(leaf).all() and np.abs(leaf).max() > 0, path
    if not case.slopes:
        return

    def loss(params):
        running = in_float64(variables.get("batch_stats", {}))
        out = case.reference(params, running, in_float64(seen), True)
        return plain_layers.cross_entropy(out, LABELS)

    check_slopes(gradient, variables["params"], loss, case.slopes)


@those(lambda case: True)
def test_dropout_in_training(case):
    assert dropouts(case.network, *case.drawn) == list(case.dropouts)


@those(lambda case: case.learns)
def test_learns(case):
    steps, rate = case.learns
    check_learning(case.network, *case.drawn, steps, optax.adam(rate))


@those(lambda case: case.units)
def test_units_do_not_see_each_other(case):
    check_units(case.network, *case.drawn)


@those(lambda case: case.recipe)
def test_recipe_is_the_published_one(case):
    assert case.recipe.items() <= models.find(case.name).recipe.items()


@those(lambda case: case.name in ("dual_inception", "off_apexnet"))
def test_streams_read_their_own_component_and_none_the_strain(case):
    variables, seen = case.drawn
    logits, _ = apply(case.network, variables, seen, False)
    for channel, changes in ((0, True), (1, True), (2, False)):
        others = seen["flow_map"].at[..., channel].multiply(jnp.linspace(0, 1, 28))
        changed, _ = apply(case.network, variables, {"flow_map": others}, False)
        assert np.allclose(changed, logits, rtol=1e-4, atol=1e-4) != changes
