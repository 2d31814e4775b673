import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from atnet_jax import models
from atnet_jax.config import default_config
from atnet_jax.data.record import INPUTS
from atnet_jax.errors import UserError
from atnet_jax.training.trained import input_shapes
from tests.reference.plain_layers import unit_range

NETWORKS = [name for name in models.names() if models.is_network(name)]


def example(name: str, batch: int = 2) -> dict[str, jax.Array]:
    rng = np.random.default_rng(0)
    shapes = input_shapes(default_config(name))
    return {k: jnp.asarray(rng.uniform(0, 1, (batch, *s)), jnp.float32) for k, s in shapes.items()}


def test_unknown_model_lists_the_known():
    with pytest.raises(
        UserError,
        match=r"resnet'.*fusion, .*hoof, .*lbp_top, .*ststnet, temporal, .*hoof_n4_tim10",
    ):
        models.load("resnet")


def test_options_of_another_method_are_refused():
    with pytest.raises(UserError, match=r"'spatial' has the options \(none\), not joint.*cde.py:s"):
        models.build("spatial", {"joint": True})


def shapes_of(name: str):
    """Those of the logits and the parameters; nothing is computed."""
    config = default_config(name)
    model = models.build(config.model, config.options.to_dict())
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    inputs = {k: jax.ShapeDtypeStruct((2, *s), "float32") for k, s in input_shapes(config).items()}
    return jax.eval_shape(lambda x: model.init_with_output(keys, x, train=True), inputs)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_has_the_parameters_that_its_file_tells(name):
    """The first number of parameters in the module's docstring is that of its defaults."""
    told = re.search(r"([0-9][0-9,]*) parameters", models.load(name).__doc__)
    out, variables = shapes_of(name)
    assert out.shape == (2, 3)
    assert sum(p.size for p in jax.tree.leaves(variables["params"])) == int(
        told[1].replace(",", "")
    )


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("fusion", 8_312_837),
        ("micro_attention", 5_943_813),
        ("spatial", 4_899_333),
        ("temporal", 3_413_507),
        ("ststnet", 1_683),
        ("off_apexnet", 2_664_475),
        ("dual_inception", 6_449_963),
        ("rcn_a", 55_747),
        ("rcn_w", 52_675),
        ("capsule_net", 13_842_496),
        ("htnet", 139_582_982),
        ("mmnet", 9_241_719),
    ],
)
def test_parameter_counts_are_those_of_the_publications(name, count):
    _, variables = shapes_of(name)
    assert sum(p.size for p in jax.tree.leaves(variables["params"])) == count


@pytest.mark.parametrize("name", [*models.names(), *models.presets()])
def test_what_a_method_says_of_itself(name):
    config = default_config(name)
    module = models.load(config.model)
    assert module.INPUTS and set(module.INPUTS) <= set(INPUTS)
    assert module.__doc__ and models.title(config.model, config.options.to_dict())
    assert all(text.endswith(".") for text in models.deviations(config.model))
    published = models.published(config.model)
    if published is not None:
        assert set(published.cde) <= {"full", "casme2", "samm", "smic"}
        assert all(0 < figure < 1 for pair in published.cde.values() for figure in pair)


@pytest.mark.parametrize("name", ["temporal", "ststnet"])
def test_padding_of_a_batch_does_not_count(name):
    model = models.load(name).Model()
    inputs = example(name, batch=5)
    padded = {k: jnp.concatenate([v, 100 * v[:3]]) for k, v in inputs.items()}
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    variables = model.init(keys, inputs, train=True)

    def statistics(inputs, weight):
        _, updated = model.apply(
            variables, inputs, train=True, weight=weight, rngs=keys, mutable=["batch_stats"]
        )
        return jax.tree.leaves(updated)

    weight = jnp.array([1.0] * 5 + [0.0] * 3)
    for plain, masked in zip(statistics(inputs, None), statistics(padded, weight), strict=True):
        np.testing.assert_allclose(masked, plain, rtol=1e-4)


def test_streams_of_the_fusion_weigh_alike():
    model = models.load("fusion").Model()
    inputs = example("fusion")
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    variables = model.init(keys, inputs, train=True)
    _, state = model.apply(
        variables, inputs, train=False, capture_intermediates=True, mutable=["intermediates"]
    )
    fused = state["intermediates"]["Dropout_0"]["__call__"][0]
    np.testing.assert_allclose(jnp.linalg.norm(fused[:, :512], axis=1), 1, rtol=1e-4)
    np.testing.assert_allclose(jnp.linalg.norm(fused[:, 512:], axis=1), 1, rtol=1e-4)


def test_clip_without_flow_gives_finite_gradients():
    model = models.load("temporal").Model()
    inputs = {"adm": jnp.zeros((2, 64, 128))}
    variables = model.init(jax.random.key(0), inputs, train=True)
    gradient = jax.grad(lambda v: model.apply(v, inputs, train=True)[:, 0].sum())(variables)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_ststnet_is_the_three_streams_of_its_paper():
    """Against the layers written out one stream at a time, with XLA's own convolutions."""
    model = models.load("ststnet").Model()
    inputs = example("ststnet", batch=4)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    variables = model.init(keys, inputs, train=True)
    p = variables["params"]
    x = 255 * unit_range(np.asarray(inputs["flow_map"]))
    streams = []
    for filters in (slice(0, 3), slice(3, 8), slice(8, 16)):
        kernel = p["streams"]["kernel"][:, filters].reshape(3, 3, 3, -1)
        y = jax.lax.conv_general_dilated(
            x, kernel, (1, 1), ((2, 2), (2, 2)), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        y = jnp.maximum(y + p["streams"]["bias"][filters], 0) / np.sqrt(1 + 1e-5)
        y = jax.lax.reduce_window(
            y, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 3, 3, 1), ((0, 0), (1, 1), (1, 1), (0, 0))
        )
        assert y.shape[1:3] == (10, 10)
        streams.append(y.reshape(4, 5, 2, 5, 2, -1).mean((2, 4)))
    flat = jnp.concatenate(streams, axis=-1).reshape(4, 400)
    expected = flat @ p["classifier"]["kernel"] + p["classifier"]["bias"]
    out = model.apply(variables, inputs, train=False)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)


def test_ststnet_sees_only_the_relative_flow():
    model = models.load("ststnet").Model()
    levels = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 3)).astype(np.float32)
    levels[:, 0, 0], levels[:, 0, 1] = 0, 255
    variables = model.init(jax.random.key(0), {"flow_map": jnp.asarray(levels)}, train=False)
    as_published, in_pixels = (
        model.apply(variables, {"flow_map": jnp.asarray(maps)}, train=False)
        for maps in (levels, levels * 0.01 - 1.3)
    )
    np.testing.assert_allclose(in_pixels, as_published, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("weight", [None, jnp.array([1.0, 1, 1, 0])])
def test_ststnet_pools_first_and_normalises_the_same(weight):
    """Against convolution, normalisation, then pooling; with negative scales among the channels."""
    import flax.linen as nn

    from atnet_jax.models.ststnet import NormalisedMaxima

    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(4, 28, 28, 3)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(5, 28)), jnp.float32)
    params = {
        "scale": jnp.asarray([1.0, -0.5, 2.0, -1.0, 0.3]),
        "bias": jnp.asarray(rng.normal(size=5), jnp.float32),
    }
    target = jnp.asarray(rng.normal(size=(4, 10, 10, 5)), jnp.float32)
    if weight is not None:
        target *= weight[:, None, None, None]
    layer, plain = NormalisedMaxima(), nn.BatchNorm(use_running_average=False, momentum=0.9)
    stats = layer.init(jax.random.key(0), x, kernel, True)["batch_stats"]

    def ours(params, kernel):
        variables = {"params": params, "batch_stats": stats}
        out, updated = layer.apply(variables, x, kernel, True, weight, mutable=["batch_stats"])
        return (out.reshape(5, 4, 10, 10).transpose(1, 2, 3, 0) * target).sum(), updated

    def reference(params, kernel):
        mask = None if weight is None else weight[:, None, None, None] > 0
        variables = {"params": params, "batch_stats": stats}
        y = jax.lax.conv_general_dilated(
            x, kernel[:, :27].reshape(5, 3, 3, 3), (1, 1), ((2, 2), (2, 2)),
            dimension_numbers=("NHWC", "OHWI", "NHWC"),
        )  # fmt: skip
        y = nn.relu(y + kernel[:, 27])
        y, updated = plain.apply(variables, y, mask=mask, mutable=["batch_stats"])
        return (nn.max_pool(y, (3, 3), (3, 3), [(1, 1), (1, 1)]) * target).sum(), updated

    got = jax.value_and_grad(ours, argnums=(0, 1), has_aux=True)(params, kernel)
    expected = jax.value_and_grad(reference, argnums=(0, 1), has_aux=True)(params, kernel)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), got, expected)


@pytest.mark.parametrize("weight", [None, jnp.array([1.0, 0, 1, 1, 1])])
def test_ststnet_looks_at_clips_in_chunks_to_the_same_result(weight, monkeypatch):
    """The last chunk is ragged: two, two, and one clip."""
    from atnet_jax.models import ststnet

    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(5, 28, 28, 3)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(4, 28)), jnp.float32)
    target = jnp.asarray(rng.normal(size=(4, 5, 100)), jnp.float32)
    layer = ststnet.NormalisedMaxima()
    variables = {
        "params": {"scale": jnp.ones(4), "bias": jnp.zeros(4)},
        "batch_stats": {"mean": jnp.zeros(4), "var": jnp.ones(4)},
    }

    def result():
        @functools.partial(jax.value_and_grad, has_aux=True)
        def loss(kernel):
            out, updated = layer.apply(variables, x, kernel, True, weight, mutable=["batch_stats"])
            return (out * target).sum(), (out, updated)

        return jax.jit(loss)(kernel)

    whole = result()
    monkeypatch.setattr(ststnet, "_CHUNK", 2)
    chunks = result()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), chunks, whole)


def test_ststnet_drops_half_and_doubles_the_rest():
    from atnet_jax.models.ststnet import _drop_half

    x = jnp.arange(1.0, 16 * 3 * 100 + 1).reshape(16, 3, 100)
    kept = np.asarray(_drop_half(jax.random.key(0), x) / x)
    assert set(np.unique(kept)) == {0, 2}
    assert abs(kept.mean() - 1) < 0.05
    # No pattern along any axis: neighbours are kept independently.
    for axis in range(3):
        together = kept * np.roll(kept, 1, axis)
        assert abs(together.mean() - 1) < 0.08
    assert not np.array_equal(kept, np.asarray(_drop_half(jax.random.key(1), x) / x))
