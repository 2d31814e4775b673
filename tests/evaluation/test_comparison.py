"""Runs compared with their repeats and with runs that differ in one thing."""

import csv
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from atnet_jax import commands
from atnet_jax.errors import UserError
from atnet_jax.evaluation import digests, metrics, pack, predictions
from atnet_jax.evaluation.comparison import (
    OTHER_EXPERIMENT,
    OTHER_RESULT,
    SAME,
    Comparison,
    compare_runs,
    rounding_bound,
)
from atnet_jax.evaluation.pack import opened
from atnet_jax.evaluation.record import Folds
from atnet_jax.experiments import run as experiment
from data_builders.prepare import prepare
from tests.evaluation.report.workdirs import change_json, clips, predict, write_run
from tests.tiny_runs import settings

STAGES = [
    *("settings", "versions", "database", "folds", "initial weights"),
    *("first step", "epochs", "scores", "metrics"),
]


def prepare_pictures(root: Path, *, add: int = 0) -> Path:
    """Flow maps as pictures; `add` is added to one pixel of the clip samm/s1/c2."""
    rng = np.random.default_rng(0)
    root.mkdir()
    with (root / "manifest.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["dataset", "subject", "clip", "label", "flow_map"])
        for dataset in ("casme2", "samm"):
            for subject in ("s0", "s1", "s2"):
                for clip in range(3):
                    picture = rng.integers(0, 99, (28, 28, 3), np.uint8)
                    picture[9 * clip :][:9] += 60
                    if (dataset, subject, clip) == ("samm", "s1", 2):
                        picture[20, 7, 0] += add
                    name = f"{dataset}_{subject}_{clip}.png"
                    assert cv2.imwrite(str(root / name), picture)
                    table.writerow([dataset, subject, f"c{clip}", clip, name])
    prepare("manifest", root, root / "data", num_workers=1)
    return root / "data"


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """Workdirs of trained runs; a test that damages one takes a copy."""
    root = tmp_path_factory.mktemp("trained")
    data_dir = prepare_pictures(root / "raw")
    changed_data = prepare_pictures(root / "changed_raw", add=1)
    for name, folder, changes in [
        ("seeds", data_dir, {"seeds": (0, 1)}),
        ("repeat", data_dir, {}),
        ("rate", data_dir, {"learning_rate": 0.02}),
        ("grey_level", changed_data, {}),
    ]:
        config = settings(folder, num_epochs=4, batch_size=4, **changes)
        experiment.train_and_evaluate(config, root / name)
    shutil.copytree(root / "seeds" / "seed_0", root / "run")
    return root


@pytest.fixture
def copy(trained, tmp_path) -> Callable[[str], Path]:
    """Returns a copy of a run without its checkpoints."""
    ignored = shutil.ignore_patterns("checkpoints", "tensorboard")
    return lambda name: shutil.copytree(trained / name, tmp_path / name, ignore=ignored)


def compared(first: Path, second: Path) -> Comparison:
    with opened(first) as one, opened(second) as two:
        return compare_runs(one, two)


def states(found: Comparison) -> dict[str, str]:
    """The stages that are not equal."""
    assert [stage.name for stage in found.stages] == STAGES
    return {stage.name: stage.state for stage in found.stages if stage.state != "equal"}


def text_of(found: Comparison, name: str) -> str:
    [text] = [stage.text for stage in found.stages if stage.name == name]
    return text


def edit(workdir: Path, name: str, change: Callable[[dict], object]) -> None:
    path = workdir / name
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_run_and_its_repeat_are_the_same(trained, capsys):
    assert commands.run(["compare", str(trained / "run"), str(trained / "repeat")]) == SAME
    out = capsys.readouterr().out
    assert "\nThe same experiment, the same result to the bit.\n" in out
    assert "First difference" not in out and "unknown" not in out
    found = compared(trained / "run", trained / "repeat")
    assert states(found) == {} and found.chance == ()
    assert text_of(found, "database") == "18 clips, flow_map and labels"
    assert (trained / "run" / digests.FILE).read_bytes() == (
        trained / "repeat" / digests.FILE
    ).read_bytes()


def test_another_seed_is_named(trained, capsys):
    seeds = trained / "seeds"
    assert commands.run(["compare", str(seeds / "seed_0"), str(seeds / "seed_1")]) == 4
    assert "\nFirst difference: settings: seeds: 0 → 1.\n" in capsys.readouterr().out
    found = compared(seeds / "seed_0", seeds / "seed_1")
    assert {"settings", "initial weights", "first step", "epochs", "scores"} <= set(states(found))
    assert not {"database", "folds", "versions"} & set(states(found))
    assert text_of(found, "initial weights").startswith("6 of 6 folds")
    assert text_of(found, "first step").startswith("from the start, fold ")


def test_a_run_alone_equals_its_seed_among_others(trained):
    found = compared(trained / "repeat", trained / "seeds")
    assert states(found) == {"settings": "different"}
    assert text_of(found, "settings") == "seeds: 0 → 0, 1 (compared: 0)"


def test_another_learning_rate_is_named_and_the_first_step_is_equal(trained):
    found = compared(trained / "run", trained / "rate")
    assert found.status == OTHER_EXPERIMENT
    first = found.first_difference
    assert first is not None
    assert (first.name, first.text) == ("settings", "recipe.learning_rate: 0.01 → 0.02")
    # The learning rate acts after the loss of the first step.
    assert {"settings", "epochs", "scores"} <= set(states(found))
    assert not {"initial weights", "first step"} & set(states(found))


def test_one_grey_level_of_one_clip_is_named(trained):
    found = compared(trained / "run", trained / "grey_level")
    assert found.status == OTHER_EXPERIMENT
    first = found.first_difference
    assert first is not None and first.name == "database"
    assert first.text.startswith("flow_map of 1 of 18 clips (samm/s1/c2)")
    assert not {"settings", "folds", "initial weights"} & set(states(found))


def test_another_version_of_jax_is_named_but_is_the_same_experiment(trained, copy):
    other = copy("repeat")
    edit(other, "config.json", lambda r: r["environment"]["versions"].update(jax="0.11.9"))
    found = compared(trained / "run", other)
    assert states(found) == {"versions": "different"}
    assert found.status == SAME
    first = found.first_difference
    assert first is not None and first.name == "versions"
    assert first.text.partition(" → ")[2].startswith("0.11.9") and first.text.startswith("jax: 0.")


def test_labels_clips_and_folds_are_named(trained, copy):
    other = copy("repeat")

    def relabel(record):
        clip = record["clips"][4]
        assert (clip["dataset"], clip["subject"], clip["clip"]) == ("casme2", "s1", "c1")
        clip["label"] = 2

    edit(other, digests.FILE, relabel)
    edit(other, "config.json", lambda r: r["data"].update(sha256="0" * 64))
    rows = predictions.read(other / "predictions.csv")
    for row in rows:
        if (row.dataset, row.subject, row.clip) == ("casme2", "s1", "c1"):
            object.__setattr__(row, "label", 2)
    predictions.write(other / "predictions.csv", rows)
    change_json(other / "metrics.json", **metrics.evaluate(rows))
    found = compared(trained / "run", other)
    expected = "label of 1 of 18 clips (casme2/s1/c1) (positive → surprise)"
    assert text_of(found, "database") == expected
    assert text_of(found, "metrics").startswith("accuracy 1.000 → 0.9")

    other = copy("rate")
    edit(other, digests.FILE, lambda r: r["folds"]["3"].update(clips="0" * 64))
    assert text_of(compared(trained / "run", other), "folds") == "clips of fold 3 (samm/s0, seed 0)"


def test_rounding_is_told_from_a_difference(trained, copy):
    """The bound counts from the first step; larger differences name the fold and the epoch."""
    other = copy("repeat")
    parameters = json.loads((other / "config.json").read_text())["size"]["parameters"]
    assert rounding_bound(parameters, 1) == np.sqrt(parameters) * 2.0**-24
    assert rounding_bound(parameters, 100) == pytest.approx(10 * rounding_bound(parameters, 1))
    edit(other, "curves.json", lambda c: c["2"]["loss"].__setitem__(1, c["2"]["loss"][1] + 1e-6))
    found = compared(trained / "run", other)
    assert states(found) == {"epochs": "within rounding"}
    assert found.status == OTHER_RESULT
    assert text_of(found, "epochs").startswith("1 of 6 folds differ from epoch 2, by at most 1.0e-")
    edit(other, "curves.json", lambda c: c["5"]["loss"].__setitem__(3, c["5"]["loss"][3] + 0.5))
    found = compared(trained / "run", other)
    assert states(found) == {"epochs": "different"}
    assert text_of(found, "epochs").startswith(
        "equal to the bit until epoch 1, within rounding until epoch 3; from epoch 4, fold 5 ("
    )
    edit(other, digests.FILE, lambda d: d["folds"]["1"].update(first_loss=9.0))
    found = compared(trained / "run", other)
    assert text_of(found, "first step").startswith("from the start, fold 1 (casme2/s1, seed 0): ")


def test_a_run_of_an_earlier_version_is_compared_as_far_as_it_goes(trained, copy):
    old = copy("repeat")
    (old / digests.FILE).unlink()
    for name in ("processor", "platform", "threads", "xla_flags"):
        edit(old, "config.json", lambda r, name=name: r["environment"].pop(name))
    found = compared(trained / "run", old)
    assert states(found) == dict.fromkeys(("versions", "initial weights", "first step"), "unknown")
    assert found.status == SAME
    assert "Not compared: versions, initial weights, first step." in found.text()
    assert text_of(found, "database") == "18 clips, by the digest of all data"
    found = compared(old, trained / "grey_level")
    assert text_of(found, "database") == (
        "the first run, of an earlier version, has no digests by clip, so the clips cannot be named"
    )


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("config.json", lambda t: t[: len(t) // 2], "config.json is damaged or is not the record"),
        (digests.FILE, lambda t: t[: len(t) // 2], "digests.json is damaged: not valid JSON"),
        (digests.FILE, lambda t: t.replace('"label": 1', '"label": 7', 1), "label of .* must be 0"),
        (digests.FILE, lambda t: t.replace('"label": 1', '"label": 0', 1), "has another label"),
        (digests.FILE, lambda t: t.replace('"0": {', '"7": {', 1), "contains other folds than"),
        (digests.FILE, lambda t: t.replace('"start": "', '"start": "x', 1), "must be a SHA-256"),
        (
            digests.FILE,
            lambda t: t.replace('"flow_map": "', '"flow_map": "' + "0" * 64 + '", "x": "', 1),
            "contradict each other",
        ),
        ("metrics.json", lambda t: t.replace('"uf1": ', '"uf1": 0.5, "x": ', 1), "do not match"),
        ("predictions.csv", lambda t: t.replace(",c1,1,", ",c1,2,", 1), "(do not|does not) match"),
        ("curves.json", lambda t: t.replace('"loss": [', '"loss": [1e999, ', 1), "too large"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_record_is_named(trained, copy, tmp_path, name, damage, message, packed):
    other = copy("repeat")
    path = other / name
    before = path.read_text()
    if packed:
        pack.pack(other, tmp_path / "packed.zip")
        with zipfile.ZipFile(tmp_path / "packed.zip") as archive:
            contents = {member: archive.read(member) for member in archive.namelist()}
        other = tmp_path / "damaged.zip"
        with zipfile.ZipFile(other, "w") as archive:
            for member, data in {**contents, name: damage(before).encode()}.items():
                archive.writestr(member, data)
    else:
        path.write_text(damage(before))
    assert damage(before) != before
    with pytest.raises(UserError, match=message) as refused:
        compared(trained / "run", other)
    assert str(other) in str(refused.value)
    assert "atnet_pack_" not in str(refused.value)


def test_a_packed_run_is_compared_like_its_workdir(trained, tmp_path, capsys):
    for run, out in (("seeds", "run.zip"), ("seeds", "again.zip"), ("seeds", "folder")):
        assert commands.run(["pack", str(trained / run), f"--out={tmp_path / out}"]) == 0
    assert (tmp_path / "run.zip").read_bytes() == (tmp_path / "again.zip").read_bytes()
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    names = ("config.json", "predictions.csv", "metrics.json", "curves.json", "digests.json")
    assert files == {
        *("run.zip", "again.zip"),
        *(f"folder/seed_{seed}/{name}" for seed in (0, 1) for name in names),
    }
    for out in ("run.zip", "folder"):
        assert commands.run(["compare", str(trained / "seeds"), str(tmp_path / out)]) == SAME
    assert compared(trained / "run", tmp_path / "run.zip") == (
        compared(trained / "run", trained / "seeds")
    )
    capsys.readouterr()
    assert commands.run(["pack", str(trained / "run"), f"--out={tmp_path / 'run.zip'}"]) == 1
    assert "run.zip already exists. Choose a new --out." in capsys.readouterr().err


def archive_of(path: Path, *members: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("../config.json", b"{}")], "it contains '../config.json'"),
        ([("/tmp/config.json", b"{}")], "it contains '/tmp/config.json'"),
        ([("seed_1/../config.json", b"{}")], "it contains 'seed_1/../config.json'"),
        ([("a" * 999, b"")], f"it contains '{'a' * 70}'"),
        ([("config.json", bytes(2**20)), ("metrics.json", b"0")], "its files are larger than"),
        ([("predictions.csv", b"")], "holds no run: it has no config.json"),
    ],
)
def test_an_archive_is_not_trusted(tmp_path, monkeypatch, members, message):
    monkeypatch.setattr(pack, "_LARGEST", 2**20)
    archive = archive_of(tmp_path / "foreign.zip", *members)
    with pytest.raises(UserError) as refused, opened(archive):
        pytest.fail("opened")
    assert str(refused.value).startswith(str(archive)) and message in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["foreign.zip"]


def test_other_files_are_no_packed_runs(trained, tmp_path):
    pack.pack(trained / "run", tmp_path / "run.zip")
    whole = (tmp_path / "run.zip").read_bytes()
    for data in (b"", b"text", whole[:-40], whole.replace(b"predictions", b"predictionz")):
        (tmp_path / "damaged.zip").write_bytes(data)
        with pytest.raises(UserError, match=r"damaged\.zip is damaged or is not a packed run"):
            compared(trained / "run", tmp_path / "damaged.zip")
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive_of(tmp_path / "twice.zip", ("config.json", b"{}"), ("config.json", b"{}"))
    with pytest.raises(UserError, match=r"it contains config\.json twice"):
        compared(trained / "run", tmp_path / "twice.zip")


def test_control_characters_in_names_are_shown_as_escapes(trained, copy):
    other = copy("repeat")
    edit(other, "config.json", lambda r: r["environment"].update(processor="x\x1b[2J\nEqual"))
    shown = compared(trained / "run", other).text()
    assert r"x\x1b[2J\nEqual" in shown and "\x1b" not in shown


def synthetic(folder: Path, name: str, seeds: range, right: float) -> Path:
    for seed in seeds:
        rng = np.random.default_rng([seed, *name.encode()])
        rows = predict(clips(subjects=4), seed=seed, right=right, rng=rng)
        write_run(folder / name / f"seed_{seed}", seed=seed, rows=rows)
    return folder / name


def test_the_difference_is_compared_with_that_of_other_seeds(tmp_path):
    good = synthetic(tmp_path, "good", range(5), 0.9)
    similar = synthetic(tmp_path, "similar", range(5, 9), 0.9)
    poor = synthetic(tmp_path, "poor", range(5), 0.4)
    seeds, test = compared(good, similar).chance
    assert "between the means of 5 seeds and 4 seeds" in seeds
    assert seeds.endswith("the difference is within what other seeds give.")
    assert "no systematic difference over subjects is found" in test
    found = compared(good, poor)
    seeds, test = found.chance
    assert seeds.endswith("the difference is larger than what other seeds give.")
    assert "the runs differ systematically over subjects" in test
    assert "UF1 −0." in seeds.replace("by −", "UF1 −") and "UF1 −0." in test
    assert found.status == OTHER_RESULT


def test_of_one_seed_only_the_paired_test_is_possible(tmp_path):
    good, poor = (
        synthetic(tmp_path, name, range(1), right) for name, right in (("good", 0.9), ("poor", 0.4))
    )
    seeds, test = compared(good, poor).chance
    assert "what another seed would give is unknown" in seeds
    assert test.startswith("Paired permutation test over 12 subjects: UF1 −0.")
    rows = predictions.read(poor / "seed_0/predictions.csv")
    lost = rows.pop()
    predictions.write(poor / "seed_0/predictions.csv", rows)
    change_json(poor / "seed_0/metrics.json", **metrics.evaluate(rows))
    edit(poor / "seed_0", "config.json", lambda r: r["data"].update(clips=len(rows)))
    _, test = compared(good, poor).chance
    key = "/".join((lost.dataset, lost.subject, lost.clip))
    assert f"Clip {key} is in the first predictions but not in the second." in test


def test_runs_of_several_methods_are_refused(tmp_path):
    write_run(tmp_path / "fusion" / "seed_0")
    write_run(tmp_path / "temporal" / "seed_0", "temporal")
    with pytest.raises(UserError, match=r"Pass the folder of one method, such as .*fusion"):
        compared(tmp_path, tmp_path)
    with pytest.raises(UserError, match="holds no run"):
        compared(tmp_path / "nothing", tmp_path)
    write_run(tmp_path / "mixed" / "seed_0")
    write_run(tmp_path / "mixed" / "seed_1", "temporal", seed=1)
    with pytest.raises(UserError, match="are not two seeds of one run"):
        compared(tmp_path / "mixed", tmp_path)


def test_runs_under_different_protocols_share_no_fold_and_no_test(tmp_path):
    cde = write_run(tmp_path / "cde", "ststnet", epochs=2)
    rows = predict(clips(), protocol="hde", right=0.4)
    folds = Folds(("casme2", "samm", "smic"), (0, 1, 2))
    hde = write_run(tmp_path / "hde", "ststnet", protocol="hde", rows=rows, epochs=2, folds=folds)
    found = compared(cde, hde)
    assert found.status == OTHER_EXPERIMENT
    assert text_of(found, "epochs") == "no fold in common"
    assert found.chance == ("Scores under different protocols cannot be compared.",)
