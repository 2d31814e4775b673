import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from atnet_jax import models
from atnet_jax.config import check, default_config
from atnet_jax.data.record import INPUTS
from atnet_jax.errors import UserError
from atnet_jax.preprocessing.optical_flow import flow_method
from atnet_jax.preprocessing.prepared_clip import PreparedClip
from atnet_jax.training.trained import input_shapes

NETWORKS = [name for name in models.names() if models.find(name).kind == "network"]


def example(name: str, batch: int = 2) -> dict[str, jax.Array]:
    rng = np.random.default_rng(0)
    shapes = input_shapes(default_config(name))
    return {k: jnp.asarray(rng.uniform(0, 1, (batch, *s)), jnp.float32) for k, s in shapes.items()}


def test_unknown_model_lists_the_known():
    with pytest.raises(
        UserError,
        match=r"resnet'.*fusion, .*hoof, .*lbp_top, .*ststnet, temporal, .*hoof_n4_tim10",
    ):
        models.find("resnet")


def test_options_of_another_method_are_refused():
    with pytest.raises(
        UserError, match=r"'spatial' has the options \(none\), not joint.*cde:spatial"
    ):
        models.find("spatial").build({"joint": True})


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_has_the_number_of_parameters_in_its_docstring(name):
    """The first number of parameters in the file's docstring is that of its defaults."""
    method = models.find(name)
    told = re.search(r"([0-9][0-9,]*) parameters", method.file.read_text())
    assert method.size() == int(told[1].replace(",", ""))
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    network, inputs = method.build_network(), example(name)
    out, _ = jax.eval_shape(lambda x: network.init_with_output(keys, x, train=True), inputs)
    assert out.shape == (2, 3)


@pytest.mark.parametrize("name", sorted(set(models.names()) - set(NETWORKS)))
def test_a_clip_has_as_many_features_as_a_method_says(name):
    rng = np.random.default_rng(0)
    clip = PreparedClip(
        "made/up/clip",
        frames=rng.integers(0, 256, (11, 224, 224)).astype(np.uint8),
        flow=rng.normal(size=(224, 224, 2)).astype(np.float32),
    )
    method = models.find(name)
    presets = [{**method.options, **chosen} for chosen, _ in method.presets.values()]
    for options in presets or [method.options]:
        found = method.build(options).prepare(clip, flow_method("dis_ultrafast"), 224)
        assert {key: array.shape for key, array in found.items()} == {
            "features": (method.size(options),)
        }


def test_a_network_is_no_features():
    with pytest.raises(UserError, match=r"'hoof' .* an SVM, but a network is required"):
        models.find("hoof").build_network()
    with pytest.raises(UserError, match=r"'spatial' is a network, but .* an SVM are required"):
        models.find("spatial").build_features()


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
        ("sssnet", 1_349_251),
        # VGG-16 for three classes rather than 1,000.
        ("vgg_magnified", 138_357_544 - 4097 * 1000 + 4097 * 3),
    ],
)
def test_parameter_counts_are_those_of_the_publications(name, count):
    config = default_config(name)
    assert models.find(config.model).size(config.options.to_dict()) == count


@pytest.mark.parametrize("name", [*models.names(), *models.presets()])
def test_the_description_of_a_method_is_complete(name):
    config = default_config(name)
    method = models.find(config.model)
    assert method.inputs and set(method.inputs) <= set(INPUTS)
    assert method.title_of(config.options.to_dict())
    assert re.search(r"^[A-Z].+: .+ (19|20)\d\d|arXiv", method.source)
    assert all(text.endswith(".") for text in method.deviations)
    if method.published is not None:
        assert set(method.published.cde) <= {"full", "casme2", "samm", "smic"}
        assert all(0 < figure < 1 for pair in method.published.cde.values() for figure in pair)


def test_names_cost_no_import():
    """`atnet train --help` and the list of names must answer at once."""
    code = "import sys; from atnet_jax import models; models.names(); print(sorted(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"'jax'", "'flax'", "'sklearn'", "'numpy'"} & set(run.stdout.split(", "))


@pytest.mark.parametrize("name", ["temporal", "ststnet"])
@pytest.mark.parametrize("trained", [False, True])
def test_padding_of_a_batch_does_not_count(name, trained):
    model = models.find(name).build_network()
    if trained:
        model = model.for_training()
    inputs = example(name, batch=5)
    padded = {k: jnp.concatenate([v, 100 * v[:3]]) for k, v in inputs.items()}
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    variables = jax.jit(lambda: model.init(keys, inputs, train=True))()

    @jax.jit
    def statistics(inputs, weight):
        _, updated = model.apply(
            variables, inputs, train=True, weight=weight, rngs=keys, mutable=["batch_stats"]
        )
        return jax.tree.leaves(updated)

    weight = jnp.array([1.0] * 5 + [0.0] * 3)
    for plain, masked in zip(statistics(inputs, None), statistics(padded, weight), strict=True):
        np.testing.assert_allclose(masked, plain, rtol=1e-4)


def test_streams_of_the_fusion_weigh_alike():
    model = models.find("fusion").build_network()
    inputs = example("fusion")
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    _, state = jax.jit(
        lambda inputs: model.init_with_output(keys, inputs, train=False, capture_intermediates=True)
    )(inputs)
    fused = state["intermediates"]["Dropout_0"]["__call__"][0]
    np.testing.assert_allclose(jnp.linalg.norm(fused[:, :512], axis=1), 1, rtol=1e-4)
    np.testing.assert_allclose(jnp.linalg.norm(fused[:, 512:], axis=1), 1, rtol=1e-4)


def test_clip_without_flow_gives_finite_gradients():
    model = models.find("temporal").build_network()
    inputs = {"adm": jnp.zeros((2, 64, 128))}

    @jax.jit
    def at_the_start(key):
        variables = model.init(key, inputs, train=True)
        return jax.grad(lambda v: model.apply(v, inputs, train=True)[:, 0].sum())(variables)

    gradient = at_the_start(jax.random.key(0))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("hoof", "bins", 0),
        ("hoof", "interpolation", "cubic"),
        ("hoof", "length", 1),
        ("bi_woof", "bins", 0),
        ("bi_woof", "blocks", 0),
        ("fdm", "angle", 0.0),
        ("fdm", "angle", 181.0),
        ("fdm", "blocks", 0),
        ("fdm", "parts", 0),
        ("riesz", "scales", 0),
        ("riesz", "blocks", 0),
        ("riesz", "parts", 0),
        ("lbp_sip", "levels", 0),
        ("lbp_sip", "time_radius", 0),
        ("lbp_sip", "blocks", 0),
        ("lbp_top", "points", 16),
        ("lbp_top", "radii", (3, 0, 3)),
    ],
)
def test_an_option_that_cannot_be_is_refused(name, option, value):
    """Features rely on it: they do not look again."""
    config = default_config(name)
    with (
        pytest.raises(UserError, match=rf"config\.options\.{option} is .*, expected"),
        config.unlocked(),
    ):
        config.options[option] = value
        check(config)
