"""Digests distinguish copies."""

import dataclasses
import shutil

import pytest

from atnet_jax.errors import UserError
from data_builders.doctor import digests
from data_builders.doctor.findings import Checkup
from data_builders.doctor.raw import check_raw
from tests.data_builders.doctor.conftest import HAPPY, TREES, clip


def test_digests_are_compared(tmp_path):
    clips = [clip(f"casme2/sub01/{name}", 1) for name in ("a", "b", "c", "d", "=1+1", "'@x")]
    path = tmp_path / "other.csv"
    samm = clip("samm/6/z", 0)
    path.write_text(digests.to_csv([*clips, samm]))
    # No cell begins as a formula does.
    cells = [cell for line in path.read_text().splitlines() for cell in line.split(",")]
    assert "'=1+1" in cells and "''@x" in cells
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells)
    other = digests.read(path, raw=True)
    same = Checkup(("casme2",), list(clips))
    digests.compare(same, other)
    assert same.findings == []
    assert same.notes == ["clips equal to those of the other copy: 6 of 6"]
    here = [
        dataclasses.replace(clips[0], digests={"sha256": "f" * 64}),
        dataclasses.replace(clips[1], label=2, apex=6),
        dataclasses.replace(clips[2], digests={}),
        *clips[4:],
        clip("casme2/sub01/e", 0),
    ]
    checkup = Checkup(("casme2",), here)
    digests.compare(checkup, other)
    assert checkup.notes == ["clips equal to those of the other copy: 2 of 6"]
    assert {(finding.kind, finding.clip, finding.found) for finding in checkup.findings} == {
        ("differs", clips[0].key, "sha256 ffffffff here, 00000000 there"),
        ("differs", clips[1].key, "label 2 here, 1 there; apex 6 here, 5 there"),
        ("differs", clips[2].key, "sha256 unknown here, 00000000 there"),
        ("only_there", "casme2/sub01/d", "this copy does not contain it"),
        ("only_here", "casme2/sub01/e", "the other copy does not contain it"),
    }
    with pytest.raises(UserError, match="has no digests of prepared data"):
        digests.read(path, raw=False)


HEADER = ",".join(digests.COLUMNS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a digests.csv of `atnet doctor`"),
        (
            "dataset,subject,clip,label\n",
            "is not a digests.csv of `atnet doctor`. Expected the columns dataset,subject,clip,",
        ),
        (f"{HEADER}\na,b,c,1\n", "row 2: Found 4 cells, expected 12"),
        (f"{HEADER}\na,b,c,1,,,,,xyz,,,\n", "row 2: sha256 is 'xyz', expected a SHA-256"),
        (f"{HEADER}\n" + 2 * f"a,b,c,1,,,,,{64 * '0'},,,\n", "row 3: a/b/c is listed twice"),
        (f"{HEADER}\n", "has no digests of raw frames"),
    ],
)
def test_digests_that_cannot_be_used(text, message, tmp_path):
    path = tmp_path / "digests.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        digests.read(path, raw=True)


def test_digests_tell_copies_apart(tmp_path):
    tree = TREES.casme2(tmp_path / "one")
    first = check_raw(tree, "casme2", num_workers=1)
    copied = shutil.copytree(tree, tmp_path / "two")
    assert check_raw(copied, "casme2", num_workers=1).clips == first.clips
    # The picture is the same, its file is not; frames beside onset…offset do not count.
    path = copied / HAPPY / "img9.jpg"
    path.write_bytes(path.read_bytes() + b" ")
    (copied / HAPPY / "img12.jpg").write_bytes(b"")
    second = check_raw(copied, "casme2", num_workers=1)
    assert [
        clip.key for clip, other in zip(second.clips, first.clips, strict=True) if clip != other
    ] == ["casme2/sub01/EP02_01f"]
