"""The printed and written report."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from atnet_jax.errors import UserError
from atnet_jax.published import COMPOSITE, ClipCounts
from data_builders.doctor import composite, digests, report
from data_builders.doctor.composite import judge
from data_builders.doctor.diagnose import diagnose
from data_builders.doctor.findings import CheckedClip, Checkup
from tests.data_builders.doctor.conftest import TREES, remove_frame


def small_composite(monkeypatch):
    """Makes the three clips of the small copy of SMIC all that the composite has of it."""
    expected = {**COMPOSITE, "smic": ClipCounts(3, 2, 1, 1, 1)}
    monkeypatch.setattr(composite, "COMPOSITE", expected)
    monkeypatch.setattr(composite, "_SMIC_SUBJECTS", {"s01", "s20"})


def test_warnings_alone_are_no_failure(tmp_path, monkeypatch, capsys):
    small_composite(monkeypatch)
    tree = TREES.smic(tmp_path / "raw")
    assert diagnose(manual_dir=tree, dataset="smic", num_workers=1)
    assert "Errors: 0. Warnings: 0." in capsys.readouterr().out
    frames = tree / "SMIC_all_raw/HS/s01/micro/negative/s01_ne_01"
    shutil.copy(frames / "image000100.bmp", frames / "image000101.bmp")
    assert diagnose(manual_dir=tree, dataset="smic", num_workers=1)
    printed = capsys.readouterr().out
    assert "WARNING: identical consecutive frames: 1\n  - smic/s01/s01_ne_01: 100→101\n" in printed
    assert "ERROR" not in printed
    assert "Errors: 0. Warnings: 1." in printed
    (frames / "image000100.bmp").write_bytes(b"")
    assert not diagnose(manual_dir=tree, dataset="smic", num_workers=1)
    assert "ERROR: clips that cannot be read completely: 1\n" in capsys.readouterr().out


def test_many_findings_are_named_in_part_and_written_in_whole(tmp_path, capsys):
    tree = tmp_path / "raw"
    for number in range(1, 9):
        frames = [f"image{n:03d}.bmp" for n in range(3)]
        clip = tree / f"SMIC_all_raw/HS/s01/micro/negative/s01_ne_{number:02d}"
        TREES.write_frames(clip, frames, seed=number)
        (clip / frames[1]).write_bytes(b"BM")
    out = tmp_path / "out"
    assert not diagnose(manual_dir=tree, dataset="smic", out=out, num_workers=1)
    printed = capsys.readouterr().out
    assert "ERROR: clips that cannot be read completely: 8" in printed
    assert "s01_ne_05" in printed and "smic/s01/s01_ne_06" not in printed
    assert "… and 3 more. doctor.json (--out=FOLDER) lists all of them." in printed
    *text, casme2, _, smic, full = printed.splitlines()
    assert all(len(line) <= 100 for line in text)
    assert casme2 == "CASME II was not checked."
    assert smic.startswith("SMIC: 0 usable clips, 164 expected. The clips do not match the composi")
    assert full == (
        "The paper's composite: 0 usable clips, 442 expected. It cannot be reproduced because of "
        "SMIC."
    )
    written = json.loads((out / "doctor.json").read_text())
    kinds = Counter((row["level"], row["kind"]) for row in written["findings"])
    assert kinds == {("error", "unreadable"): 8, ("error", "counts"): 1}
    assert written["databases"]["smic"]["subjects"] == {
        "s01": {"negative": 8, "positive": 0, "surprise": 0}
    }
    assert written["verdicts"]["full"]["can"] is False
    rows = digests.read(out / "digests.csv", raw=True)
    assert len(rows) == 8
    assert rows["smic/s01/s01_ne_01"]["frames"] == "3"


def test_names_cannot_steer_the_terminal():
    checkup = Checkup((), [CheckedClip("my\x1b[2J", "s", "c", 0, None, None, None, None, {})])
    checkup.add("jump", "my\x1b[2J/s/c", "\x1b]0;title\x07")
    text = report.to_text(checkup, judge(checkup, None))
    assert all(line.isprintable() for line in text.splitlines())


def test_the_doctor_overwrites_nothing(tmp_path, capsys):
    tree, out = TREES.smic(tmp_path / "raw"), tmp_path / "out"
    out.mkdir()
    diagnose(manual_dir=tree, dataset="smic", out=out, num_workers=1)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    (tmp_path / "file").touch()
    capsys.readouterr()
    for taken in (out, tmp_path / "file"):
        with pytest.raises(UserError, match=r"already exists\. Choose a new --out"):
            diagnose(manual_dir=tree, dataset="smic", out=taken, num_workers=1)
    assert capsys.readouterr().out == ""  # Told before any work.
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Pass either --data_dir"),
        ({"data_dir": Path(), "manual_dir": Path()}, "Pass either --data_dir"),
        ({"manual_dir": Path()}, "--manual_dir requires --dataset, one of casme2, samm, smic"),
        ({"data_dir": Path("nowhere")}, "The folder nowhere does not exist"),
        ({"data_dir": Path(), "num_workers": 0}, "num_workers is 0, expected at least 1"),
        ({"data_dir": Path(), "compare": Path("nowhere.csv")}, "nowhere.csv: The digests cannot"),
        ({"data_dir": Path(), "composite_list": Path("nowhere.csv")}, "nowhere.csv cannot be read"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(UserError, match=message):
        diagnose(**options)


def test_a_copy_is_compared_with_another(tmp_path, capsys):
    tree = TREES.casme2(tmp_path / "raw")
    here = {"manual_dir": tree, "dataset": "casme2", "num_workers": 1}
    diagnose(**here, out=tmp_path / "one")
    remove_frame(tree)
    capsys.readouterr()
    diagnose(**here, compare=tmp_path / "one/digests.csv")
    printed = capsys.readouterr().out
    assert "clips that exist only in the other copy: 1\n  - casme2/sub01/EP02_01f" in printed
