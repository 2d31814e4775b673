"""All methods under both protocols: the runs, failures, and reruns."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from atnet_jax import models
from atnet_jax.config import default_config
from atnet_jax.errors import UserError
from atnet_jax.experiments import run as experiment
from atnet_jax.experiments import suite
from configs import leaderboard
from tests.evaluation.report.workdirs import write_run
from tests.settings import change
from tests.tiny_runs import REPOSITORY

METHODS = ("lbp_top_p4_tim10", "ststnet", "temporal")


def start(data_dir: Path, workdir: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """The command line, on flow maps alone: whatever reads another input cannot be run."""
    return subprocess.run(
        [
            sys.executable, "-m", "atnet_jax.main", "--config=configs/leaderboard.py",
            f"--workdir={workdir}", f"--config.data.dir={data_dir}",
            "--config.data.datasets=manifest", "--config.recipe.num_epochs=2",
            "--config.seeds=(0,1)", *more,
        ],
        cwd=REPOSITORY, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def done(data_dir, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("leaderboard") / "work"
    return workdir, start(data_dir, workdir, "--config.methods=temporal,ststnet")


def runs(workdir: Path) -> list[str]:
    return sorted(str(p.parent.relative_to(workdir)) for p in workdir.rglob("predictions.csv"))


def test_a_method_whose_input_the_data_lack_costs_the_others_nothing(done):
    workdir, process = done
    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    assert "2 of 4 combinations of protocol and method failed." in process.stderr
    assert "cde temporal, hde temporal: casme2/s1/c0" in process.stderr
    assert "has no adm" in process.stderr
    assert runs(workdir) == [f"{p}/ststnet/seed_{n}" for p in ("cde", "hde") for n in (0, 1)]
    for protocol in ("cde", "hde"):
        assert "has no adm" in (workdir / protocol / "temporal" / "failed.txt").read_text()
    page = (workdir / "report.html").read_text()
    assert "STSTNet" in page
    assert "has no adm" in page


def test_a_run_leaves_its_size_and_the_seconds_of_its_epochs(done):
    workdir, _ = done
    with (workdir / "leaderboard.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["protocol"], row["method"], row["place"]) for row in table] == [
        ("cde", "ststnet", "1"),
        ("hde", "ststnet", "1"),
        ("cde", "temporal", ""),
        ("hde", "temporal", ""),
    ]
    assert table[0]["parameters"] == "1683"
    seconds = []
    for seed in (0, 1):
        curves = json.loads((workdir / f"cde/ststnet/seed_{seed}/curves.json").read_text())
        assert all(len(curve["seconds"]) == 2 for curve in curves.values())
        seconds += [sum(curve["seconds"]) for curve in curves.values()]
    assert min(seconds) > 0
    assert float(table[0]["seconds_a_fold"]) == pytest.approx(sum(seconds) / 12, abs=1e-6)


def test_completed_runs_are_skipped_and_failed_runs_are_repeated(done, data_dir):
    workdir, _ = done
    finished = list(workdir.glob("*/ststnet/*/predictions.csv"))
    before = [path.stat().st_mtime_ns for path in finished]
    # Without checkpoints: the results are enough.
    for path in workdir.glob("*/ststnet/*/checkpoints"):
        path.rename(path.with_name("elsewhere"))
    config = leaderboard.get_config()
    change(config, datasets=("manifest",), dir=str(data_dir), num_epochs=2, seeds=(0, 1))
    config.methods = ("ststnet",)
    assert suite.run_leaderboard(config, workdir) == workdir / "report.html"
    assert [path.stat().st_mtime_ns for path in finished] == before
    # Of an earlier command, and still not run.
    assert "has no adm" in (workdir / "report.html").read_text()
    with pytest.raises(UserError, match=r"1 of 1 .*\n  hde ststnet: .*holds another run"):
        suite.run_leaderboard(changed(config, num_epochs=3, protocols=("hde",)), workdir)


def changed(config, **changes):
    copy = config.copy_and_resolve_references()
    change(copy, **changes)
    return copy


# Without training.


@pytest.fixture
def written(monkeypatch):
    """Runs that are written at once; each call's settings."""
    calls = []

    def run_seeds(settings, folders):
        calls.append((settings.protocol, settings.model, tuple(folders)))
        if settings.model == "temporal" and settings.data.image_size == 224:
            raise RuntimeError("a mistake")
        preset = models.find(settings.model).preset_of(settings.options.to_dict())
        for seed, folder in folders.items():
            if not folder.exists():
                write_run(folder, preset or settings.model, seed=seed, protocol=settings.protocol)
                (folder / "report.html").write_text("")

    monkeypatch.setattr(experiment, "run_seeds", run_seeds)
    return calls


def test_every_method_is_run_under_both_protocols(written, tmp_path):
    config = leaderboard.get_config()
    config.methods = METHODS
    with pytest.raises(UserError, match=r"2 of 6 .*\n  cde temporal, hde temporal: Runtime"):
        suite.run_leaderboard(config, tmp_path)
    five = (0, 1, 2, 3, 4)
    assert written == [
        (protocol, *method)
        for protocol in ("cde", "hde")
        for method in (("lbp_top", (0,)), ("ststnet", five), ("temporal", five))
    ]
    page = (tmp_path / "report.html").read_text()
    assert "LBP-TOP {3,3,3,4} TIM 10" in page
    assert "RuntimeError: a mistake" in page
    written.clear()
    change(config, methods=("ststnet,lbp_top_p4_tim10",), protocols=("hde",), seeds=(3,))
    suite.run_leaderboard(config, tmp_path)
    assert written == [("hde", "ststnet", (3,)), ("hde", "lbp_top", (3,))]


def test_why_a_method_failed_is_kept_until_it_runs(written, tmp_path):
    config = leaderboard.get_config()
    change(config, methods=("temporal", "ststnet"), protocols=("cde",))
    with pytest.raises(UserError):
        suite.run_leaderboard(config, tmp_path)
    reason = tmp_path / "cde/temporal/failed.txt"
    assert reason.read_text() == "RuntimeError: a mistake\n"
    suite.run_leaderboard(changed(config, methods=("ststnet",)), tmp_path)
    assert "RuntimeError" in (tmp_path / "report.html").read_text()
    assert suite.run_leaderboard(changed(config, image_size=112), tmp_path)
    assert not reason.exists()
    assert "RuntimeError" not in (tmp_path / "report.html").read_text()


def test_nothing_that_ran_leaves_no_page(written, tmp_path):
    config = leaderboard.get_config()
    change(config, methods=("temporal",), protocols=("cde",))
    with pytest.raises(UserError, match="1 of 1") as error:
        suite.run_leaderboard(config, tmp_path)
    assert "report.html" not in str(error.value)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"methods": ("ststnet", "resnet")},
            r"config\.methods is \(.*'resnet'\), expected .*ststnet",
        ),
        ({"methods": ("ststnet", "ststnet")}, "expected one or several different values"),
        ({"protocols": ("loso",)}, "config.protocols is .*'loso'.* cde or hde"),
        ({"seeds": ()}, r"config.seeds is \(\)"),
    ],
)
def test_a_wrong_choice_is_refused_before_anything_runs(changes, message, written, tmp_path):
    with pytest.raises(UserError, match=message):
        suite.run_leaderboard(changed(leaderboard.get_config(), **changes), tmp_path / "new")
    assert not written
    assert not (tmp_path / "new").exists()


def test_the_folder_of_a_run_is_refused(written, tmp_path):
    write_run(tmp_path / "run")
    with pytest.raises(UserError, match="holds a run"):
        suite.run_leaderboard(leaderboard.get_config(), tmp_path / "run")


def test_the_methods_are_those_there_are(tmp_path, monkeypatch):
    found = suite.all_methods()
    assert leaderboard.get_config().methods == found
    assert {"ststnet", "fusion", "lbp_top_p8_tim64", "hoof_n4_tim10"} <= set(found)
    # By their presets, where there are some.
    assert not {"lbp_top", "hoof"} & set(found)
    assert {models.presets().get(name, (name,))[0] for name in found} == set(models.names())
    for name in found:
        assert default_config(name).model in models.names()
    (tmp_path / "of_my_own.py").write_text(
        "import dataclasses\nINPUTS = ()\n@dataclasses.dataclass(frozen=True)\nclass Features:\n"
        "    size: int = 3\n"
        "PRESETS = {'large': ({'size': 9}, None), 'small': ({'size': 1}, None)}\n"
    )
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path)])
    assert set(suite.all_methods()) == {*found, "large", "small"}
