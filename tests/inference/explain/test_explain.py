"""Explanations of networks whose answer is known, or computed in another way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from atnet_jax.inference.explain import (
    explain,
    grad_cam,
    integrated_gradients,
    network,
    occlusion,
    streams,
)
from atnet_jax.models.layers.resnet10 import ResNet10
from tests.inference.explain.planted import (
    bright_spot_network,
    random_inputs,
    random_variables,
    trained_of,
)

SIZE = 96


@pytest.fixture(scope="module")
def spot():
    """A light spot that the planted network sees, one that it does not, and the explanation."""
    apex = np.full((1, SIZE, SIZE, 1), 10, np.uint8)
    apex[0, 32:37, 64:69] = 250
    apex[0, 42:60, 6:30] = 250
    return apex, explain(bright_spot_network(SIZE), {"apex": apex}, 1)


def test_grad_cam_points_where_the_network_looks(spot):
    heat = spot[1].grad_cam
    assert np.unravel_index(heat.argmax(), heat.shape) == (34, 66)
    assert heat.max() == 1 and heat.min() >= 0
    assert heat[51, 18] < 0.2


def test_occlusion_points_where_the_network_looks(spot):
    drops = spot[1].occlusion
    assert drops[34, 66] == drops.max() > 0.02
    strong = np.argwhere(drops > drops.max() / 2)
    assert np.abs(strong - (34, 66)).max() < occlusion.patch_size(SIZE)
    assert drops[51, 18] == pytest.approx(0, abs=1e-3)


def test_occlusion_is_the_mean_over_the_patches_that_hide_a_pixel(spot):
    apex, explanation = spot
    trained = bright_spot_network(SIZE)
    explained = network.explained(trained, 0)

    def probability(frame):
        features, _ = network.observe(explained, {"apex": frame})
        return jax.nn.softmax(network.logits(explained, features))[0, 1]

    corners, size = occlusion.corners(SIZE), occlusion.patch_size(SIZE)
    assert size == 14 and corners[0] == 0 and corners[-1] == SIZE - size
    clean = apex.astype(np.float32)
    drops = []
    for top in corners[(corners <= 34) & (corners + size > 34)]:
        for left in corners[(corners <= 66) & (corners + size > 66)]:
            hidden = clean.copy()
            hidden[0, top : top + size, left : left + size] = clean.mean()
            drops.append(probability(clean) - probability(hidden))
    assert len(drops) == 4
    assert explanation.occlusion[34, 66] == pytest.approx(np.mean(drops), abs=1e-5)


@pytest.mark.parametrize("size", [32, 56, 100, 224])
def test_patches_hide_every_pixel(size):
    constant = occlusion.drop_map(np.full((13, 13), 0.25), size)
    np.testing.assert_allclose(constant, np.full((size, size), 0.25), rtol=1e-6)


def test_grad_cam_of_a_class_is_zero_where_the_map_speaks_against_it(spot):
    against = explain(bright_spot_network(SIZE), {"apex": spot[0]}, 0).grad_cam
    assert against[34, 66] == 0
    assert against[90, 5] == 1


def test_the_last_map_is_the_pooled_one_and_is_not_stored_in_training():
    image = jax.ShapeDtypeStruct((1, 224, 224, 1), jnp.float32)
    resnet = ResNet10()
    variables = jax.eval_shape(lambda x: resnet.init(jax.random.key(0), x, train=False), image)
    learnt = {name: variables[name] for name in ("params", "batch_stats")}

    def apply(mutable, train):
        return jax.eval_shape(
            lambda v, x: resnet.apply(v, x, train, mutable=mutable), learnt, image
        )

    assert apply(["maps"], False)[1]["maps"]["last"][0].shape == (1, 7, 7, 512)
    assert set(apply(["batch_stats", "auxiliary"], True)[1]) == {"batch_stats"}


def test_features_are_the_means_of_the_last_map():
    trained = trained_of("micro_attention", [random_variables("micro_attention")])
    inputs = random_inputs(trained)
    features, last_map = network.observe(network.explained(trained, 0), inputs)
    np.testing.assert_allclose(features["spatial"], last_map.mean(axis=(1, 2)), rtol=1e-5)


def random_features(seed=0):
    rng = np.random.default_rng(seed)
    names = ("spatial", "temporal")
    return {name: rng.normal(0, 1, (1, 512)).astype(np.float32) for name in names}


def normalised(x):
    return x / np.linalg.norm(x)


def margin(logits, chosen):
    return logits[chosen] - np.delete(logits, chosen).mean()


def test_score_is_the_margin_over_the_mean_of_the_others():
    logits = jnp.array([[1.0, 5.0, 2.0]])
    assert network.margin(logits, 1) == pytest.approx(3.5)
    assert network.margin(logits + 7, 1) == pytest.approx(3.5)


def test_contributions_of_linear_fusion_are_the_parts_of_the_sum():
    trained = trained_of("fusion", [random_variables("fusion")])
    variables, features = trained.variables[0], random_features()
    found = streams.contributions(network.explained(trained, 0), features, 2)
    kernel = variables["params"]["classifier"]["Micro_expression"]["kernel"]
    for name, rows in (("spatial", kernel[:512]), ("temporal", kernel[512:])):
        expected = margin(normalised(features[name][0]) @ rows, 2)
        assert found[name] == pytest.approx(expected, rel=1e-4)


def test_contributions_of_averaged_scores_are_shapley_values():
    variables, features = random_variables("fusion", fusion="score"), random_features()
    for name in features:
        variables["params"][f"classifier_{name}"]["Micro_expression"]["kernel"] *= 20
    trained = trained_of("fusion", [variables], fusion="score")
    found = streams.contributions(network.explained(trained, 0), features, 0)

    def gain(*present):
        probabilities = []
        for name in ("spatial", "temporal"):
            layer = variables["params"][f"classifier_{name}"]["Micro_expression"]
            x = normalised(features[name][0]) * (name in present)
            exp = np.exp(x @ layer["kernel"] + layer["bias"])
            probabilities.append(exp / exp.sum())
        return margin(np.log(np.mean(probabilities, axis=0)), 0)

    both, none = gain("spatial", "temporal"), gain()
    alone = {name: gain(name) for name in features}
    expected = (alone["spatial"] - none + both - alone["temporal"]) / 2
    assert found["spatial"] == pytest.approx(expected, rel=1e-4)
    assert sum(found.values()) == pytest.approx(both - none, rel=1e-4)
    assert abs(both - alone["spatial"] - (alone["temporal"] - none)) > 1e-3  # Not merely linear.


def test_shares_are_of_absolute_contributions():
    assert streams.shares({"spatial": -1.0, "temporal": 3.0}) == {"spatial": 0.25, "temporal": 0.75}
    assert streams.shares({"spatial": 0.0, "temporal": 0.0}) == {"spatial": 0.5, "temporal": 0.5}


@pytest.mark.parametrize("fusion", ["feature", "score"])
def test_streams_that_learnt_by_themselves_are_explained_alike(fusion):
    """Where the fused output passes no gradient back in training, explanations still have one."""
    weights = random_variables("fusion", fusion=fusion, joint=False)
    last_map = np.random.default_rng(1).uniform(0, 1, (1, 2, 2, 512)).astype(np.float32)
    sums = [
        grad_cam.weighted_sum(
            network.explained(trained_of("fusion", [weights], fusion=fusion, joint=joint), 0),
            random_features(),
            last_map,
            1,
        )
        for joint in (True, False)
    ]
    assert np.abs(sums[0]).max() > 1e-6
    np.testing.assert_array_equal(*sums)


@pytest.fixture(scope="module")
def two():
    """Two networks of the fusion, a clip, and the explanations of each and of both."""
    trained = trained_of("fusion", [random_variables("fusion", seed) for seed in (0, 1)])
    inputs = random_inputs(trained)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(integrated_gradients, "TOLERANCE", 0.02)  # Sooner done.
        return trained, inputs, [explain(trained, inputs, 1, k) for k in ([0], [1], None)]


def test_several_networks_are_explained_as_their_mean(two):
    *single, both = two[2]
    assert [each.networks for each in (*single, both)] == [1, 1, 2]
    for name in ("occlusion", "adm"):
        parts = [getattr(each, name) for each in single]
        assert not np.allclose(*parts, atol=1e-6)
        np.testing.assert_allclose(getattr(both, name), np.mean(parts, axis=0), atol=1e-6)
    for stream in ("spatial", "temporal"):
        mean = np.mean([each.contributions[stream] for each in single])
        assert both.contributions[stream] == pytest.approx(mean)


def test_grad_cam_of_several_networks_is_that_of_their_mean_score(two):
    """Maps against the class count: the mean is taken before values below 0 are cut."""
    trained, inputs, explanations = two
    both = [network.explained(trained, number) for number in (0, 1)]
    sums = [grad_cam.weighted_sum(each, *network.observe(each, inputs), 1) for each in both]
    expected = grad_cam.heat_map(np.mean(sums, axis=0), 32)
    np.testing.assert_allclose(explanations[2].grad_cam, expected, atol=1e-5)


def test_parts_of_an_explanation(two):
    explanation = two[2][0]
    assert explanation.grad_cam.shape == explanation.occlusion.shape == (32, 32)
    assert explanation.adm.shape == (64, 8, 8)
    assert explanation.flow_map is None
    assert sum(explanation.shares.values()) == pytest.approx(1)
    assert 0 < explanation.completeness_error <= 0.02


def test_invalid_explanations_are_rejected(two):
    trained, inputs, _ = two
    with pytest.raises(ValueError, match="class_index"):
        explain(trained, inputs, 3)
    with pytest.raises(ValueError, match="one clip"):
        explain(trained, {name: np.concatenate([x, x]) for name, x in inputs.items()}, 0)
    with pytest.raises(ValueError, match="networks"):
        explain(trained, inputs, 0, [])
