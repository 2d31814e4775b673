import shutil
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from atnet_jax.errors import UserError
from data_builders.mug.mug_dataset_builder import Builder
from data_builders.prepare import prepare
from tests.data_builders.damage import copy, make_folder, move, remove

TAKE = "subjects3/001/anger/take000"


@pytest.fixture
def tree(trees, tmp_path):
    return trees.macro("mug", tmp_path / "raw")


def read_source(tree: Path):
    return Builder(manual_dir=tree, face="none", data_dir=str(tree.parent / "data")).source


def test_records_are_the_three_frames_in_the_middle(tree, tmp_path, trees, read_records, capsys):
    path = prepare("mug", tree, tmp_path / "data", face="none", num_workers=1)
    keys = ("subject", "clip", "emotion", "label", "frame")
    found = [
        (*(record[key] for key in keys), trees.shown("mug", record["image"]))
        for record in read_records(path)
    ]
    assert found == [
        (subject, clip, emotion, label, frame, f"subjects3/{folder}/img_{frame:04d}.jpg")
        for subject, clip, emotion, label, folder, frames in (
            ("001", "anger_take000", "anger", 0, "001/anger/take000", (2, 3, 4)),
            ("001", "happiness_take002", "happiness", 1, "001/happiness/take002", (1, 2, 3)),
            ("002", "session0_surprise_take001", "surprise", 2,
             "002/session0/surprise/take001", (11, 12, 13)),
            ("002", "session1_surprise_take001", "surprise", 2,
             "002/session1/Surprise/take001", (1, 2, 3)),
        )
        for frame in frames
    ]  # fmt: skip
    excluded = tfds.builder_from_directory(path).info.metadata["excluded"]
    assert [(row["subject"], row["clip"], row["reason"]) for row in excluded] == [
        ("001", "neutral_take000", "emotion neutral does not belong to any of the three classes"),
        ("002", "session1_fear_take001nsg", "the take's name ends in 'nsg'"),
    ]
    output = capsys.readouterr().out
    assert "mug: 12 pictures (negative 3, positive 3, surprise 6) of 2 subjects" in output
    assert "  from 4 sequences (negative 1, positive 1, surprise 2)" in output
    assert "excluded: 2 sequences" in output


def test_label_rule(tree):
    for emotion in ("disgust", "Fear", "sadness", "SURPRISE"):
        shutil.copytree(tree / "subjects3/001/anger", tree / "subjects3/003" / emotion)
    labels = {
        entry.clip.emotion: entry.clip.label
        for entry in read_source(tree).entries
        if entry.clip.subject == "003"
    }
    assert labels == {"disgust": 0, "fear": 0, "sadness": 0, "surprise": 2}


def test_names_of_takes(tree):
    """Three digits and more are a number, what follows is a mark."""
    (tree / TAKE).rename(tree / "subjects3/001/anger/take0010")
    assert read_source(tree).entries[0].clip.clip == "anger_take0010"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (move("subjects3", "subjects"), r"raw/subjects3: no such folder"),
        (
            move("subjects3/001", "subjects3/anna"),
            r"subjects3/anna is not named like a subject \(such as 001\)",
        ),
        (
            make_folder("subjects3/003"),
            r"subjects3/003 has no folder of an emotion \(such as anger\)",
        ),
        (
            move("subjects3/001/anger", "subjects3/001/rage"),
            r"001/rage: Unknown emotion 'rage'. Expected one of anger, disgust",
        ),
        (remove(TAKE), r"001/anger has no folder of a take \(such as take000\)"),
        (
            move(TAKE, "subjects3/001/anger/first"),
            r"anger/first is not named like a take \(such as take000\)",
        ),
        (
            move(f"{TAKE}/img_0000.jpg", "subjects3/001/anger/img_0000.jpg"),
            r"anger/img_0000.jpg is a picture, but only folders are expected here",
        ),
        (
            move(f"{TAKE}/img_0000.jpg", "subjects3/001/img_0000.jpg"),
            r"001/img_0000.jpg is a picture, but only folders are expected here",
        ),
        (
            copy("subjects3/001/anger", "subjects3/001/Anger"),
            r"mug/001/anger_take000 is defined twice, at .*/Anger/take000 and at .*/anger/take0",
        ),
        (
            copy(f"{TAKE}/img_0000.jpg", f"{TAKE}/img_0.jpg"),
            r"img_0000.jpg: frame 0 also has the file img_0.jpg",
        ),
        (remove(f"{TAKE}/img_0001.jpg"), r"take000 lacks frame 1 of 0…6"),
        (
            remove(*(f"{TAKE}/img_{number:04d}.jpg" for number in (0, 1, 6))),
            r"take000: Found 4 frames, expected at least 5",
        ),
    ],
)
def test_errors(damage, message, tree):
    damage(tree)
    with pytest.raises(UserError, match=message):
        read_source(tree)
