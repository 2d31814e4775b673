"""STSTNet's published networks, as PyTorch writes them, against a forward pass written out."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from atnet_jax.config import default_config
from atnet_jax.data.composite import load_composite
from atnet_jax.data.folds import Fold, make_folds
from atnet_jax.errors import UserError
from atnet_jax.evaluation import predictions
from atnet_jax.evaluation.runs import load_run
from atnet_jax.experiments import published_ststnet as import_torch
from data_builders.prepare import prepare
from tests.settings import change
from tests.tiny_runs import REPOSITORY

SUBJECTS = {"casme2": ("sub01", "sub02"), "samm": ("006", "007"), "smic": ("s01", "s02")}
NAMES = [name for names in SUBJECTS.values() for name in names]
FILTERS = (3, 5, 8)


def random_state(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    state = {}
    for k, count in enumerate(FILTERS, start=1):
        # Small enough for grey levels up to 255.
        state[f"conv{k}.weight"] = rng.normal(size=(count, 3, 3, 3)) / 300
        state[f"conv{k}.bias"] = rng.normal(size=count)
        state[f"bn{k}.weight"] = rng.normal(size=count)
        state[f"bn{k}.bias"] = rng.normal(size=count)
        state[f"bn{k}.running_mean"] = rng.normal(size=count)
        state[f"bn{k}.running_var"] = rng.uniform(0.5, 2, size=count)
        state[f"bn{k}.num_batches_tracked"] = np.array(800, np.int64)
    state["fc.weight"] = rng.normal(size=(3, 400)) / 10
    state["fc.bias"] = rng.normal(size=3)
    return {k: v.astype(np.float32) if v.dtype.kind == "f" else v for k, v in state.items()}


def windows(x, size, stride):
    """`[clip, channel, row, column, size, size]`."""
    view = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(2, 3))
    return view[:, :, ::stride, ::stride]


def forward(state, maps):
    """Scores of maps `[clip, row, column, (u, v, strain)]`, layer by layer as the port has them."""
    x = maps.astype(np.float64)[..., [2, 1, 0]].transpose(0, 3, 1, 2)  # blue, green, red
    low, high = x.min((2, 3), keepdims=True), x.max((2, 3), keepdims=True)
    x = (x - low) / (high - low) * 255
    streams = []
    for k in (1, 2, 3):
        own = {name: state[f"{name}"].astype(np.float64) for name in state if f"{k}." in name}
        padded = np.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2)))
        y = np.einsum("bcijkl,fckl->bfij", windows(padded, 3, 1), own[f"conv{k}.weight"])
        y = np.maximum(y + own[f"conv{k}.bias"][:, None, None], 0)
        mean, var, scale, bias = (
            own[f"bn{k}.{name}"][:, None, None]
            for name in ("running_mean", "running_var", "weight", "bias")
        )
        y = (y - mean) / np.sqrt(var + 1e-5) * scale + bias
        y = np.pad(y, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
        streams.append(windows(y, 3, 3).max((4, 5)))
    y = windows(np.concatenate(streams, axis=1), 2, 2).mean((4, 5))
    assert y.shape[1:] == (16, 5, 5)
    logits = y.reshape(len(y), -1) @ state["fc.weight"].astype(np.float64).T + state["fc.bias"]
    weights = np.exp(logits - logits.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    return prepare_subjects(tmp_path_factory.mktemp("flow_maps"), SUBJECTS)


def prepare_subjects(root: Path, subjects) -> Path:
    rng = np.random.default_rng(0)
    with (root / "manifest.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["dataset", "subject", "clip", "label", "flow_map"])
        for dataset, names in subjects.items():
            for subject in names:
                for clip in range(3):
                    name = f"{dataset}_{subject}_{clip}.npy"
                    np.save(root / name, rng.normal(size=(28, 28, 3)).astype(np.float32))
                    table.writerow([dataset, subject, f"c{clip}", clip, name])
    prepare("manifest", root, root / "data", num_workers=1)
    return root / "data"


def settings(data_dir: Path):
    config = default_config("ststnet")
    change(config, datasets=("manifest",), dir=str(data_dir))
    return config


@pytest.fixture
def folder(tmp_path) -> Path:
    """Weights of a separate network for every subject."""
    path = tmp_path / "weights"
    path.mkdir()
    for seed, name in enumerate(NAMES):
        safetensors.numpy.save_file(random_state(seed), path / f"{name}.safetensors")
    return path


def command(*arguments: str, data_dir: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "atnet_jax", "score-ststnet", f"--data_dir={data_dir}",
         "--datasets=manifest", *arguments],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_each_subject_is_scored_by_its_own_network(folder, data_dir, tmp_path):
    (folder / "README.txt").write_text("not weights")
    done = command(f"--weights={folder}", f"--workdir={tmp_path / 'run'}", data_dir=data_dir)
    assert done.returncode == 0, done.stderr
    assert "# STSTNet" in done.stdout
    rows = predictions.read(tmp_path / "run" / "predictions.csv")
    composite = load_composite(data_dir, ("manifest",), "spatiotemporal", ("flow_map",))
    assert len(rows) == 18
    names = list(zip(composite.dataset, composite.subject, composite.clip, strict=True))
    for row in rows:
        seed = NAMES.index(row.subject)
        clip = names.index((row.dataset, row.subject, row.clip))
        [expected] = forward(random_state(seed), composite.inputs["flow_map"][clip : clip + 1])
        np.testing.assert_allclose(row.scores, expected, atol=2e-5)
        assert row.predicted == expected.argmax()
    assert np.ptp([row.scores for row in rows], axis=0).min() > 0.1
    run = load_run(tmp_path / "run")
    assert f"from the files in {folder}" in run.notes[0]
    assert run.record.size == {"parameters": 1683}
    assert run.record.command.startswith("atnet score-ststnet --data_dir=")
    assert run.record.init_from is not None and len(run.record.init_from) == 64
    assert run.model == "ststnet"
    assert "No network was trained in this run" in (tmp_path / "run" / "report.html").read_text()
    assert "No network was trained in this run" in (tmp_path / "run" / "table.md").read_text()


def test_another_run_in_the_workdir_is_refused(folder, data_dir, tmp_path):
    config = settings(data_dir)
    import_torch.import_torch(config, folder, tmp_path / "run")
    import_torch.import_torch(config, folder, tmp_path / "run")
    safetensors.numpy.save_file(random_state(9), folder / "s02.safetensors")
    with pytest.raises(UserError, match=r"holds another run.*init_from"):
        import_torch.import_torch(config, folder, tmp_path / "run")


@pytest.fixture
def folds(data_dir):
    composite = load_composite(data_dir, ("manifest",), "spatiotemporal", ())
    return make_folds("cde", composite)


def test_files_are_matched_by_name(folder, folds):
    (folder / "sub99.pth").write_bytes(b"")
    chosen, unused = import_torch.match_files(folder, folds)
    assert [path.name for path in chosen] == [
        f"{fold.name.split('/')[1]}.safetensors" for fold in folds
    ]
    assert [path.name for path in unused] == ["sub99.pth"]


def test_missing_subjects_are_listed(folder, folds, data_dir, tmp_path):
    (folder / "007.safetensors").rename(folder / "8.safetensors")
    (folder / "s01.safetensors").unlink()
    message = r"no file for 2 of 6 subjects: samm/007, smic/s01\..*match no subject: 8\.safetensors"
    with pytest.raises(UserError, match=message):
        import_torch.match_files(folder, folds)
    with pytest.raises(UserError, match=message):
        import_torch.import_torch(settings(data_dir), folder, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_two_files_of_one_subject_are_refused(folder, folds):
    (folder / "006.pth").write_bytes(b"")
    with pytest.raises(UserError, match=r"for one subject: 006\.pth, 006\.safetensors"):
        import_torch.match_files(folder, folds)


def test_subjects_of_one_name_are_refused(folder, data_dir):
    composite = load_composite(data_dir, ("manifest",), "spatiotemporal", ())
    composite.subject[:] = [name.replace("006", "sub01") for name in composite.subject]
    with pytest.raises(UserError, match="the same name: casme2/sub01, samm/sub01"):
        import_torch.match_files(folder, make_folds("cde", composite))


def test_folders_without_weights_are_refused(folds, tmp_path):
    with pytest.raises(UserError, match="none does not exist"):
        import_torch.match_files(tmp_path / "none", folds)
    with pytest.raises(UserError, match=r"no file ending in \.pth or \.safetensors"):
        import_torch.match_files(tmp_path, folds)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fc.weight": np.zeros((3, 784), np.float32)}, r"fc.weight has the shape \(3, 784\), ex"),
        ({"conv2.weight": np.zeros((5, 3, 5, 5), np.float32)}, r"conv2.weight has the shape"),
        ({"bn1.bias": np.zeros(3, np.int32)}, r"bn1.bias \(int32\) must contain only finite"),
        (
            {"bn1.running_var": np.full(3, np.nan, np.float32)},
            r"bn1.running_var .* must contain only finite",
        ),
        ({"fc2.bias": np.zeros(3, np.float32)}, r"Missing: none. Unknown: fc2.bias\."),
        (
            {"conv3.bias": None, "bn2.weight": None},
            r"Missing: conv3.bias, bn2.weight. Unk",
        ),
    ],
)
def test_other_tensors_are_refused_by_name(change, message):
    state = {k: v for k, v in {**random_state(0), **change}.items() if v is not None}
    with pytest.raises(UserError, match=f"^some/file.pth.*{message}"):
        import_torch.to_variables(state, Path("some/file.pth"))


def test_the_counters_of_batches_may_be_missing():
    state = random_state(0)
    expected = import_torch.to_variables(state, Path("a"))
    for k in (1, 2, 3):
        del state[f"bn{k}.num_batches_tracked"]
    found = import_torch.to_variables(state, Path("a"))
    assert np.array_equal(found["params"]["norm"]["scale"], expected["params"]["norm"]["scale"])


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / "s01.safetensors"
    path.write_bytes(b"\xff" * 40)
    with pytest.raises(UserError, match=r"Cannot read .*s01\.safetensors as safetensors"):
        import_torch.read_state(path)


def test_pytorch_is_asked_for_only_where_it_is_needed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    path = tmp_path / "s01.safetensors"
    safetensors.numpy.save_file(random_state(0), path)
    assert import_torch.read_state(path).keys() == random_state(0).keys()
    with pytest.raises(UserError, match=r"(?s)requires PyTorch.*pip install torch`, or convert"):
        import_torch.read_state(tmp_path / "s01.pth")


def test_files_of_pytorch_are_read_without_running_them(tmp_path):
    torch = pytest.importorskip("torch")
    state = random_state(0)
    torch.save({name: torch.from_numpy(array) for name, array in state.items()}, tmp_path / "a.pth")
    found = import_torch.read_state(tmp_path / "a.pth")
    assert found.keys() == state.keys()
    assert all(np.array_equal(found[name], state[name]) for name in state)
    torch.save({**state, "hook": Touches(tmp_path / "touched")}, tmp_path / "b.pth")
    with pytest.raises(UserError, match=r"Cannot read .*b\.pth as a state dict of tensors"):
        import_torch.read_state(tmp_path / "b.pth")
    assert not (tmp_path / "touched").exists()


class Touches:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path):
        self._path = path

    def __reduce__(self):
        return Path.touch, (self._path,)


def test_mistakes_on_the_command_line_are_one_line(tmp_path):
    done = command(f"--weights={tmp_path}", f"--workdir={tmp_path / 'run'}", data_dir=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: The data set 'manifest'")
    assert "Traceback" not in done.stderr


def test_names_of_the_published_files(tmp_path):
    """SAMM's are 006.pth … 037.pth, where our subjects are 6 … 37."""
    subjects = {"casme2": "sub01", "samm": "6", "smic": "s01"}
    for name in ("sub01", "006", "s01", "007"):
        (tmp_path / f"{name}.pth").touch()
    nothing = np.zeros(0, np.intp)
    folds = [
        Fold(number, f"{dataset}/{subject}", nothing, nothing, nothing)
        for number, (dataset, subject) in enumerate(subjects.items())
    ]
    chosen, unused = import_torch.match_files(tmp_path, folds)
    assert [path.name for path in chosen] == ["sub01.pth", "006.pth", "s01.pth"]
    assert [path.name for path in unused] == ["007.pth"]


def test_the_prefix_of_parallel_networks_is_removed():
    state = random_state(0)
    wrapped = {f"module.{name}": array for name, array in state.items()}
    one, other = (import_torch.to_variables(each, Path("a")) for each in (state, wrapped))
    assert np.array_equal(one["params"]["streams"]["kernel"], other["params"]["streams"]["kernel"])


def test_pointers_of_git_lfs_are_named(tmp_path):
    path = tmp_path / "6.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(UserError, match="only a pointer of Git LFS"):
        import_torch.read_state(path)
