import shutil
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from atnet_jax.errors import UserError
from data_builders.image_folder.image_folder_dataset_builder import Builder
from data_builders.prepare import prepare
from tests.data_builders.damage import copy, make_folder, move


@pytest.fixture
def tree(trees, tmp_path):
    return trees.macro("image_folder", tmp_path / "raw")


def read_source(tree: Path):
    return Builder(manual_dir=tree, face="none", data_dir=str(tree.parent / "data")).source


def test_records(tree, tmp_path, trees, read_records, capsys):
    path = prepare("image_folder", tree, tmp_path / "data", face="none", num_workers=1)
    keys = ("subject", "clip", "frame", "emotion", "label")
    found = [
        (*(record[key] for key in keys), trees.shown("image_folder", record["image"]))
        for record in read_records(path)
    ]
    assert found == [
        ("anna", "anger_1", 0, "anger", 0, "anger/anna/1.png"),
        ("anna", "happiness_1", 0, "happiness", 1, "happiness/anna/1.png"),
        ("anna", "happiness_2", 0, "happiness", 1, "happiness/anna/2.jpg"),
        ("bert", "anger_x.y", 0, "anger", 0, "anger/bert/x.y.tif"),
        ("bert", "contempt_1", 0, "contempt", 0, "Contempt/bert/1.JPEG"),
        ("carl", "surprise_1", 0, "surprise", 2, "surprise/carl/1.tiff"),
        ("dora", "negative_1", 0, "negative", 0, "negative/dora/1.png"),
        ("dora", "positive_1", 0, "positive", 1, "positive/dora/1.png"),
        ("happiness_3", "happiness_3", 0, "happiness", 1, "happiness/3.bmp"),
        ("surprise_3", "surprise_3", 0, "surprise", 2, "surprise/3.bmp"),
    ]
    excluded = tfds.builder_from_directory(path).info.metadata["excluded"]
    assert [(row["subject"], row["clip"]) for row in excluded] == [
        ("neutral_9", "neutral_9"),
        ("anna", "neutral_1"),
    ]
    output = capsys.readouterr().out
    assert "image_folder: 10 pictures (negative 4, positive 4, surprise 2) of 6 subjects" in output
    assert "2 pictures outside of a subject's folder. Each counts as a separate subject" in output


def test_no_note_where_every_picture_has_a_subject(tree):
    for path in tree.glob("*/*.bmp"):
        path.unlink()
    assert read_source(tree).notes == []


@pytest.mark.parametrize(
    ("folder", "label"),
    [
        ("Negative", 0), ("positive", 1), ("SURPRISE", 2), ("happiness", 1), ("anger", 0),
        ("contempt", 0), ("Disgust", 0), ("fear", 0), ("repression", 0), ("sadness", 0),
    ],
)  # fmt: skip
def test_label_rule(folder, label, tree):
    (tree / folder / "erna").mkdir(parents=True, exist_ok=True)
    shutil.copy(tree / "surprise/3.bmp", tree / folder / "erna/1.bmp")
    clip = next(e.clip for e in read_source(tree).entries if e.clip.subject == "erna")
    assert (clip.emotion, clip.label) == (folder.casefold(), label)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            move("happiness", "joy"),
            r"raw/joy: Unknown emotion 'joy'. Expected one of negative, positive",
        ),
        (move("happiness/3.bmp", "3.bmp"), r"raw/3.bmp is not in the folder of a class"),
        (
            make_folder("happiness/anna/more"),
            r"anna/more is a folder, but CLASS/SUBJECT/PICTURE is expected",
        ),
        (
            copy("happiness", "Happiness"),
            r"anna/happiness_1 is defined twice, at .*/Happiness/.* and at .*/happiness/",
        ),
        (
            copy("happiness/anna/1.png", "happiness/anna/1.jpg"),
            r"anna/happiness_1 is defined twice, at .*1.jpg and at .*1.png",
        ),
        (
            move("happiness/anna/1.png", "happiness/anna/1.heic"),
            r"1.heic is not named like a picture \(.bmp, .jpeg, .jpg, .pgm, .png, .ppm, .tif",
        ),
        (
            move("happiness/3.bmp", "happiness/3.gif"),
            r"happiness/3.gif is not named like a picture",
        ),
        (
            move("happiness/3.bmp", "happiness/\udcff.bmp"),
            r"the name is '\\udcff', expected a plain name",
        ),
        (
            move("happiness/anna", "happiness/an\nna"),
            r"the subject is 'an\\nna', expected a plain name",
        ),
    ],
)
def test_errors(damage, message, tree):
    damage(tree)
    with pytest.raises(UserError, match=message):
        read_source(tree)
