import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from atnet_jax import models
from atnet_jax.config import default_config
from atnet_jax.errors import UserError
from atnet_jax.models.layers.batch_norm import BatchNorm
from atnet_jax.models.layers.convolution import Conv
from atnet_jax.training.engine import make_trainer
from atnet_jax.weights import caffe_mapping
from atnet_jax.weights import folder as weights
from atnet_jax.weights.caffe_grey import to_one_channel
from atnet_jax.weights.import_caffe import import_caffe
from tests.reference import caffe_layers, networks
from tests.weights.caffemodel_writer import caffemodel

SIZE = 64


def reference(model: str, channels: int = 1):
    return networks.fill(networks.build(model, channels), np.random.default_rng(0))


def some_inputs(clips: int = 2):
    """In Caffe's layout."""
    rng = np.random.default_rng(1)
    return {
        "apex": networks.pictures(rng, clips, SIZE, SIZE),
        "adm": networks.adm_features(rng, clips),
    }


def ours(inputs):
    """The same in our layout."""
    return {
        "apex": inputs["apex"].transpose(0, 2, 3, 1).astype(np.float32),
        "adm": inputs["adm"].astype(np.float32),
    }


def command(*arguments: object):
    line = [sys.executable, "-m", "atnet_jax", "import-caffe", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True)


def imported(tmp_path, blobs, model: str, **style):
    """Return the weights and the report of the importer for a file with these blobs."""
    (tmp_path / "a.caffemodel").write_bytes(caffemodel(blobs, **style))
    report = import_caffe(tmp_path / "a.caffemodel", model, tmp_path / "w")
    return weights.load(tmp_path / "w"), report


@functools.cache
def network(model: str):
    module = models.find(model).build_network()
    return jax.jit(lambda variables, inputs: module.apply(variables, inputs, train=False))


def logits(model: str, given: weights.Weights, inputs):
    variables = {"params": given.params, "batch_stats": given.batch_stats}
    return network(model)(variables, {"apex": ours(inputs)["apex"]})


def unknown_state(model: str, inputs):
    """Return a trainer, and the state of one fold filled with NaN."""
    trainer = make_trainer(default_config(model), inputs)
    one = jax.ShapeDtypeStruct((1,), np.int32)
    shapes = jax.eval_shape(trainer.init, one, one)
    state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    unknown = jax.tree.map(lambda leaf: leaf * jnp.nan, (state.params, state.batch_stats))
    return trainer, state.replace(params=unknown[0], batch_stats=unknown[1])


def test_fusion_from_the_command_line_to_predictions(tmp_path):
    """A file → the command line → the state of a fold → the reference's class probabilities."""
    net = reference("fusion")
    path, out = tmp_path / "atnet.caffemodel", tmp_path / "new" / "w"
    path.write_bytes(caffemodel(net.blobs))
    done = command("--caffemodel", path, "--model=fusion", "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert f"{len(net.blobs)} layers imported" in done.stdout
    assert "conv1                        64×1×7×7, 64\n" in done.stdout
    assert "Absent from the file, with initial values: 0 layers." in done.stdout
    assert "Ignored, since the network has no such layer: 0 layers." in done.stdout

    inputs = some_inputs()
    trainer, state = unknown_state("fusion", ours(inputs))
    state, absent = weights.overlay(state, weights.load(out))
    assert absent == []
    scores = trainer.predict(state, ours(inputs), np.array([[0, 1]]))
    expected = caffe_layers.softmax(net.forward(inputs))
    assert np.ptp(expected, axis=0).max() > 0.01
    np.testing.assert_allclose(scores[0], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "style"),
    [
        ("spatial", {"style": "legacy", "v1": True}),
        ("micro_attention", {"style": "double"}),
    ],
)
def test_outputs_are_the_references(tmp_path, model, style):
    net = reference(model)
    given, _ = imported(tmp_path, net.blobs, model, **style)
    inputs = some_inputs()
    expected = net.forward(inputs)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(logits(model, given, inputs), expected, atol=1e-4)


def test_an_imagenet_file_fills_the_matching_layers(tmp_path):
    """The file has three channels and another classifier, but no LSTMs."""
    net = reference("spatial", channels=3)
    blobs = {**net.blobs, "score": [np.ones((1000, 512)), np.ones(1000)]}
    del blobs[networks.CLASSIFIER]
    given, report = imported(tmp_path, blobs, "fusion")
    about = given.about
    assert about["imported"] == [name for name in blobs if name != "score"]
    assert sorted(about["absent"]) == [networks.CLASSIFIER, "lstm1", "lstm2"]
    assert about["ignored"] == ["score"]
    assert (about["source"], about["model"]) == ("a.caffemodel", "fusion")
    assert "Absent from the file, with initial values: 3 layers.\n" in report
    assert "  lstm1\n" in report
    assert "Ignored, since the network has no such layer: 1 layer." in report
    assert "1000×512, 1000" in report
    assert "conv1                    64×3×7×7, 64\n" in report
    assert "the 3 outermost pixels" in report
    assert set(given.params) == set(given.batch_stats) == {"spatial"}
    _, state = unknown_state("fusion", ours(some_inputs()))
    _, absent = weights.overlay(state, given)
    assert absent == ["classifier/Micro_expression", "temporal/lstm1", "temporal/lstm2"]


def test_three_channels_that_agree_give_the_same_outputs_as_one(tmp_path):
    net = reference("spatial", channels=3)
    rng = np.random.default_rng(2)
    mean_sum, variance_sum, factor = net.blobs["data_bn"]
    scale, bias = net.blobs["data_scale"]
    # Scales and variances that differ, but d/a that does not.
    variance_sum[:] = factor * rng.uniform(1000, 9000, 3)
    bias[:] = scale / np.sqrt(variance_sum / factor + 1e-5) * (mean_sum / factor - 120)
    given, report = imported(tmp_path, net.blobs, "spatial")
    assert given.params["spatial"]["conv1"]["kernel"].shape == (7, 7, 1, 64)
    inputs = some_inputs()
    expected = net.forward({"apex": inputs["apex"].repeat(3, axis=1)})
    np.testing.assert_allclose(logits("spatial", given, inputs), expected, atol=1e-4)
    assert "to grey pictures stay the same." in report


def input_layers(rng, with_bn=True, with_scale=True) -> dict:
    """Three channels that disagree, of the size they have in a trained network."""
    factor = rng.uniform(20, 900)
    layers = {"conv1": [rng.normal(0, 0.1, (64, 3, 7, 7)), rng.normal(0, 0.5, 64)]}
    if with_bn:
        mean, variance = rng.uniform(90, 150, 3), rng.uniform(2000, 8000, 3)
        layers["data_bn"] = [factor * mean, factor * variance, np.array(factor)]
    if with_scale:
        layers["data_scale"] = [rng.uniform(-1.3, 1.3, 3), rng.normal(0, 0.3, 3)]
    return layers


def caffe_output(layers: dict, pictures, train: bool = False):
    """conv1's output `[clip, filter, row, column]` by the reference's layers."""
    x = pictures.repeat(3, axis=1)
    for name, layer in (
        ("data_bn", caffe_layers.BatchNorm(3)),
        ("data_scale", caffe_layers.Scale(3)),
    ):
        if name in layers:
            layer.blobs = [np.array(blob).reshape(-1) for blob in layers[name]]
            x = layer.forward(train, x)
    conv1 = caffe_layers.Convolution(3, 64, 7, stride=2, pad=3, bias_term=True)
    conv1.blobs = layers["conv1"]
    return conv1.forward(train, x)


def our_output(layers: dict, pictures, train: bool = False):
    """The same by our layers, whose parameters are the initial ones where there are none."""
    x = jnp.asarray(pictures.transpose(0, 2, 3, 1), jnp.float32)
    initialise = jax.jit(lambda x: BatchNorm().init(jax.random.key(0), x, True))
    variables = initialise(x)
    if "data_bn" in layers:
        names = ("mean_sum", "variance_sum", "weight_sum")
        variables["batch_stats"] = dict(zip(names, layers["data_bn"], strict=True))
    if "data_scale" in layers:
        variables["params"] = dict(zip(("scale", "bias"), layers["data_scale"], strict=True))
    kernel, bias = layers["conv1"]
    params = {"kernel": kernel.transpose(2, 3, 1, 0), "bias": bias}

    @jax.jit
    def output(variables, params, x):
        x, _ = BatchNorm().apply(variables, x, train, mutable=["batch_stats"])
        return Conv(64, 7, 2, 3, use_bias=True).apply({"params": params}, x)

    return np.asarray(output(variables, params, x)).transpose(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("with_bn", "with_scale"), [(True, True), (True, False), (False, True), (False, False)]
)
def test_one_channel_is_exact_inside_and_within_the_reported_error_at_the_border(
    with_bn, with_scale
):
    rng = np.random.default_rng(3)
    layers = input_layers(rng, with_bn, with_scale)
    pictures = networks.pictures(rng, 1, 224, 224)
    grey, error = to_one_channel(layers)
    assert ("data_bn" in grey, "data_scale" in grey) == (with_bn, with_scale)
    expected, found = caffe_output(layers, pictures), our_output(grey, pictures)
    assert expected.std() > 0.1
    tolerance = 1e-4 * max(1, expected.std())
    inside = np.s_[:, :, 2:-1, 2:-1]
    np.testing.assert_allclose(found[inside], expected[inside], atol=tolerance)

    slope = np.ones(3)
    if with_scale:
        slope = slope * layers["data_scale"][0]
    if with_bn:
        slope = slope / np.sqrt(layers["data_bn"][1] / layers["data_bn"][2] + 1e-5)
    spread = 255 * np.abs(np.einsum("ochw,c->ohw", layers["conv1"][0], slope)).sum(axis=(1, 2))
    difference = np.abs(found - expected).max(axis=(0, 2, 3))
    if with_bn or with_scale:
        assert error.max() > 1e-4
        np.testing.assert_allclose(difference, error * spread, atol=tolerance)
    else:
        assert error.max() == 0
        np.testing.assert_allclose(found, expected, atol=tolerance)
        summed = layers["conv1"][0].sum(1, keepdims=True)
        np.testing.assert_allclose(grey["conv1"][0], summed, atol=1e-6)


@pytest.mark.parametrize("scale", [1.2, -0.8])
def test_training_sees_the_same_where_channels_agree(scale):
    rng = np.random.default_rng(4)
    layers = input_layers(rng)
    equal = {
        "conv1": layers["conv1"],
        "data_bn": [blob if blob.ndim == 0 else blob[:1].repeat(3) for blob in layers["data_bn"]],
        "data_scale": [np.full(3, scale), np.full(3, 0.4)],
    }
    pictures = networks.pictures(rng, 2, SIZE, SIZE)
    grey, error = to_one_channel(equal)
    assert error.max() < 1e-6
    for train in (False, True):
        expected = caffe_output(equal, pictures, train)
        np.testing.assert_allclose(our_output(grey, pictures, train), expected, atol=1e-4)
    np.testing.assert_allclose(grey["data_scale"][0], abs(scale), rtol=1e-6)
    # Running statistics go on from the same ones, with the same weight.
    for new, old in zip(grey["data_bn"], equal["data_bn"], strict=True):
        np.testing.assert_allclose(new, old.reshape(-1)[:1].reshape(new.shape), rtol=1e-6)


def test_channels_without_any_response_are_no_division_by_zero():
    layers = input_layers(np.random.default_rng(5))
    layers["data_scale"][0][:] = 0
    grey, error = to_one_channel(layers)
    pictures = networks.pictures(np.random.default_rng(5), 1, SIZE, SIZE)
    inside = np.s_[:, :, 2:-1, 2:-1]
    expected = caffe_output(layers, pictures)[inside]
    np.testing.assert_allclose(our_output(grey, pictures)[inside], expected, atol=1e-4)
    assert np.isfinite(error).all()


def map_blobs(blobs, model: str = "spatial"):
    layers = {name: [np.float32(blob) for blob in arrays] for name, arrays in blobs.items()}
    return caffe_mapping.map_layers(layers, model)


def test_normalisation_and_its_scale_are_layers_of_their_own():
    blobs = reference("spatial").blobs
    mapped = map_blobs({name: blobs[name] for name in ("conv1_bn", "last_scale")})
    assert mapped.about["imported"] == ["conv1_bn", "last_scale"]
    assert {"conv1_scale", "last_bn"} <= set(mapped.about["absent"])
    assert set(mapped.batch_stats["spatial"]) == {"conv1_bn"}
    assert set(mapped.params["spatial"]) == {"last_bn"}
    for name, blob in zip(
        ("mean_sum", "variance_sum", "weight_sum"), blobs["conv1_bn"], strict=True
    ):
        found = mapped.batch_stats["spatial"]["conv1_bn"][name]
        assert np.array_equal(found, np.float32(blob).reshape(found.shape))
    assert mapped.batch_stats["spatial"]["conv1_bn"]["weight_sum"].shape == ()


def test_untrained_normalisation_counts_as_absent():
    blobs = reference("spatial", channels=3).blobs
    for name in ("data_bn", "conv1_bn"):
        blobs[name][2][:] = 0
    mapped = map_blobs(blobs)
    assert sorted(mapped.about["absent"]) == ["conv1_bn", "data_bn"]
    assert "conv1_bn" not in mapped.batch_stats["spatial"]
    assert mapped.params["spatial"]["conv1_bn"]["scale"].shape == (64,)
    assert any(note.startswith("conv1_bn has the divisor 0") for note in mapped.about["notes"])


def changed(blobs, name: str, number: int, change):
    arrays = [change(blob) if k == number else blob for k, blob in enumerate(blobs[name])]
    return {**blobs, name: arrays}


def test_mismatches_are_rejected_by_name():
    blobs = reference("spatial").blobs
    colour = reference("spatial", channels=3).blobs
    both = "Layer 'conv1_scale' has the shape"
    cases = [
        (changed(blobs, "conv1", 1, lambda b: b[:32]), "'conv1' .*64×1×7×7 and 32 .*7×7 and 64"),
        (changed(blobs, "conv1", 0, lambda b: b.swapaxes(0, 1)), "'conv1' 1×64×7×7"),
        (changed(blobs, "last_bn", 2, lambda b: b.repeat(2)), "512 and 512 and 2 .*512 and 1 in"),
        ({"conv1_scale": blobs["conv1_scale"][:1]}, f"{both} 64 in the file, but 64 and 64 in the"),
        ({"conv1_scale": [*blobs["conv1_scale"], np.ones(1)]}, f"{both} 64 and 64 and 1"),
        (
            {"layer_64_1_conv1": [*blobs["layer_64_1_conv1"], np.ones(64)]},
            "'layer_64_1_conv1' has the shape 64×64×3×3 and 64 in the file, but 64×64×3×3 in the",
        ),
        ({**blobs, "conv1": colour["conv1"]}, "'conv1' 64×3×7×7, 'data_bn' 1, 'data_scale' 1"),
        ({**blobs, "data_bn": colour["data_bn"]}, "'conv1' 64×1×7×7, 'data_bn' 3, 'data_scale'"),
        ({**colour, "data_scale": blobs["data_scale"]}, "'data_bn' 3, 'data_scale' 1"),
        ({"data_bn": colour["data_bn"]}, "input layers are 'data_bn' 3. Expected"),
        (
            changed(colour, "conv1", 0, lambda b: np.concatenate([b, b[:, :1]], axis=1)),
            "'conv1' 64×4×7×7",
        ),
        (changed(colour, "conv1", 0, lambda b: b[:32]), "32×3×7×7 and 64 .*64×3×7×7 and 64"),
        (changed(blobs, "conv1_bn", 1, lambda b: -b), "'conv1_bn': A variance is -"),
        (changed(blobs, "conv1_bn", 2, lambda b: -b), "'conv1_bn': The divisor .* is -"),
        ({"fc6": [np.ones(3)]}, r"None of the file's layers \(fc6\) belongs to the spatial net"),
    ]
    for case, message in cases:
        with pytest.raises(UserError, match=message):
            map_blobs(case)
    with pytest.raises(UserError, match="3×512 and 3 in the file, but 3×1024 and 3 in the network"):
        map_blobs(blobs, "fusion")


def test_the_command_line_prints_errors_in_one_line(tmp_path):
    path, out = tmp_path / "a.caffemodel", tmp_path / "w"

    def refused(*arguments) -> str:
        done = command(*arguments)
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        assert not out.exists()
        return done.stderr

    blobs = {"conv1": [np.ones((32, 1, 7, 7)), np.ones(32)]}
    path.write_bytes(caffemodel(blobs))
    message = refused("--caffemodel", path, "--model=spatial", "--out", out)
    assert message.startswith(
        f"Error: {path}: Layer 'conv1' has the shape 32×1×7×7 and 32 in the file, but"
    )
    path.write_bytes(path.read_bytes()[:-100])
    message = refused("--caffemodel", path, "--model=spatial", "--out", out)
    assert message.startswith(f"Error: {path}: The file cannot be read as a binary .caffemodel")


def test_an_output_folder_that_holds_something_stays_as_it_is(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    path = tmp_path / "a.caffemodel"
    path.write_bytes(caffemodel(reference("spatial").blobs))
    with pytest.raises(UserError, match="mine already exists"):
        import_caffe(path, "spatial", tmp_path / "mine")
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.caffemodel", "mine"]
