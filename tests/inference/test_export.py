import dataclasses
import functools
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import atnet_jax.inference.export as exporting
from atnet_jax import commands, models
from atnet_jax.commands import export as command
from atnet_jax.config import default_config
from atnet_jax.errors import UserError
from atnet_jax.evaluation.model_card import NOT_FOR
from atnet_jax.inference.export.program import PLATFORMS, export_program, named_arrays
from atnet_jax.inference.export.signature import describe
from atnet_jax.training import trained
from atnet_jax.training.trained import Networks, input_shapes
from tests.evaluation.report.workdirs import write_run

_NETWORKS = ("fusion", "micro_attention", "ststnet", "temporal")
# How large their classifiers are, so that no class is certain.
_CLASSIFIER = {"fusion": 2.0, "micro_attention": 0.0005, "ststnet": 0.02, "temporal": 2.0}


def _blank(model: str, image_size: int = 32, **options: Any) -> Networks:
    """A network whose arrays are all zero."""
    config = default_config(model)
    config.data.image_size = image_size
    config.options.update(options)
    network = models.find(config.model).build_network(config.options.to_dict())
    inputs = {name: jnp.zeros((2, *shape)) for name, shape in input_shapes(config).items()}
    variables = jax.eval_shape(lambda: network.init(jax.random.key(0), inputs, train=False))
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), variables)
    return Networks(config, network, ("all subjects",), ({"batch_stats": {}, **zeros},))


def _inputs(trained: Networks, clips: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(clips)
    draw: dict[str, Callable[..., np.ndarray]] = {
        "apex": lambda shape: random.integers(0, 256, shape, np.uint8),
        "adm": lambda shape: random.normal(0, 1, shape).astype(np.float32),
        "flow_map": lambda shape: random.normal(0, 1, shape).astype(np.float32),
    }
    shapes = input_shapes(trained.config)
    return {name: draw[name]((clips, *shape)) for name, shape in shapes.items()}


@functools.cache
def _trained(model: str) -> Networks:
    """Two networks of random arrays, whose logits differ by about 1."""
    blank = _blank(model)
    random = np.random.default_rng(len(model))

    def draw(path: Any, leaf: np.ndarray) -> np.ndarray:
        scale = _CLASSIFIER[model] if "classifier" in str(path) else 1.0
        if leaf.ndim > 1:
            fan_in = leaf[..., 0].size
            return (scale * random.normal(0, fan_in**-0.5, leaf.shape)).astype(np.float32)
        return random.uniform(0.5, 1.5, leaf.shape).astype(np.float32)

    def network() -> Any:
        return jax.tree_util.tree_map_with_path(draw, blank.variables[0])

    return dataclasses.replace(
        blank,
        names=("fold 0 (casme2/sub01)", "fold 1 (casme2/sub02)"),
        variables=(network(), network()),
        face="mtcnn",
        notes=("A note.",),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Callable[[str], Path]:
    """Model → its exported folder."""

    @functools.cache
    def exported(model: str) -> Path:
        out = tmp_path_factory.mktemp("exported") / model
        exporting.export(_trained(model), out)
        return out

    return exported


@pytest.fixture(scope="module")
def loaded(folder) -> Callable[[str], Any]:
    """Model → what the loader makes of its exported folder."""
    return functools.cache(lambda model: _load(folder(model)))


@pytest.fixture
def copy(folder, tmp_path) -> Path:
    return Path(shutil.copytree(folder("ststnet"), tmp_path / "copy"))


def _load(folder: Path) -> tuple[dict[str, Any], Callable[..., np.ndarray]]:
    names: dict[str, Any] = {}
    text = (folder / "README.md").read_text(encoding="utf-8")
    exec(text.split("```python")[1].split("```")[0], names)
    return names["load"](folder)


@pytest.mark.parametrize("model", _NETWORKS)
def test_loaded_program_gives_the_scores_of_the_networks(model, loaded):
    networks = _trained(model)
    signature, probabilities = loaded(model)
    inputs = _inputs(networks, 5)
    scores = networks.scores(inputs)
    assert scores.std(axis=1).min() > 1e-4, "the clips are all alike"
    assert np.abs(scores[0] - scores[1]).max() > 0.01, "the networks are all alike"
    given = probabilities(inputs)
    assert given.shape == (2, 5, 3) and given.dtype == np.float32
    np.testing.assert_allclose(given, scores, atol=1e-6)
    np.testing.assert_allclose(given.mean(axis=0), scores.mean(axis=0), atol=1e-6)
    one = probabilities({name: array[3:4] for name, array in inputs.items()})
    np.testing.assert_allclose(one, scores[:, 3:4], atol=1e-6)
    assert signature["model"] == model
    assert [each["name"] for each in signature["networks"]] == list(networks.names)


_FRESH = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("atnet_jax", "data_builders", "flax", "orbax", "optax", "absl"):
            raise ImportError(f"{name} is not to be had here")

sys.meta_path.insert(0, Blocked())
folder, inputs, out = sys.argv[1:]
exec(open(folder + "/README.md", encoding="utf-8").read().split("```python")[1].split("```")[0])
signature, probabilities = load(folder)
np.save(out, probabilities(dict(np.load(inputs))))
try:
    import atnet_jax
except ImportError:
    print(signature["model"], "loaded alone")
"""


def test_code_of_the_readme_runs_without_this_package(folder, tmp_path):
    networks = _trained("fusion")
    inputs = _inputs(networks, 5)
    np.savez(tmp_path / "inputs.npz", **inputs)
    arguments = [folder("fusion"), tmp_path / "inputs.npz", tmp_path / "out.npy"]
    done = subprocess.run(
        [sys.executable, "-I", "-c", _FRESH, *map(str, arguments)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "fusion loaded alone\n", done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), networks.scores(inputs), atol=1e-6)


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("spatial", {}),
        ("fusion", {"fusion": "score", "joint": False}),
        ("temporal", {"time_pooling": "last", "mask_time": True}),
    ],
)
def test_options_and_the_other_network_can_be_exported(model, options):
    program = export_program(_blank(model, **options))
    assert program.platforms == PLATFORMS == ("cpu", "cuda", "tpu")
    assert str(program.out_avals[0].shape) == "(clip, 3)"


def test_program_is_for_all_platforms_and_holds_nothing_of_this_machine(folder):
    content = (folder("fusion") / "program.jax_export").read_bytes()
    program = jax.export.deserialize(bytearray(content))
    assert program.platforms == PLATFORMS
    for trace in (b"atnet_jax/", b".py", b"site-packages", str(Path.cwd()).encode()):
        assert trace not in content
    text = program.mlir_module()
    # Only JAX's check of the inputs' shapes: nothing is called that another machine may lack.
    assert set(re.findall(r"custom_call @(\w+)", text)) == {"shape_assertion"}
    products = [
        line
        for line in text.splitlines()
        if re.search(r"stablehlo\.(dot_general|convolution)", line)
    ]
    assert all(line.count("HIGHEST") == 2 for line in products)
    # Twelve layers, written once a platform: on none are they products of patches.
    assert sum("stablehlo.convolution" in line for line in products) == 12 * len(PLATFORMS)


def test_source_locations_are_kept_again_afterwards():
    before = jax.config.jax_traceback_in_locations_limit
    export_program(_blank("ststnet"))
    assert jax.config.jax_traceback_in_locations_limit == before != 0


def test_signature_describes_the_inputs_of_the_program(folder):
    networks = _trained("fusion")
    out = folder("fusion")
    signature = json.loads((out / "signature.json").read_text())
    program = jax.export.deserialize(bytearray((out / "program.jax_export").read_bytes()))
    (weights, inputs), _ = jax.tree.unflatten(program.in_tree, program.in_avals)
    assert {
        each["name"]: (f"({', '.join(map(str, each['shape']))})", each["dtype"])
        for each in signature["inputs"]
    } == {name: (str(each.shape), each.dtype.name) for name, each in inputs.items()}
    assert {each["name"]: tuple(each["shape"]) for each in signature["weights"]} == {
        name: each.shape for name, each in weights.items()
    }
    assert signature["schema_version"] == 1
    assert signature["classes"] == ["negative", "positive", "surprise"]
    assert signature["digest"] == networks.digest
    assert signature["versions"]["jax"] == jax.__version__
    assert signature["program"]["calling_convention_version"] == program.calling_convention_version
    assert signature["preparation"] == {
        "image_size": 32, "face": "mtcnn", "flow": "spatiotemporal", "circular": False,
        "cancel_alternation": False, "remove_head_motion": False,
    }  # fmt: skip
    assert signature["notes"] == ["A note."]
    apex, adm = signature["inputs"]
    assert "Reduced to 32×32" in apex["how"] and "detector: mtcnn" in apex["how"]
    assert "arithmetic mean" in adm["how"] and "--flow=spatiotemporal" in adm["how"]


def test_signature_records_the_optical_flow():
    networks = _blank("temporal", image_size=224)
    networks.config.data.flow = "tv_l1_circular_stabilised"
    signature = describe(networks, export_program(networks))
    assert signature["preparation"]["flow"] == "tv_l1"
    assert signature["preparation"]["remove_head_motion"] is True
    (adm,) = signature["inputs"]
    assert "circular mean" in adm["how"]
    assert "--flow=tv_l1 --circular --remove_head_motion" in adm["how"]


def test_signature_records_the_magnification():
    networks = _blank("spatial", image_size=32)
    program = export_program(networks)
    (plain,) = describe(networks, program)["inputs"]
    networks.config.recipe.magnification = 8.0
    (magnified,) = describe(networks, program)["inputs"]
    assert "8 times its own size" in magnified["how"]
    assert "magnif" not in plain["how"]


def test_files_are_those_of_the_signature_and_hold_the_arrays(folder):
    networks = _trained("fusion")
    out = folder("fusion")
    signature = json.loads((out / "signature.json").read_text())
    parts = [signature["program"], signature["example"], *signature["networks"]]
    assert {path.name for path in out.iterdir()} == {
        "README.md", "signature.json", *(part["file"] for part in parts),
    }  # fmt: skip
    for part in parts:
        content = (out / part["file"]).read_bytes()
        assert len(content) == part["bytes"]
        assert hashlib.sha256(content).hexdigest() == part["sha256"]
    for part, variables in zip(signature["networks"], networks.variables, strict=True):
        stored = np.load(io.BytesIO((out / part["file"]).read_bytes()), allow_pickle=False)
        jax.tree.map(np.testing.assert_array_equal, dict(stored), named_arrays(variables))


def test_readme_of_an_export_contains_the_important_facts(folder):
    text = (folder("fusion") / "README.md").read_text()
    assert NOT_FOR in text
    assert "> A note." in text
    assert "| `apex` | [clip, 32, 32, 1] uint8 | grey level, 0 to 255 |" in text
    assert "| `network_001.npz` | the weights of: fold 1 (casme2/sub02) |" in text


def test_inputs_of_another_size_or_type_are_refused(loaded):
    _, probabilities = loaded("fusion")
    inputs = _inputs(_trained("fusion"), 5)
    with pytest.raises(ValueError, match="apex"):
        probabilities({**inputs, "apex": inputs["apex"].astype(np.float32) / 255})
    with pytest.raises(ValueError, match="apex"):
        probabilities({**inputs, "apex": inputs["apex"][:, :28, :28]})
    with pytest.raises(ValueError):
        probabilities({**inputs, "adm": inputs["adm"][:4]})


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _swap(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda out: _flip(out / "network_001.npz"),
        lambda out: _flip(out / "program.jax_export"),
        lambda out: _flip(out / "example.npz"),
        lambda out: (out / "network_000.npz").write_bytes(b""),
        lambda out: _swap(out / "network_000.npz", out / "network_001.npz"),
    ],
)
def test_loader_refuses_damaged_files(copy, spoil):
    spoil(copy)
    with pytest.raises(ValueError, match="damaged"):
        _load(copy)


def test_loader_refuses_a_machine_that_computes_otherwise(copy):
    signature = json.loads((copy / "signature.json").read_text())
    example = dict(np.load(copy / "example.npz"))
    example["probabilities"] += np.float32(0.001)
    content = io.BytesIO()
    np.savez(content, **example)
    (copy / "example.npz").write_bytes(content.getvalue())
    signature["example"]["sha256"] = hashlib.sha256(content.getvalue()).hexdigest()
    (copy / "signature.json").write_text(json.dumps(signature))
    with pytest.raises(ValueError, match=r"errs by 0\.00"):
        _load(copy)


def test_program_that_errs_is_not_written(monkeypatch, tmp_path):
    def wrong(variables):
        return {name: 2 * array for name, array in named_arrays(variables).items()}

    monkeypatch.setattr(exporting, "named_arrays", wrong)
    with pytest.raises(RuntimeError, match=r"errs by .* fold 0"):
        exporting.export(_trained("ststnet"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda out: (out / "mine").mkdir(parents=True),
        Path.touch,
        lambda out: out.symlink_to("nowhere"),
    ],
)
def test_existing_name_is_refused_before_anything_is_read(make, tmp_path):
    out = tmp_path / "out"
    make(out)
    with pytest.raises(UserError, match=r"out already exists\. Choose a new --out"):
        command.run(Namespace(run=tmp_path / "no_such_run", out=out))
    with pytest.raises(UserError, match="already exists"):
        exporting.export(_blank("ststnet"), out)


def test_folder_is_whole_or_not_there(monkeypatch, tmp_path):
    written = []
    out = tmp_path / "deep" / "out"

    def fails(path, content):
        assert not out.exists()
        if written:
            raise OSError(28, "No space left on device")
        written.append(path)
        path.write_bytes(content)

    monkeypatch.setattr(exporting.files, "write_bytes_atomically", fails)
    with pytest.raises(UserError, match=r"out: the networks cannot be written .*No space"):
        exporting.export(_trained("ststnet"), out)
    assert len(written) == 1
    assert list((tmp_path / "deep").iterdir()) == []


def test_command_exports_a_run_to_the_same_bytes_each_time(folder, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(trained, "load_networks", lambda workdir: _trained("ststnet"))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    out = tmp_path / "deep" / "out"
    assert commands.run(["export", str(tmp_path / "run"), f"--out={out}"]) == 0
    report = capsys.readouterr().out
    assert re.match(r"2 × ststnet, 0\.\d MB\nA note\.\nNot for decisions about people", report)
    assert report.endswith(f"{out}/README.md\n")
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert not list(temporary.iterdir())
    for path in folder("ststnet").iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes(), path.name


def test_run_of_an_svm_is_refused(tmp_path):
    run = write_run(tmp_path / "run", "lbp_top")
    with pytest.raises(UserError, match="an SVM and keeps no trained network"):
        command.run(Namespace(run=run, out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_command_line_errors_have_no_traceback(tmp_path):
    def start(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "atnet_jax", "export", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    given = (f"{tmp_path}/nowhere", f"--out={tmp_path}/out")
    processes = {
        "nowhere: no such folder. Pass the workdir": start(*given),
        "Unknown option --onnx": start(*given, "--onnx"),
    }
    for message, process in processes.items():
        _, said = process.communicate(timeout=120)
        assert process.returncode == 1
        assert message in said and "Traceback" not in said
