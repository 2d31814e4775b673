"""A reproducibility study of STSTNet: its runs, and the page after a kill."""

import json
import re
import shutil

import pytest

from atnet_jax.errors import UserError
from atnet_jax.evaluation.record import FILE
from atnet_jax.experiments import run as experiment
from atnet_jax.experiments import suite
from atnet_jax.experiments.train import train
from configs import reproduce
from tests.settings import change
from tests.tiny_runs import content, settings

SIZE = {"folds": "0:2", "num_epochs": 2, "seeds": (0, 1), "score_every": 0}
ARMS = {"all": (0, 1), "order": (1,), "weights": (1,), "dropout": (1,)}
RESULTS = ("predictions.csv", "metrics.json", "curves.json")


def study_of(data_dir):
    config = settings(data_dir, **SIZE)
    config.task = "reproduce"
    return config


@pytest.fixture(scope="module")
def done(data_dir, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("study") / "work"
    assert suite.run_study(study_of(data_dir), workdir) == workdir / "report.html"
    return workdir


def results(workdir):
    """The content of each file with results, by its path."""
    paths = [path for name in RESULTS for path in workdir.rglob(name)]
    return {str(path.relative_to(workdir)): content(path) for path in paths}


def test_each_source_is_varied_alone_from_a_common_run(done):
    runs = {f"{arm}/seed_{seed}" for arm, seeds in ARMS.items() for seed in seeds}
    assert {str(path.parent.relative_to(done)) for path in done.rglob(FILE)} == runs
    for name in runs:
        config = json.loads((done / name / FILE).read_text())["config"]
        arm = name.split("/")[0]
        assert config["task"] == "evaluate"
        assert config["varied"] == (
            ["order", "weights", "augmentation", "dropout"] if arm == "all" else [arm]
        )
    found = results(done)
    of = {arm: found[f"{arm}/seed_1/curves.json"]["0"]["loss"] for arm in ARMS}
    of["common"] = found["all/seed_0/curves.json"]["0"]["loss"]
    assert len(set(map(tuple, of.values()))) == 5
    page = (done / "report.html").read_text()
    assert "No effect: augmentation." in page
    assert re.search(r"Only a part of the randomness follows the seed: order\.", page) is None
    assert "follows the seed: order." in (done / "order" / "seed_1" / "report.html").read_text()


def test_all_sources_together_are_an_ordinary_run(done, data_dir, tmp_path):
    experiment.train_and_evaluate(settings(data_dir, **SIZE), tmp_path / "run")
    for seed in SIZE["seeds"]:
        for name in RESULTS:
            there = done / "all" / f"seed_{seed}" / name
            assert content(tmp_path / "run" / f"seed_{seed}" / name) == content(there)


def test_a_killed_study_resumes_to_the_same_page(done, data_dir, tmp_path, monkeypatch):
    workdir = tmp_path / "work"
    shutil.copytree(done, workdir)
    for path in (*workdir.glob("report.*"), *(workdir / "weights").glob("*/predictions.csv")):
        path.unlink()
    shutil.rmtree(workdir / "dropout")
    kept = workdir / "order" / "seed_1" / "predictions.csv"
    before = kept.stat().st_mtime_ns
    runs = train(study_of(data_dir), workdir)
    assert len(runs) == 5
    assert results(workdir) == results(done)
    assert (workdir / "report.md").read_text() == (done / "report.md").read_text()
    assert kept.stat().st_mtime_ns == before


def test_another_run_is_refused(done, data_dir):
    with pytest.raises(UserError, match="seed_0 holds a run"):
        suite.run_study(study_of(data_dir), done / "all" / "seed_0")
    config = study_of(data_dir)
    change(config, num_epochs=3)
    with pytest.raises(UserError, match=r"holds another run.*num_epochs: 2 → 3"):
        suite.run_study(config, done)


def test_the_configuration_has_ten_seeds_and_any_network():
    config = reproduce.get_config("temporal")
    assert (config.task, config.model, config.seeds) == ("reproduce", "temporal", (*range(10),))
