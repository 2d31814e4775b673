import dataclasses
import json

import numpy as np
import pytest

from atnet_jax.data.composite import Exclusion
from atnet_jax.errors import UserError
from atnet_jax.evaluation import metrics, predictions
from atnet_jax.evaluation.record import Data, Folds, read
from atnet_jax.evaluation.runs import load_run
from tests.evaluation.report.workdirs import (
    DIGEST,
    change_json,
    clips,
    curve,
    predict,
    write_json,
    write_run,
)


def test_a_run_is_read_from_its_workdir(tmp_path):
    folder = write_run(
        tmp_path / "run",
        "temporal",
        seed=3,
        epochs=4,
        init_from="ab" * 32,
        excluded=(Exclusion("samm", "006/1", "no apex"),),
        notes=("a note",),
    )
    run = load_run(folder)
    assert (run.protocol, run.model, run.paper_row) == ("cde", "temporal", "ATNet temporal")
    assert run.seed == 3
    assert list(run.predictions) == predictions.read(folder / "predictions.csv")
    assert run.metrics == metrics.evaluate(run.predictions)
    assert run.record == read(folder)
    assert run.record.config["recipe"]["learning_rate"] == 0.01
    assert list(run.curves) == list(range(9))
    assert run.curves[8].name == "smic/s2"
    assert run.epoch_scores is not None
    assert run.epoch_scores.scores.shape == (4, 36, 3)
    assert run.notes == ["a note"]
    assert run.record.data == Data(36, DIGEST)
    assert run.workdir == folder


@pytest.mark.parametrize(
    ("method", "options", "row"),
    [
        ("fusion", {}, "ATNet fusion"),
        ("lbp_top_p8_tim64", {}, "LBP-TOP {3,3,3,8} TIM 64"),
        ("lbp_top_p8_tim64", {"radii": [1, 3, 3]}, None),
        ("hoof_n4_tim10", {}, "HOOF N=4 TIM 10"),
        ("ststnet", {}, None),
        ("of_another_lab", {}, None),
    ],
)
def test_the_papers_row_follows_from_the_settings(tmp_path, method, options, row):
    folder = write_run(tmp_path / "run", method, options=options)
    assert load_run(folder).paper_row == row


def test_a_run_of_some_folds_says_so(tmp_path):
    folder = write_run(tmp_path / "run", settings={"folds": "0:9"}, data={"clips": 40})
    assert load_run(folder).notes == [
        "The run covers only 9 of 10 folds (0:9) and 36 of 40 clips, so these are not scores of the"
        " whole protocol."
    ]


def test_a_kept_epoch_is_read(tmp_path):
    folder = write_run(tmp_path / "run")
    write_json(folder / "curves.json", {"10": {**curve(), "kept_epoch": 2}, "9": curve()})
    curves = load_run(folder).curves
    assert list(curves) == [9, 10]
    assert (curves[10].kept_epoch, curves[9].kept_epoch) == (2, 3)


def test_no_workdir(tmp_path):
    with pytest.raises(UserError, match=r"nothing holds no run: it has no config\.json"):
        load_run(tmp_path / "nothing")


@pytest.mark.parametrize("name", ["predictions.csv", "metrics.json"])
def test_an_unfinished_run_is_named(tmp_path, name):
    folder = write_run(tmp_path / "killed")
    (folder / name).unlink()
    with pytest.raises(UserError, match=rf"killed holds no finished run: it has no {name}"):
        load_run(folder)


def test_pre_training_is_no_run_of_a_protocol(tmp_path):
    folder = write_run(tmp_path / "run", settings={"task": "pretrain"})
    (folder / "predictions.csv").unlink()
    with pytest.raises(UserError, match="a run of the task 'pretrain', which scores no test"):
        load_run(folder)


@pytest.mark.parametrize("text", ["", "{", "[1]", "[" * 100_000, "\xff"])
@pytest.mark.parametrize("name", ["metrics.json", "curves.json"])
def test_a_file_without_a_json_object_is_named(tmp_path, name, text):
    folder = write_run(tmp_path / "run")
    (folder / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(
        UserError, match=rf"{name} is damaged: (not valid JSON|it must be an object)"
    ):
        load_run(folder)


@pytest.mark.parametrize("changes", [{"seed": 1}, {"protocol": "hde"}])
def test_predictions_of_another_run(tmp_path, changes):
    folder = write_run(tmp_path / "run")
    predictions.write(folder / "predictions.csv", predict(clips(), **changes))
    with pytest.raises(UserError, match=r"predictions\.csv: clip casme2/s0/c0 has protocol"):
        load_run(folder)


def test_scores_that_do_not_follow_from_the_predictions(tmp_path):
    folder = write_run(tmp_path / "run")
    scores = json.loads((folder / "metrics.json").read_text())
    change_json(folder / "metrics.json", samm={**scores["samm"], "uf1": 0.99})
    with pytest.raises(UserError, match=r"metrics\.json: the scores of 'samm' do not match"):
        load_run(folder)


@pytest.mark.parametrize("clips", [35, 37])
def test_predictions_of_more_or_fewer_clips_than_there_are(tmp_path, clips):
    folder = write_run(tmp_path / "run", data={"clips": clips})
    message = rf"36 clips, but according to config\.json the data have {clips}\."
    with pytest.raises(UserError, match=message):
        load_run(folder)


def test_predictions_of_other_folds(tmp_path):
    folder = write_run(tmp_path / "run", settings={"folds": "0:9"}, data={"clips": 40})
    some = Folds(("a", "b", "c"), (0, 2))
    dataclasses.replace(read(folder), folds=some).write(folder)
    message = r"does not match config\.json: it contains the folds 0:9, expected 0,2\."
    with pytest.raises(UserError, match=message):
        load_run(folder)


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ({"one": curve()}, "expected the number of a fold, found 'one'"),
        ({"0": {**curve(), "loss": [1.0]}}, "the lists of fold 0 are empty or differ in length"),
        ({"0": {**curve(), "seconds": []}}, "the lists of fold 0 are empty or differ in length"),
        ({"0": curve(epochs=0)}, "the lists of fold 0 are empty or differ in length"),
        ({"0": {**curve(epochs=1), "loss": ["1"]}}, r"fold 0\.loss\[0\] must be a number"),
        ({"0": {**curve(epochs=1), "loss": [None]}}, r"fold 0\.loss\[0\] must be a number"),
        ({"0": {**curve(epochs=1), "loss": [True]}}, r"fold 0\.loss\[0\] must be a number"),
        ({"0": []}, "fold 0 must be an object"),
        ({"0": {"epoch": [], "loss": [], "accuracy": []}}, r"fold 0\.name is missing"),
    ],
)
def test_damaged_curves_are_named(tmp_path, curves, message):
    folder = write_run(tmp_path / "run")
    write_json(folder / "curves.json", curves)
    with pytest.raises(UserError, match=rf"curves\.json is damaged: {message}"):
        load_run(folder)


def test_epoch_scores_of_other_clips_are_named(tmp_path):
    folder = write_run(tmp_path / "run")
    scores = np.full((2, 35, 3), 1 / 3, np.float32)
    np.savez(folder / "epoch_scores.npz", epochs=np.array([1, 2], np.int32), scores=scores)
    with pytest.raises(UserError, match=r"epoch_scores\.npz"):
        load_run(folder)
