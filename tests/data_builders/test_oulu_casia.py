import shutil
from pathlib import Path

import pytest

from atnet_jax.errors import UserError
from data_builders.oulu_casia.oulu_casia_dataset_builder import Builder
from data_builders.prepare import prepare
from tests.data_builders.damage import copy, empty, move, remove

ANGER = "VL/Strong/P001/Anger"
NI_RECORDS = [
    ("P001", "NI_Strong_Anger", "anger", 0, "NI/Strong/P001/anger/{:03d}.jpeg", (1, 2, 3)),
    ("P002", "NI_Strong_Sadness", "sadness", 0, "NI/Strong/P002/Sadness/{:03d}.jpeg", (2, 3, 4)),
]
VL_RECORDS = [
    ("P001", "VL_Strong_Anger", "anger", 0, "VL/Strong/P001/Anger/{:03d}.jpeg", (2, 3, 4)),
    ("P001", "VL_Strong_Happiness", "happiness", 1, "VL/Strong/P001/Happiness/{:03d}.jpeg",
     (1, 2, 3)),
    ("P002", "VL_Strong_Surprise", "surprise", 2, "VL/Strong/P002/Surprise/{:03d}.jpeg",
     (3, 4, 5)),
]  # fmt: skip


@pytest.fixture
def tree(trees, tmp_path):
    return trees.macro("oulu_casia", tmp_path / "raw")


def read_source(tree: Path):
    return Builder(manual_dir=tree, face="none", data_dir=str(tree.parent / "data")).source


def _below(tree: Path) -> None:
    (tree / "B_OriginalImg").mkdir()
    for name in ("VL", "NI"):
        (tree / name).rename(tree / "B_OriginalImg" / name)


@pytest.mark.parametrize(
    ("change", "expected", "missing", "notes"),
    [
        (None, VL_RECORDS + NI_RECORDS, 24 - 5, []),
        (_below, VL_RECORDS + NI_RECORDS, 24 - 5, []),
        (
            remove("NI"),
            VL_RECORDS,
            12 - 3,
            ["the folder NI is missing: all pictures are from the other camera"],
        ),
        (
            remove("VL"),
            NI_RECORDS,
            12 - 2,
            ["the folder VL is missing: all pictures are from the other camera"],
        ),
    ],
)
def test_records_are_the_last_three_frames_in_strong_light(
    change, expected, missing, notes, tree, tmp_path, trees, read_records, capsys
):
    if change is not None:
        change(tree)
    path = prepare("oulu_casia", tree, tmp_path / "data", face="none", num_workers=1)
    keys = ("subject", "clip", "emotion", "label", "frame")
    found = [
        (*(record[key] for key in keys), trees.shown("oulu_casia", record["image"]))
        for record in read_records(path)
    ]
    assert found == [
        (subject, clip, emotion, label, frame, pattern.format(frame))
        for subject, clip, emotion, label, pattern, frames in sorted(expected)
        for frame in frames
    ]
    output = capsys.readouterr().out
    assert [line for line in output.splitlines() if "camera" in line] == notes
    assert f"missing folders of emotions: {missing}, such as " in output
    assert "of 2 subjects" in output


def test_label_rule(tree):
    for folder in (tree / "VL/Strong").iterdir():
        shutil.rmtree(folder)
    emotions = ("anger", "DISGUST", "Fear", "Happiness", "Sadness", "Surprise")
    for emotion in emotions:
        shutil.copytree(tree / "NI/Strong/P001/anger", tree / "VL/Strong/P003" / emotion)
    labels = {
        entry.clip.emotion: entry.clip.label
        for entry in read_source(tree).entries
        if entry.clip.subject == "P003"
    }
    assert labels == dict(anger=0, disgust=0, fear=0, happiness=1, sadness=0, surprise=2)


def _below_twice(tree: Path) -> None:
    _below(tree)
    shutil.copytree(tree / "B_OriginalImg/VL", tree / "copy/VL")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            _below_twice,
            r"raw has folders VL or NI in .*/B_OriginalImg and in .*/copy. Pass the one",
        ),
        (remove("NI/Strong"), r"NI/Strong: no such folder. Check that the copy of the database is"),
        (
            move("NI/Strong/P001", "NI/Strong/001"),
            r"NI/Strong/001 is not named like a subject \(such as P001\)",
        ),
        (
            remove("NI/Strong/P001/anger"),
            r"NI/Strong/P001 has no folder of an emotion \(such as Anger\)",
        ),
        (
            move("VL/Strong/P001/Happiness", "VL/Strong/P001/Joy"),
            r"P001/Joy: Unknown emotion 'Joy'. Expected one of anger, disgust, fear",
        ),
        (
            copy(ANGER, "VL/Strong/P001/anger"),
            r"oulu_casia/P001/VL_Strong_Anger is defined twice, at .*/Anger and at .*/anger",
        ),
        (
            copy(f"{ANGER}/003.jpeg", f"{ANGER}/3.jpg"),
            r"3.jpg: frame 3 also has the file 003.jpeg",
        ),
        (
            move(f"{ANGER}/000.jpeg", "VL/Strong/P001/000.jpeg"),
            r"P001/000.jpeg is a picture, but only folders are expected here",
        ),
        (
            move(f"{ANGER}/004.jpeg", f"{ANGER}/004 (1).jpeg"),
            r"004 \(1\).jpeg: not named like a frame",
        ),
        (empty(ANGER), r"P001/Anger: Found 0 frames, expected at least 4"),
        (remove(f"{ANGER}/003.jpeg"), r"P001/Anger lacks frame 3 of 2…4"),
    ],
)
def test_errors(damage, message, tree):
    damage(tree)
    with pytest.raises(UserError, match=message):
        read_source(tree)
