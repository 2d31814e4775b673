"""Integrated gradients: complete, the same as by brute force, and where the motion is."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from atnet_jax.inference.explain import explain, integrated_gradients, network
from atnet_jax.training import trained as trained_networks
from tests.inference.explain.planted import clip_adm, random_inputs, random_variables, trained_of


def attributions(trained, adm, chosen=1):
    explained, inputs = network.explained(trained, 0), {"adm": adm}
    features, _ = network.observe(explained, inputs)
    return integrated_gradients.attributions(explained, features, inputs, chosen)


def scores(trained, inputs, chosen=1):
    logits = trained_networks.logits(trained, trained.variables[0], inputs)
    return network.margin(logits, chosen)


def temporal(**options):
    return trained_of("temporal", [random_variables("temporal", **options)], **options)


def short_adm(rows=8, seed=0):
    """The rows of a shorter window, which the network takes as well."""
    return clip_adm(np.random.default_rng(seed), (1, rows, 128))


@pytest.mark.parametrize("time_pooling", ["mean", "last"])
@pytest.mark.parametrize("mask_time", [False, True])
def test_attributions_of_the_adm_are_complete(time_pooling, mask_time):
    """The change is that from a clip without motion, on the same rows where these are counted."""
    trained = temporal(time_pooling=time_pooling, mask_time=mask_time)
    adm = short_adm()
    found = attributions(trained, adm)
    still = scores(trained, {"adm": 1e-9 * adm})
    assert found.change == pytest.approx(
        float((scores(trained, {"adm": adm}) - still)[0]), rel=1e-3
    )
    error = integrated_gradients.completeness_error(found.values, found.change)
    assert error <= integrated_gradients.TOLERANCE
    assert found.parts < 40
    assert abs(found.change) > 0.01
    assert not found.values[~adm[0].any(axis=1)].any()


def test_a_leap_close_to_the_baseline_is_found():
    """Features without biases are of length 1 for any motion, however small, but 0 for none."""
    variables = random_variables("temporal")
    for layer in variables["params"]["temporal"].values():
        layer["gate_bias"][:] = 0
    found = attributions(trained_of("temporal", [variables]), short_adm())
    error = integrated_gradients.completeness_error(found.values, found.change)
    assert error <= integrated_gradients.TOLERANCE
    assert found.parts > 10


def test_attributions_are_the_same_by_brute_force():
    trained, adm = temporal(), short_adm()

    @jax.jit
    def slope(share):
        return jax.grad(lambda x: scores(trained, {"adm": x}).sum())(share * adm)[0]

    # The line's first thousandth is not like the rest.
    edges = np.geomspace(1e-6, 1, 80)
    middles = (edges[1:] + edges[:-1]) / 2
    expected = adm[0] * sum(
        width * slope(middle) for width, middle in zip(np.diff(edges), middles, strict=True)
    )
    found = attributions(trained, adm).values
    assert np.abs(found - expected).sum() < 0.01 * np.abs(expected).sum()


def test_blocks_are_where_their_features_are():
    """Directions and magnitudes of a block are added; blocks are row by row."""
    trained = temporal()
    adm = np.zeros((1, 64, 128), np.float32)
    adm[0, 30:34, 2 * (8 * 5 + 2)] = 2.0
    adm[0, 30:34, 2 * (8 * 5 + 2) + 1] = 1.0
    found = explain(trained, {"adm": adm}, 0)
    where = np.zeros((64, 8, 8), bool)
    where[30:34, 5, 2] = True
    np.testing.assert_array_equal(found.adm != 0, where)
    whole = attributions(trained, adm, 0).values
    np.testing.assert_allclose(found.adm[30:34, 5, 2], whole[30:34, 84:86].sum(axis=1), rtol=1e-5)


BLOCKS_OF_CLASSES = np.array([9, 30, 52])
"""Block whose motion determines class k; other blocks move too."""


def moving_clips(rng, count, rows=4):
    labels = rng.integers(0, 3, count)
    adm = np.zeros((count, rows, 128), np.float32)
    adm[..., 1::2] = rng.uniform(0, 0.3, (count, 1, 64))
    adm[..., ::2] = rng.uniform(-1, 1, (count, 1, 64))
    adm[np.arange(count), :, 2 * BLOCKS_OF_CLASSES[labels] + 1] = 3.0
    return adm, labels


@pytest.fixture(scope="module")
def trained_on_blocks():
    rng = np.random.default_rng(0)
    trained = temporal()
    optimizer = optax.adam(1e-3)

    @jax.jit
    def step(params, state, adm, labels):
        def loss(params):
            logits = trained.network.apply({"params": params}, {"adm": adm}, train=False)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    params = trained.variables[0]["params"]
    state = optimizer.init(params)
    for _ in range(30):
        params, state = step(params, state, *moving_clips(rng, 32))
    return trained_of("temporal", [{"params": params, "batch_stats": {}}])


def pointing(trained, clips=6):
    """Return how often the block with the largest attribution determines the class."""
    adm, labels = moving_clips(np.random.default_rng(1), clips)
    hits = 0
    for x, label in zip(adm, labels, strict=True):
        values = attributions(trained, x[None], int(label)).values
        hits += values.sum(axis=0).reshape(64, 2).sum(axis=1).argmax() == BLOCKS_OF_CLASSES[label]
    return hits / clips


def test_attributions_point_at_the_block_that_determines_the_class(trained_on_blocks):
    assert pointing(trained_on_blocks) == 1


def test_attributions_of_a_random_network_do_not(trained_on_blocks):
    """After Adebayo et al.: they show what was learnt, not only where the clip moves."""
    assert pointing(temporal()) < 0.7


@pytest.fixture(scope="module")
def shallow():
    variables = random_variables("ststnet")
    variables["params"]["norm"]["scale"][::3] *= -1  # Of these the smallest value is pooled.
    variables["params"]["classifier"]["kernel"] /= 100
    trained = trained_of("ststnet", [variables])
    return trained, random_inputs(trained)


def of_grey(trained, grey):
    logits = jax.jit(lambda *given: trained.network.apply(*given, False, method="of_grey"))
    return logits(trained.variables[0], grey)


def test_grey_levels_of_a_map_equal_those_in_the_network(shallow):
    trained, inputs = shallow
    variables = jax.device_put(trained.variables[0])
    _, grey = integrated_gradients.grey_levels(jnp.asarray(inputs["flow_map"]))
    network_logits = jax.jit(lambda inputs: trained_networks.logits(trained, variables, inputs))
    np.testing.assert_allclose(of_grey(trained, grey), network_logits(inputs), rtol=1e-4, atol=1e-5)


def test_attributions_of_the_flow_map_are_complete(shallow):
    trained, inputs = shallow
    found = explain(trained, inputs, 2)
    assert found.flow_map.shape == (28, 28)
    assert found.completeness_error <= integrated_gradients.TOLERANCE
    still, grey = integrated_gradients.grey_levels(jnp.asarray(inputs["flow_map"]))
    logits = of_grey(trained, jnp.concatenate([still, grey]))
    low, high = network.margin(logits, 2)
    assert found.flow_map.sum() == pytest.approx(float(high - low), rel=1e-2)
    assert found.adm is found.grad_cam is found.shares is None


def test_baseline_of_the_flow_map_is_no_motion(shallow):
    """Its grey level is the network's grey level of a pixel without motion."""
    flow_map = shallow[1]["flow_map"].copy()
    flow_map[0, 3, 4] = 0
    still, grey = integrated_gradients.grey_levels(jnp.asarray(flow_map))
    np.testing.assert_allclose(still[0, 0, 0], grey[0, 3, 4], rtol=1e-5)
    # A map without any motion is the baseline itself.
    np.testing.assert_array_equal(*integrated_gradients.grey_levels(jnp.zeros((1, 28, 28, 3))))
    np.testing.assert_array_equal(*integrated_gradients.grey_levels(jnp.full((1, 28, 28, 3), 2.0)))


def test_a_map_of_twice_the_motion_is_explained_alike(shallow):
    """The network sees no difference."""
    trained, inputs = shallow
    once, twice = (
        explain(trained, {"flow_map": share * inputs["flow_map"]}, 2).flow_map for share in (1, 2)
    )
    np.testing.assert_allclose(once, twice, atol=1e-4 * np.abs(once).sum())
