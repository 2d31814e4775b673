"""The Python interface: the names of `import atnet_jax`, and that they agree with the commands."""

import dataclasses
import inspect
import json
import pickle
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

import atnet_jax as atnet
from atnet_jax.preprocessing.annotation import Clip
from atnet_jax.preprocessing.clip import describe
from atnet_jax.preprocessing.crops import cut
from data_builders.synthetic import clip_specs
from data_builders.synthetic.scene import Scene
from tests.tiny_runs import settings

NAN = float("nan")
PUBLIC = [name for name in sorted(atnet.__all__) if name not in ("CLASSES", "models")]


@pytest.fixture(scope="module")
def workdir(data_dir, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "cde"
    runs = atnet.train(settings(data_dir, seeds=(0, 3)), folder)
    assert [run.seed for run in runs] == [0, 3]
    return folder


@pytest.fixture(scope="module")
def clip() -> tuple[np.ndarray, int, int, int]:
    """RGB frames of a rendered expression, and its onset, apex and offset."""
    spec = clip_specs("casme2", 1, 1, 0)[0]
    spec = dataclasses.replace(spec, first=0, onset=5, apex=14, offset=26, last=29, peak=5.0)
    scene = Scene(spec)
    return np.stack([scene.frame(number)[..., ::-1] for number in spec.frames]), 5, 14, 26


# --- The names ---


def test_import_is_fast_as_it_imports_nothing_slow():
    code = "import atnet_jax, sys; print({'jax', 'cv2', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_documented(name):
    found = getattr(atnet, name)
    text = inspect.getdoc(found) or ""
    assert text.partition("\n")[0].endswith("."), f"{name}: no first sentence"
    if inspect.isclass(found):
        if dataclasses.is_dataclass(found):
            fields = {field.name for field in dataclasses.fields(found)}
            section = "Attributes:"
        else:
            return
    else:
        fields, section = set(inspect.signature(found).parameters), "Args:"
    if len(fields) > 1 or section in text:
        lines = text.partition(section)[2]
        missing = [field for field in fields if f"    {field}: " not in lines]
        assert not missing, f"{name} does not describe {missing} under {section}"


def test_the_type_marker_and_the_stub_are_in_the_package():
    package = Path(atnet.__file__).parent
    assert (package / "py.typed").is_file()
    assert (package / "__init__.pyi").is_file()


# --- Configurations ---


def test_settings_are_laid_over_a_configuration():
    config = atnet.load_config(
        "demo:lbp_top", {"data": {"datasets": ["casme2", "samm"]}, "options.points": 8, "seeds": 2}
    )
    assert config.data.datasets == ("casme2", "samm")
    assert (config.options.points, config.seeds) == (8, (2,))


def test_values_of_a_sweep_are_taken(tmp_path):
    config = atnet.load_config(
        "cde:ststnet",
        {
            "recipe.num_epochs": np.int64(3),
            "recipe.learning_rate": np.float64(0.1),
            "seeds": range(3),
            "data.dir": tmp_path,
        },
    )
    assert (config.recipe.num_epochs, config.recipe.learning_rate) == (3, 0.1)
    assert (config.seeds, config.data.dir) == ((0, 1, 2), str(tmp_path))


def test_a_configuration_file_that_fails_is_named(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def get_config(:\n")
    with pytest.raises(atnet.UserError, match=r"mine\.py: this Python file fails: SyntaxError"):
        atnet.load_config(file)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"recipe.num_epoch": 2}, "Unknown setting config.recipe.num_epoch. Did you mean"),
        ({"recipe.num_epochs": "two"}, "config.recipe.num_epochs is 'two', expected"),
        ({"recipe.num_epochs": 0}, "config.recipe.num_epochs is 0, expected"),
        ({"options.points": 5}, "config.options.points is 5, expected"),
    ],
)
def test_a_wrong_setting_is_refused(given, message):
    with pytest.raises(atnet.UserError, match=message):
        atnet.load_config("demo:lbp_top", given)


# --- Training ---


def test_a_fold_trained_alone_equals_that_of_the_run(data_dir, workdir):
    config = settings(data_dir, seeds=(3,))
    composite = atnet.load_inputs(config)
    folds = atnet.make_folds("cde", composite)
    fitted = atnet.train_fold(config, composite, folds, 1)
    run = atnet.load_run(workdir / "seed_3")
    rows = [row for row in run.predictions if row.fold == 1]
    # STSTNet's folds train together in a run, which is the same to within rounding.
    np.testing.assert_allclose(fitted.scores, [row.scores for row in rows], atol=1e-5)
    np.testing.assert_array_equal(fitted.predicted, [row.predicted for row in rows])
    np.testing.assert_array_equal(fitted.labels, [row.label for row in rows])
    np.testing.assert_allclose(fitted.loss, run.curves[1].loss, rtol=1e-5)
    assert fitted.networks is not None
    tested = {name: array[fitted.fold.test] for name, array in composite.inputs.items()}
    np.testing.assert_allclose(fitted.networks.scores(tested)[0], fitted.scores, atol=1e-6)


def test_labels_of_test_clips_do_not_reach_the_training(data_dir):
    config = settings(data_dir)
    composite = atnet.load_inputs(config)
    folds = atnet.make_folds("cde", composite)
    labels = composite.labels.copy()
    labels[folds[0].test] = (labels[folds[0].test] + 1) % 3
    changed = dataclasses.replace(composite, labels=labels)
    first, second = (atnet.train_fold(config, each, folds, 0) for each in (composite, changed))
    np.testing.assert_array_equal(first.scores, second.scores)


def test_a_fold_of_features_and_an_svm(data_dir):
    config = settings(data_dir)
    composite = atnet.load_inputs(config)
    features = composite.inputs["flow_map"].reshape(len(composite.labels), -1)
    config = atnet.load_config("cde:hoof_n4_tim10")
    composite = dataclasses.replace(composite, inputs={"features": features})
    fitted = atnet.train_fold(config, composite, atnet.make_folds("cde", composite), 0)
    assert fitted.networks is None
    np.testing.assert_allclose(fitted.scores.sum(axis=1), 1, atol=1e-6)


def test_train_fold_rejects_invalid_arguments(data_dir):
    config = settings(data_dir)
    composite = atnet.load_inputs(config)
    folds = atnet.make_folds("cde", composite)
    with pytest.raises(atnet.UserError, match="expected the index"):
        atnet.train_fold(config, composite, folds, len(folds))
    with pytest.raises(atnet.UserError, match=r"config\.seeds is"):
        atnet.train_fold(settings(data_dir, seeds=(0, 1)), composite, folds, 0)
    with pytest.raises(atnet.UserError, match="input 'adm' is missing"):
        atnet.train_fold(atnet.load_config("cde:temporal"), composite, folds, 0)


# --- Finished runs ---


def test_runs_are_found_below_a_workdir(workdir):
    assert [run.seed for run in atnet.load_runs(workdir)] == [0, 3]
    assert [run.seed for run in atnet.load_runs(workdir / "seed_3")] == [3]
    with pytest.raises(atnet.UserError, match="holds no run"):
        atnet.load_runs(workdir / "seed_3" / "checkpoints")


def test_tables_are_columns(workdir, data_dir):
    run = atnet.load_run(workdir / "seed_0")
    table = run.table()
    lines = (workdir / "seed_0" / "predictions.csv").read_text().splitlines()
    assert ",".join(table) == lines[0]
    assert {len(column) for column in table.values()} == {len(lines) - 1}
    assert table["clip"] == [row.clip for row in run.predictions]
    clips = atnet.load_inputs(settings(data_dir)).table()
    assert set(clips) == {"dataset", "subject", "clip", "label", "class"}
    assert [atnet.CLASSES[label] for label in clips["label"]] == clips["class"]


def test_scores_are_those_of_the_run_and_of_scikit_learn(workdir):
    table = atnet.load_run(workdir / "seed_0").table()
    found = atnet.score(table["label"], table["predicted"])
    written = json.loads((workdir / "seed_0" / "metrics.json").read_text())["full"]
    assert found == {name: written[name] for name in ("accuracy", "uf1", "uar")}
    labels, predicted = table["label"], table["predicted"]
    f1 = f1_score(labels, predicted, average="macro", zero_division=0)
    assert found["uf1"] == pytest.approx(f1)
    assert found["uar"] == pytest.approx(balanced_accuracy_score(labels, predicted))


# --- A clip in memory ---


def test_frames_in_memory_are_prepared_as_files_are(clip, tmp_path):
    frames, onset, apex, offset = clip
    grey = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])
    files = {}
    for number, frame in enumerate(grey):
        files[number] = tmp_path / f"{number}.png"
        cv2.imwrite(str(files[number]), frame)
    annotated = Clip(
        dataset="casme2", subject="1", clip="a", emotion="happiness", label=1,
        onset=onset, apex=apex, offset=offset, frame_rate=200.0, frames=files,
    )  # fmt: skip
    method = atnet.flow_method("farneback")
    crops = cut(annotated, face="mtcnn", box=None, reach=method.reach)
    expected = describe(crops, flow=method, frame_rate=200.0)
    found = atnet.prepare_frames(
        frames, apex, onset=onset, offset=offset, flow="farneback", frame_rate=200.0
    )
    for name in ("apex", "adm", "flow_map", "flow", "frames", "landmarks"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)
    assert found.colour is not None
    assert found.colour.shape == (7, 224, 224, 3)
    plain = atnet.prepare_frames(grey, apex, onset=onset, offset=offset, flow="farneback")
    np.testing.assert_array_equal(plain.adm, expected.adm)
    assert plain.colour is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"apex": 40}, "onset <= apex <= offset"),
        ({"apex": 5, "onset": 5}, "apex and onset are both frame 5"),
        ({"apex": 10, "offset": 30}, "must be indices of the 30 frames"),
        ({"apex": 10, "onset": -1}, "must be indices of the 30 frames"),
        ({"apex": 10, "flow": "none"}, "'none'"),
        ({"apex": 10, "face": "eye"}, "'eye'"),
        ({"apex": 10, "box": (900.0, 900.0, 950.0, 950.0)}, "leaves the frame"),
        ({"apex": 10, "box": (0.0, 0.0, 1e4, 64.0)}, "leaves the frame"),
        ({"apex": 10, "box": (0.0, 0.0, float("inf"), 64.0)}, "expected four numbers"),
    ],
)
def test_numbers_that_do_not_fit_the_frames_are_refused(clip, given, message):
    with pytest.raises(atnet.UserError, match=message):
        atnet.prepare_frames(clip[0], **given)


def test_a_prepared_clip_has_the_inputs_of_networks(clip, workdir):
    frames, onset, apex, offset = clip
    networks = atnet.load_networks(workdir / "seed_0")
    prepared = atnet.prepare_frames(frames, apex, onset=onset, offset=offset)
    inputs = atnet.inputs_of_clip(networks.config, prepared)
    scores = networks.scores({name: array[None] for name, array in inputs.items()})
    assert scores.shape == (len(networks.names), 1, 3)
    np.testing.assert_allclose(scores.sum(axis=-1), 1, atol=1e-6)


# --- What cannot be meant ---


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, f: (c, [dataclasses.replace(f[0], train=np.append(f[0].train, f[0].test))]),
         "in two parts of fold 0"),
        (lambda c, f: (c, [dataclasses.replace(f[0], train=f[0].train[:0])]), "no training clips"),
        (lambda c, f: (c, [dataclasses.replace(f[0], test=f[0].test - 10)]), "must be indices"),
        (lambda c, f: (c, [f[1], f[0]]), "Fold 1 is in place 0"),
        (lambda c, f: (dataclasses.replace(c, inputs={"flow_map": c.inputs["flow_map"][:5]}), f),
         "hold 5 clips, but there are 36 labels"),
        (lambda c, f: (dataclasses.replace(c, inputs={"flow_map": c.inputs["flow_map"] * NAN}), f),
         "not finite"),
        (lambda c, f: (dataclasses.replace(c, labels=c.labels + 1), f), "must be from 0 to 2"),
    ],
)  # fmt: skip
def test_folds_and_inputs_that_do_not_fit_are_refused(data_dir, change, message):
    config = settings(data_dir)
    composite = atnet.load_inputs(config)
    composite, folds = change(composite, atnet.make_folds("cde", composite))
    with pytest.raises(atnet.UserError, match=message):
        atnet.train_fold(config, composite, folds, 0)


def test_a_control_trains_a_fold_on_permuted_labels(data_dir, tmp_path):
    config = settings(data_dir, shuffle_labels=True)
    composite = atnet.load_inputs(config)
    fitted = atnet.train_fold(config, composite, atnet.make_folds("cde", composite), 0)
    [run] = atnet.train(config, tmp_path / "run")
    rows = [row for row in run.predictions if row.fold == 0]
    np.testing.assert_array_equal(fitted.labels, [row.label for row in rows])
    np.testing.assert_allclose(fitted.scores, [row.scores for row in rows], atol=1e-5)


@pytest.mark.parametrize("protocol", ["CDE", "loso", ""])
def test_a_protocol_that_does_not_exist_is_refused(data_dir, protocol):
    composite = atnet.load_inputs(settings(data_dir))
    with pytest.raises(atnet.UserError, match="expected 'cde', 'hde' or 'final'"):
        atnet.make_folds(protocol, composite)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((8, 64, 64), np.float32), "float32"),
        (np.zeros((8, 64, 64), bool), "bool"),
        (np.zeros((64, 64), np.uint8), r"uint8 \(64, 64\)"),
        (np.zeros((8, 64, 64, 4), np.uint8), r"\(8, 64, 64, 4\)"),
        (np.zeros((0, 64, 64), np.uint8), r"\(0, 64, 64\)"),
        ([np.zeros((64, 64), np.uint8), np.zeros((64, 63), np.uint8)], "differ in size"),
    ],
)
def test_what_is_no_array_of_frames_is_refused(frames, message):
    with pytest.raises(atnet.UserError, match=message):
        atnet.prepare_frames(frames, 4)


def test_indices_of_numpy_are_those_of_python(clip):
    frames, onset, apex, offset = clip
    first = atnet.prepare_frames(frames, apex, onset=onset, offset=offset, flow="farneback")
    numbers = (np.uint8(number) for number in (apex, onset, offset))
    peak, begin, end = numbers
    second = atnet.prepare_frames(frames, peak, onset=begin, offset=end, flow="farneback")
    np.testing.assert_array_equal(first.adm, second.adm)


def test_a_home_folder_is_expanded(data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    [run] = atnet.train(settings(data_dir), "~/run")
    assert run.workdir == tmp_path / "run"
    assert not (tmp_path / "~").exists()


def test_networks_can_be_copied_after_their_use(workdir):
    networks = atnet.load_networks(workdir / "seed_0")
    maps = {"flow_map": np.ones((2, 28, 28, 3), np.float32)}
    scores = networks.scores(maps)
    copy = pickle.loads(pickle.dumps(networks))
    np.testing.assert_array_equal(copy.scores(maps), scores)
    for wrong in ({}, {"flow_map": maps["flow_map"][0]}, {"flow_map": maps["flow_map"][:0]}):
        with pytest.raises(atnet.UserError, match="'flow_map'"):
            networks.scores(wrong)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: atnet.hoof(np.zeros((8, 8, 2), np.float32), 4), r"the shape \(8, 2\)"),
        (lambda: atnet.hoof([np.zeros((8, 8, 3), np.float32)], 4), r"the shape \(8, 8, 3\)"),
        (lambda: atnet.adm_matrix({-1: np.zeros((8, 8, 2), np.float32)}), "the row -1"),
        (lambda: atnet.flow_map(np.zeros((30, 30, 2), np.float32)), "multiples of 28"),
        (lambda: atnet.lbp_top(np.zeros((9, 9, 9), np.uint8), points=5), "5 points"),
        (lambda: atnet.interpolate_frames(np.zeros((9, 9, 9), np.uint8), 4, "cubic"), "'cubic'"),
    ],
)
def test_functions_of_arrays_refuse_what_they_are_not_for(call, message):
    with pytest.raises(atnet.UserError, match=message):
        call()
