"""Merged runs of some folds each, compared with one run of all folds."""

import csv
import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from atnet_jax.config import default_config
from atnet_jax.data.composite import load_composite
from atnet_jax.errors import UserError
from atnet_jax.evaluation import metrics, predictions
from atnet_jax.evaluation.report.study import sort_into_methods
from atnet_jax.evaluation.runs import load_run
from atnet_jax.experiments import merge
from atnet_jax.experiments import run as experiment
from atnet_jax.system import files
from data_builders.prepare import prepare
from tests.settings import change
from tests.tiny_runs import content

# Not in order, and not one range each.
SELECTIONS = {"late": "3:6", "early": "0,2", "middle": "1"}
RESULTS = (
    *("predictions.csv", "metrics.json", "curves.json", "epoch_scores.npz", "digests.json"),
    "table.md",
)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    """Three databases of two subjects with 3 to 8 clips."""
    root = tmp_path_factory.mktemp("flow_maps")
    rng = np.random.default_rng(0)
    clips = iter(range(3, 9))
    with (root / "manifest.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["dataset", "subject", "clip", "label", "flow_map"])
        for dataset in ("casme2", "samm", "smic"):
            for subject in ("s1", "s2"):
                for clip in range(next(clips)):
                    name = f"{dataset}_{subject}_{clip}.npy"
                    np.save(root / name, rng.normal(size=(28, 28, 3)).astype(np.float32))
                    table.writerow([dataset, subject, f"c{clip}", clip % 3, name])
    prepare("manifest", root, root / "data", num_workers=1)
    return root / "data"


def settings(data_dir: Path, model: str = "ststnet", **changes):
    config = default_config(model)
    change(config, datasets=("manifest",), dir=str(data_dir), **changes)
    if model == "ststnet":
        # Folds that train together round as their number makes them.
        change(config, num_epochs=3, batch_size=16, score_every=2, folds_per_batch=1)
    return config


def run(config, workdir: Path) -> Path:
    experiment.train_and_evaluate(config, workdir)
    return workdir


def edit(workdir: Path, change) -> None:
    path = workdir / "config.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


@pytest.fixture(scope="module")
def whole(data_dir, tmp_path_factory) -> Path:
    return run(settings(data_dir), tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture(scope="module")
def trained(data_dir, tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("parts")
    return {
        name: run(settings(data_dir, folds=folds), root / name)
        for name, folds in SELECTIONS.items()
    }


@pytest.fixture
def parts(trained, tmp_path) -> dict[str, Path]:
    """Copies, which a test may damage."""
    return {
        name: Path(
            shutil.copytree(folder, tmp_path / name, ignore=shutil.ignore_patterns("checkpoints"))
        )
        for name, folder in trained.items()
    }


def test_parts_make_up_the_run_of_all_folds(parts, whole, tmp_path):
    out = tmp_path / "new" / "out"
    assert merge.merge(list(parts.values()), out) == out / "report.html"
    for name in RESULTS:
        assert content(out / name) == content(whole / name), name
    record, expected = (json.loads((f / "config.json").read_text()) for f in (out, whole))
    for name in ("config", "data", "init_from", "environment", "excluded", "notes", "folds"):
        assert record[name] == expected[name], name
    assert record["config"]["folds"] == ""
    assert "git" in record["environment"]
    assert [part["folds"] for part in record["merged"]] == ["0,2", "1", "3:6"]
    assert [part["folder"] for part in record["merged"]] == [
        str(parts[name]) for name in ("early", "middle", "late")
    ]
    assert record["command"].splitlines()[-1].startswith("atnet merge ")
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [*RESULTS, "config.json", "model_card.md", "report.html", "report.md", "report.tex"]
    )
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    joined = load_run(out)
    assert not joined.record.is_partial
    # To a report the two are one and the same run.
    with pytest.raises(UserError, match="hold the same run"):
        sort_into_methods([joined, load_run(whole)])
    assert "Only folds" not in (out / "report.html").read_text()


def test_the_order_of_the_parts_does_not_matter(parts, whole, tmp_path):
    merge.merge([parts["middle"], parts["late"], parts["early"]], tmp_path / "out")
    for name in RESULTS:
        assert content(tmp_path / "out" / name) == content(whole / name)


def with_seed_1(folder: Path, to: Path) -> Path:
    """The same run, as if the other seed had given it."""
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns("checkpoints", "report.*"))
    edit(to, lambda record: record["config"].update(seeds=[1]))
    scores = json.loads((to / "metrics.json").read_text())
    files.write_json_atomically(to / "metrics.json", {**scores, "seed": 1})
    rows = predictions.read(to / "predictions.csv")
    predictions.write(to / "predictions.csv", [dataclasses.replace(r, seed=1) for r in rows])
    return to


def test_every_seed_is_joined_and_the_report_is_on_all(parts, whole, tmp_path):
    command = [sys.executable, "-m", "atnet_jax", "merge"]
    for name, folder in parts.items():
        root = tmp_path / "seeds" / name
        with_seed_1(folder, root / "seed_1")
        folder.rename(root / "seed_0")
        command.append(str(root))
    out = tmp_path / "out"
    out.mkdir()
    done = subprocess.run([*command, f"--out={out}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"Report: {out}/report.html\n"
    other = with_seed_1(whole, tmp_path / "other")
    for folder, unsplit in (("seed_0", whole), ("seed_1", other)):
        for name in RESULTS:
            assert content(out / folder / name) == content(unsplit / name)
        assert (out / folder / "report.html").is_file()
    assert "seeds 0, 1" in (out / "report.md").read_text()
    shutil.rmtree(tmp_path / "seeds" / "early" / "seed_1")
    again = subprocess.run(
        [*command, f"--out={tmp_path / 'again'}"], capture_output=True, text=True, check=False
    )
    assert again.returncode == 1
    assert again.stderr.startswith("Error: The given runs (")
    assert "lack 2 of 6 folds: 0 (casme2/s1), 2 (samm/s1). Rerun" in again.stderr
    assert not (tmp_path / "again").exists()


def test_methods_without_epochs_are_joined(data_dir, tmp_path, monkeypatch):
    def features(config):
        composite = load_composite(
            config.data.dir, config.data.datasets, config.data.flow, ("flow_map",)
        )
        values = composite.inputs["flow_map"].mean((1, 2))
        return dataclasses.replace(composite, inputs={"features": values})

    monkeypatch.setattr(experiment, "load_inputs", features)
    whole = run(settings(data_dir, "hoof", protocol="hde"), tmp_path / "whole")
    parts = [
        run(settings(data_dir, "hoof", protocol="hde", folds=folds), tmp_path / folds)
        for folds in ("1", "0,2")
    ]
    merge.merge(parts, tmp_path / "out")
    for name in ("predictions.csv", "metrics.json", "table.md"):
        assert content(tmp_path / "out" / name) == content(whole / name)
    assert not (tmp_path / "out" / "curves.json").exists()
    assert not (tmp_path / "out" / "epoch_scores.npz").exists()


def test_parts_computed_on_other_machines_are_said(parts, tmp_path):
    def other(record):
        record["environment"]["device"] = "1 × H100"
        record["environment"]["git"] = {"commit": "abc", "modified": False}
        record["config"]["data"]["dir"] = "/elsewhere"
        record["config"]["engine"].update(folds_per_batch=8, checkpoint_every=1)

    edit(parts["middle"], lambda r: r["environment"].update(git={"commit": "d", "modified": True}))
    edit(parts["early"], lambda r: r["environment"].update(git={"commit": "d", "modified": True}))
    edit(parts["late"], other)
    merge.merge(list(parts.values()), tmp_path / "out")
    record = json.loads((tmp_path / "out" / "config.json").read_text())
    before = json.loads((parts["early"] / "config.json").read_text())
    device = before["environment"]["device"]
    assert record["environment"] == before["environment"] | {
        "device": f"{device} / 1 × H100",
        "versions": before["environment"]["versions"],
        "git": {"commit": "d / abc", "modified": None},
    }
    assert record["merged"][2]["environment"]["device"] == "1 × H100"
    assert record["notes"][-1] == (
        f"The folds were computed in different environments: device: {device} / 1 × H100;"
        " git.commit: d / abc; git.modified: true / false."
    )
    assert "computed in different environments" in (tmp_path / "out" / "table.md").read_text()


def refused(parts, out: Path, match: str) -> None:
    before = sorted(out.parent.iterdir())
    with pytest.raises(UserError, match=match):
        merge.merge(list(parts), out)
    assert sorted(out.parent.iterdir()) == before


def test_a_fold_that_two_runs_hold_is_refused(parts, whole, tmp_path):
    early, middle, late = (parts[name] for name in ("early", "middle", "late"))
    refused(
        [middle, late, early, late],
        tmp_path / "out",
        rf"Fold 3 \(samm/s2\) is both in {late} and in {late}\. Leave out one",
    )
    refused(
        [middle, whole],
        tmp_path / "out",
        rf"Fold 1 \(casme2/s2\) is both in {whole} and in {middle}",
    )


def test_missing_folds_are_named_with_the_command_to_run(parts, tmp_path):
    refused(
        [parts["early"]],
        tmp_path / "out",
        rf"The given runs \({parts['early']}\) lack 4 of 6 folds: 1 \(casme2/s2\), 3 \(samm/s2\),"
        r" 4 \(smic/s1\), 5 \(smic/s2\)\. Rerun .* with --config\.folds=1,3:6 and a new --workdir",
    )


def test_many_missing_folds_are_not_all_named(parts, tmp_path):
    def more(record):
        record["folds"]["names"] += [f"z/s{fold}" for fold in range(6, 26)]

    for part in parts.values():
        edit(part, more)
    refused(parts.values(), tmp_path / "out", r"10 \(z/s10\), 15 more\. .*--config\.folds=6:26 ")


def test_a_run_that_is_whole_is_refused(whole, tmp_path):
    refused([whole], tmp_path / "out", r"already holds all folds\. Merging needs several runs")


def recipe(record):
    return record["config"]["recipe"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda r: recipe(r).update(learning_rate=0.5),
            r"in recipe\.learning_rate: 5e-05 / 0\.5\.",
        ),
        (
            lambda r: recipe(r)["augment"].update(shift=1),
            r"in recipe\.augment\.shift: 10\.0 / 1\.",
        ),
        (lambda r: recipe(r).pop("momentum"), r"in recipe\.momentum: 0\.9 / nothing\."),
        (lambda r: r["data"].update(sha256="0" * 64), r"in data\.sha256: [0-9a-f]{64} / 0{64}\."),
        (lambda r: r.update(init_from="abc"), r"in init_from: null / abc\."),
        (
            lambda r: r["folds"]["names"].__setitem__(5, "smic/s3"),
            r"in fold\.5: smic/s2 / smic/s3\.",
        ),
    ],
)
def test_parts_of_different_experiments_are_refused(parts, tmp_path, change, message):
    edit(parts["late"], change)
    early, late = parts["early"], parts["late"]
    refused(
        [late, early],
        tmp_path / "out",
        f"{early} and {late} are not parts of the same run.*{message}",
    )


def test_another_seed_is_another_experiment(parts, tmp_path):
    other = with_seed_1(parts["late"], tmp_path / "other")
    refused(
        [parts["early"], parts["middle"], other],
        tmp_path / "out",
        r"differ in seeds: \[0\] / \[1\]",
    )


def test_weights_may_lie_elsewhere(parts, whole, tmp_path):
    for number, part in enumerate(parts.values()):
        edit(part, lambda r, n=number: (r.update(init_from="abc"),
                                        r["config"].update(init_from=f"/{n}")))  # fmt: skip
    merge.merge(list(parts.values()), tmp_path / "out")
    assert (tmp_path / "out" / "metrics.json").read_bytes() == (whole / "metrics.json").read_bytes()


@pytest.mark.parametrize("name", ["predictions.csv", "metrics.json", "curves.json",
                                  "epoch_scores.npz"])  # fmt: skip
def test_an_unfinished_run_is_refused(parts, tmp_path, name):
    (parts["late"] / name).unlink()
    refused(
        parts.values(),
        tmp_path / "out",
        rf"{parts['late']} is not finished: the run of folds 3:6 has no {name}\.",
    )


def test_a_folder_that_is_no_run_is_refused(parts, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "nowhere"):
        refused([*parts.values(), folder], tmp_path / "out", rf"{folder} holds no run")


def test_a_record_without_folds_is_refused(parts, tmp_path):
    edit(parts["late"], lambda record: record.pop("folds"))
    refused(parts.values(), tmp_path / "out", rf"{parts['late']}/config\.json .* folds is missing")


def test_an_out_that_is_not_empty_is_refused(parts, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("precious")
    for taken in (out, out / "thesis.tex"):
        with pytest.raises(UserError, match="already exists"):
            merge.merge(list(parts.values()), taken)
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (lambda row: (row.fold, row.clip) != (4, "c2"), r"early, .*middle, .*late contain 32 clips,"
         r" but according to config\.json the data have 33"),
        (lambda row: row.fold != 5, r"late is not finished: it has the results of the folds"
         r" 3:5 of 3:6\. Rerun its command"),
    ],
)  # fmt: skip
def test_predictions_that_lack_clips_are_refused(parts, tmp_path, keep, message):
    path = parts["late"] / "predictions.csv"
    rows = [row for row in predictions.read(path) if keep(row)]
    predictions.write(path, rows)
    # Its other files are adapted, so that only the clips are wrong.
    scores = json.loads((parts["late"] / "metrics.json").read_text())
    (parts["late"] / "metrics.json").write_text(json.dumps(scores | metrics.evaluate(rows)))
    path = parts["late"] / "epoch_scores.npz"
    with np.load(path) as kept:
        arrays = {"epochs": kept["epochs"], "scores": kept["scores"][:, : len(rows)]}
    np.savez(path, **arrays)
    refused(parts.values(), tmp_path / "out", message)


def test_predictions_of_a_fold_that_was_not_run_are_refused(parts, tmp_path):
    edit(parts["late"], lambda record: record["folds"].update(run=[3, 4]))
    refused(
        parts.values(),
        tmp_path / "out",
        rf"{parts['late']}/predictions\.csv does not match .* contains the folds 3:6, expected 3:5",
    )


def test_scores_of_other_epochs_are_refused(parts, tmp_path):
    path = parts["late"] / "epoch_scores.npz"
    with np.load(path) as kept:
        arrays = {"epochs": kept["epochs"] + 1, "scores": kept["scores"]}
    np.savez(path, **arrays)
    refused(parts.values(), tmp_path / "out", r"in scored epochs: \[2, 3\] / \[3, 4\]")


def test_nothing_is_left_of_a_join_that_fails(parts, tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError("no space")

    monkeypatch.setattr(merge, "write_results", full_disk)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OSError, match="no space"):
        merge.merge(list(parts.values()), tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


def test_curves_of_other_folds_are_refused(parts, tmp_path):
    path = parts["late"] / "curves.json"
    curves = json.loads(path.read_text())
    del curves["4"]
    path.write_text(json.dumps(curves))
    refused(
        parts.values(),
        tmp_path / "out",
        rf"{path} does not match .* contains the folds 3,5, expected 3:6",
    )
