import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from atnet_jax.models import htnet
from atnet_jax.models.htnet import RECIPE, Block, Hierarchy, Model, region_centres, tile_regions
from atnet_jax.preprocessing.optical_flow import flow_method
from atnet_jax.preprocessing.prepared_clip import PreparedClip
from tests.models.against_reference import (
    KEYS,
    LABELS,
    check_slopes,
    in_float64,
    layer_shapes,
    random_variables,
)
from tests.reference import htnet as reference
from tests.reference.plain_layers import cross_entropy, linear, unit_range

REGIONS = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 3)).astype(np.float32)
INPUTS = {"regions": jnp.asarray(REGIONS)}
# As the network's, but narrow: 11 channels to 3 heads leave 2 over.
SMALL = Hierarchy(width=11, heads=3, blocks=(1, 2, 1))
LANDMARKS = np.array([[80, 90], [150, 84], [112, 130], [50, 166], [171, 170]], np.float32)


@pytest.fixture(scope="module")
def small():
    return random_variables(SMALL, INPUTS["regions"])


def test_has_the_published_number_of_parameters():
    variables = jax.eval_shape(lambda: Model().init(KEYS, INPUTS, train=False))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 139_582_982
    of_queries_and_keys = [
        leaf.size
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables)
        if path[-1].key == "query_key"
    ]
    assert len(of_queries_and_keys) == 14
    assert of_queries_and_keys[0] == 256 * 2 * 255
    assert round(sum(of_queries_and_keys) / 1e6, 1) == 22.2


def test_layers_have_the_published_sizes():
    shapes = layer_shapes(Model(), INPUTS)
    assert shapes["hierarchy/patches"] == (4, 4, 256)
    for level, blocks, size, channels, inner in (
        (0, 2, 4, 256, 255),
        (1, 2, 2, 512, 510),
        (2, 10, 1, 1024, 1020),
    ):
        for block in range(blocks):
            name = f"hierarchy/level{level}_block{block}"
            assert shapes[name] == (size, size, channels)
            assert shapes[f"{name}/attention/value"] == (size, size, inner)
            assert shapes[f"{name}/wide"] == (size, size, 4 * channels)
        assert f"hierarchy/level{level}_block{blocks}" not in shapes
    assert shapes["hierarchy/aggregate1/conv"] == (4, 4, 512)
    assert shapes["hierarchy/aggregate1"] == (2, 2, 512)
    assert shapes["hierarchy/aggregate2"] == (1, 1, 1024)
    assert shapes["hierarchy"] == (1024,) and shapes["classifier"] == (3,)


def test_features_are_those_of_attention_in_windows(small):
    """The reference computes queries, keys and softmax."""
    found = jax.jit(SMALL.apply)(small, INPUTS["regions"] / 255)
    params = in_float64(small["params"])
    expected = reference.hierarchy(
        REGIONS.astype(np.float64) / 255, SMALL.heads, SMALL.blocks, params
    )
    assert found.shape == (4, 44)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5)


def test_a_block_of_the_true_size():
    block, x = Block(heads=3), jax.random.normal(jax.random.key(0), (2, 4, 4, 256))
    variables = random_variables(block, x)
    params = in_float64(variables["params"])
    positions = [
        reference.block(in_float64(x[:, i, j])[:, None], 3, params)
        for i in range(4)
        for j in range(4)
    ]
    expected = np.concatenate(positions, 1).reshape(x.shape)
    np.testing.assert_allclose(jax.jit(block.apply)(variables, x), expected, rtol=1e-4, atol=2e-5)


@jax.jit
def loss_and_gradient(params, regions):
    """As if the first three features were the logits."""

    def loss(params):
        logits = SMALL.apply({"params": params}, regions / 255)[:, :3]
        return optax.softmax_cross_entropy_with_integer_labels(logits, LABELS).mean()

    return jax.value_and_grad(loss)(params)


def test_gradient_is_the_slope_of_the_reference_s_loss(small):
    """Of queries and keys it is zero in both: the softmax of one score is 1.

    So it is of the last level's position, up to rounding: it shifts all channels alike, and all
    that follows normalises them.
    """
    _, gradient = loss_and_gradient(small["params"], INPUTS["regions"])
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        without = path[-1].key in ("query_key", "position2")
        assert (np.abs(leaf).max() > 1e-6) != without, path

    def reference_loss(params):
        regions = REGIONS.astype(np.float64) / 255
        features = reference.hierarchy(regions, SMALL.heads, SMALL.blocks, params)
        return cross_entropy(features[:, :3], LABELS)

    check_slopes(gradient, small["params"], reference_loss, directions=1)


def test_learns(small):
    params, losses = jax.device_get(small["params"]), []
    for _ in range(12):
        loss, gradient = jax.device_get(loss_and_gradient(params, INPUTS["regions"]))
        params = jax.tree.map(lambda p, g: p - np.float32(0.002) * np.sign(g), params, gradient)
        losses.append(loss)
    assert losses[-1] < 0.5 * losses[0], losses


def test_starts_as_in_pytorch():
    params = jax.jit(Block(heads=3).init)(KEYS, jnp.zeros((1, 1, 1, 256)))["params"]
    for layer, fan_in in (
        (params["attention"]["out"], 255),
        (params["wide"], 256),
        (params["narrow"], 1024),
    ):
        assert 0.98 * fan_in**-0.5 < np.abs(layer["kernel"]).max() <= fan_in**-0.5
        assert 0.9 * fan_in**-0.5 < np.abs(layer["bias"]).max() <= fan_in**-0.5
    assert 0.98 / 16 < np.abs(params["attention"]["query_key"]).max() <= 1 / 16


def test_regions_are_cut_as_in_the_released_code():
    picture = np.arange(28 * 28 * 3).reshape(28, 28, 3).astype(np.uint8)
    picture[..., 0], picture[..., 1] = np.mgrid[:28, :28]
    centres = region_centres(LANDMARKS)
    # 80/8 = 10 and 90/8 = 11.25; 50/8 = 6.25 and 171/8 = 21.4 would reach over the edge.
    assert centres.tolist() == [[10, 11], [18, 10], [7, 20], [21, 21]]
    tiled = tile_regions(picture, centres)
    assert np.array_equal(tiled, reference.regions(picture, LANDMARKS / 8))
    # A row of the map for x, a column for y.
    assert tiled[7, 7].tolist()[:2] == [10, 11]
    assert tiled[7, 21].tolist()[:2] == [18, 10]
    assert tiled[21, 7].tolist()[:2] == [7, 20]
    assert tiled[21, 21].tolist()[:2] == [21, 21]


def clip_of(**fields) -> PreparedClip:
    maps = np.random.default_rng(3).normal(size=(28, 28, 3)).astype(np.float32)
    return PreparedClip("smic/s01/s1_sur_01", flow_map=maps, **fields)


def prepared(clip: PreparedClip) -> np.ndarray:
    found = Model().prepare(clip, flow_method("dis"), 224)
    assert {name: array.shape for name, array in found.items()} == Model().input_shapes(224)
    return found["regions"]


@pytest.mark.parametrize("found", [True, False])
def test_reads_strain_v_u_over_the_grey_levels(found):
    clip = clip_of(landmarks=LANDMARKS if found else None)
    levels = 255 * unit_range(clip.flow_map[None].astype(np.float64))[0]
    picture = np.stack([levels[..., 2], levels[..., 1], levels[..., 0]], -1)
    points = LANDMARKS / 8 if found else reference.FALLBACK
    regions = prepared(clip)
    assert regions.dtype == np.uint8
    np.testing.assert_allclose(regions, reference.regions(picture, points), atol=0.501)


def test_points_stand_in_where_the_face_was_not_found():
    assert region_centres(None).tolist() == [[9, 11], [21, 10], [10, 21], [20, 21]]
    assert htnet.FALLBACK.tolist() == pytest.approx(np.array(reference.FALLBACK))


def test_published_maps_are_read_as_they_are():
    levels = np.random.default_rng(4).integers(0, 256, (28, 28, 3)).astype(np.float32)
    levels[0, 0], levels[0, 1] = 0, 255
    found = prepared(PreparedClip("a/b/c", flow_map=levels))
    assert np.array_equal(found, reference.regions(levels[..., ::-1], reference.FALLBACK))


def test_logits_are_linear_in_the_features(small, monkeypatch):
    """With the narrow levels in place of the true ones, whose weights fill half a gigabyte."""
    given = {}

    def narrow(**fields):
        given.update(fields)
        return Hierarchy(SMALL.width, SMALL.heads, SMALL.blocks, name=fields["name"])

    monkeypatch.setattr(htnet, "Hierarchy", narrow)
    rng = np.random.default_rng(5)
    classifier = {"kernel": rng.normal(size=(44, 3)), "bias": rng.normal(size=3)}
    params = {"hierarchy": small["params"], "classifier": classifier}
    logits = jax.jit(lambda p, x: Model().apply({"params": p}, x, train=True))(params, INPUTS)
    features = jax.jit(SMALL.apply)(small, INPUTS["regions"])
    np.testing.assert_allclose(logits, linear(in_float64(features), classifier), rtol=1e-4)
    assert given == {"width": 256, "heads": 3, "blocks": (2, 2, 10), "name": "hierarchy"}


def test_recipe_is_the_released_one():
    facts = {"batch_size": 256, "num_epochs": 800, "optimizer": "adam", "learning_rate": 5e-5}
    assert facts.items() <= RECIPE.items()
