"""Findings in a prepared set."""

import json

import numpy as np
import tensorflow_datasets as tfds

from atnet_jax.published import DATABASES
from data_builders.doctor import report
from data_builders.doctor.composite import judge
from data_builders.doctor.diagnose import diagnose
from data_builders.doctor.prepared import check_prepared
from data_builders.prepare import prepare
from tests.data_builders.doctor.conftest import (
    TREES,
    alternating_adm,
    found,
    record,
    texts,
    write_set,
)


def test_a_sick_prepared_set(tmp_path):
    far = np.array([200, 20, 300, 120], np.float32)
    records = [
        record("a", seed=1),
        record("b", seed=2, label=7),
        record("c", seed=3, apex=b"no picture"),
        record("d", seed=4, crop_box=far),
        record("a", seed=5),  # The key of the first.
        record("e", seed=2),  # The content of the second.
        record("f", seed=6, subject="sub02", crop_box=far),  # Alone, so nothing to compare with.
        record("g", seed=7, adm=alternating_adm()),
    ]
    write_set(tmp_path, "casme2", records, label=tfds.features.Scalar(np.int64))
    checkup = check_prepared(tmp_path, "casme2", "farneback", num_workers=1)
    assert found(checkup) == {
        ("duplicate_key", "casme2/sub01/a"),
        ("label", "casme2/sub01/b"),
        ("unreadable", "casme2/sub01/c"),
        ("crop_box", "casme2/sub01/d"),
        ("same_clips", "casme2/sub01/e"),
        ("alternating", "casme2/sub01/g"),
    }
    assert texts(checkup, "crop_box") == [
        "the box is 200, 20, 300, 120, the subject's median is 10, 20, 110, 120"
    ]
    assert texts(checkup, "same_clips") == ["its content equals that of casme2/sub01/b"]
    assert len(checkup.clips) == 7
    assert checkup.notes == ["casme2: a note"]
    assert checkup.left_out == [("casme2", "s/c", "the apex is not annotated")]
    # d, f and g are only to be looked at.
    assert judge(checkup, None)["casme2"].usable == 3


def test_records_without_a_feature(tmp_path):
    write_set(tmp_path, "samm", [record()], without=("adm", "has_adm"))
    checkup = check_prepared(tmp_path, "samm", "farneback", num_workers=1)
    assert found(checkup) == {("unreadable", "samm")}
    assert texts(checkup, "unreadable") == ["its records lack adm, has_adm"]
    assert not judge(checkup, None)["samm"].can


def test_a_damaged_set_is_a_finding(tmp_path):
    folder = write_set(tmp_path, "casme2", [record("a"), record("b", seed=1)])
    (data,) = folder.glob("*.array_record*")
    whole = data.read_bytes()
    data.write_bytes(whole[: len(whole) // 2])
    checkup = check_prepared(tmp_path, "casme2", "farneback", num_workers=1)
    assert {kind for kind, _ in found(checkup)} == {"unreadable"}
    assert not judge(checkup, None)["casme2"].can
    data.write_bytes(whole)
    assert found(check_prepared(tmp_path, "casme2", "farneback", num_workers=1)) == set()
    (folder / "dataset_info.json").write_text("{")
    checkup = check_prepared(tmp_path, "casme2", "farneback", num_workers=1)
    assert found(checkup) == {("unreadable", "casme2")}
    assert texts(checkup, "unreadable")[0].startswith("the set cannot be opened: ")


def test_prepared_data_from_beginning_to_end(tmp_path, capsys):
    """`prepare` writes a healthy set from a healthy copy."""
    prepare("smic", TREES.smic(tmp_path / "raw"), tmp_path / "data", face="none", num_workers=1)
    capsys.readouterr()
    assert not diagnose(data_dir=tmp_path / "data", out=tmp_path / "out", num_workers=1)
    printed = capsys.readouterr().out
    written = json.loads((tmp_path / "out/doctor.json").read_text())
    assert {(row["kind"], row["clip"]) for row in written["findings"]} == {
        *(("counts", name) for name in DATABASES),
        *(("not_prepared", name) for name in ("casme2", "samm")),
    }
    assert printed.splitlines()[-4:] == [
        "CASME II: 0 usable clips, 145 expected. The clips do not match the composite: 145 clips "
        "too few (negative 0 of 88, positive 0 of 32, surprise 0 of 25); 0 of 24 subjects; 1 error "
        "in the database.",
        "SAMM: 0 usable clips, 133 expected. The clips do not match the composite: 133 clips too "
        "few (negative 0 of 92, positive 0 of 26, surprise 0 of 15); 0 of 28 subjects; 1 error in "
        "the database.",
        "SMIC: 3 usable clips, 164 expected. The clips do not match the composite: 161 clips too "
        "few (negative 1 of 70, positive 1 of 51, surprise 1 of 43); 2 of 16 subjects.",
        "The paper's composite: 3 usable clips, 442 expected. It cannot be reproduced because of "
        "CASME II, SAMM, SMIC.",
    ]
    assert "atnet prepare --dataset=casme2 --flow=spatiotemporal" in printed.replace("\n    ", " ")
    only = check_prepared(tmp_path / "data", "smic", "spatiotemporal", num_workers=1)
    assert only.databases == ("smic",)
    assert found(only) == set()
    with (tmp_path / "out/digests.csv").open() as file:
        assert len(file.readlines()) == 4
    # Circular means lie elsewhere.
    circular = check_prepared(tmp_path / "data", "smic", "spatiotemporal_circular", num_workers=1)
    assert found(circular) == {("not_prepared", "smic")}


def test_a_manifest_stands_in_for_a_database(tmp_path):
    write_set(tmp_path, "manifest", [record("a"), record("x", seed=1, dataset="mine")])
    checkup = check_prepared(tmp_path, None, "farneback", num_workers=1)
    assert found(checkup) == {("not_prepared", "samm"), ("not_prepared", "smic")}
    text = report.to_text(checkup, judge(checkup, None))
    assert "mine, which is not part of the paper's composite: 1 clip of 1 subject" in text
    assert "The paper's composite: " in text
    alone = check_prepared(tmp_path, "manifest", "farneback", num_workers=1)
    assert alone.databases == ("casme2",)
    alone.databases = ()  # As of a manifest without clips of the paper's databases.
    assert "The paper's composite: " not in report.to_text(alone, judge(alone, None))
