import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from atnet_jax.errors import UserError
from data_builders.jaffe.jaffe_dataset_builder import Builder
from data_builders.prepare import prepare


@pytest.fixture
def tree(trees, tmp_path):
    return trees.macro("jaffe", tmp_path / "raw")


def read_source(tree: Path):
    return Builder(manual_dir=tree, face="none", data_dir=str(tree.parent / "data")).source


def test_records(tree, tmp_path, trees, read_records, capsys):
    path = prepare("jaffe", tree, tmp_path / "data", face="none", num_workers=1)
    keys = ("subject", "clip", "frame", "emotion", "label")
    found = [
        (*(record[key] for key in keys), trees.shown("jaffe", record["image"]))
        for record in read_records(path)
    ]
    assert found == [
        ("KA", "AN1.39", 0, "anger", 0, "KA.AN1.39.tiff"),
        ("KA", "AN2.40", 0, "anger", 0, "KA.AN2.40.tiff"),
        ("KA", "DI1.42", 0, "disgust", 0, "KA.DI1.42.tiff"),
        ("KA", "FE4.48", 0, "fear", 0, "KA.FE4.48.tiff"),
        ("KA", "HA1.29", 0, "happiness", 1, "KA.HA1.29.tiff"),
        ("KL", "SA1.161", 0, "sadness", 0, "KL.SA1.161.tiff"),
        ("KL", "SU3.166", 0, "surprise", 2, "KL.SU3.166.tiff"),
    ]
    excluded = tfds.builder_from_directory(path).info.metadata["excluded"]
    assert [(row["subject"], row["clip"]) for row in excluded] == [
        ("KA", "NE1.26"),
        ("YM", "NE3.51"),
    ]
    took, summary = capsys.readouterr().out.split("\n", 1)
    assert took.startswith("Preparation took ")
    assert summary == (
        "jaffe: 7 pictures (negative 5, positive 1, surprise 1) of 2 subjects\n"
        "excluded: 2 pictures\n"
        "  2: emotion neutral does not belong to any of the three classes (KA/NE1.26, YM/NE3.51)\n"
        f"prepared data: {path}\n"
    )


def test_names_in_other_cases_and_converted_pictures(tree):
    (tree / "KA.AN1.39.tiff").rename(tree / "ka.an1.39.TIF")
    (tree / "KA.AN2.40.tiff").rename(tree / "KA.AN2.40.png")
    keys = [entry.clip.key for entry in read_source(tree).entries]
    assert keys[:2] == ["jaffe/KA/AN1.39", "jaffe/KA/AN2.40"]
    assert len(keys) == 7


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("KA.XX1.39.tiff", r"KA.XX1.39.tiff: Unknown emotion 'XX'. Expected one of AN, DI, FE"),
        (
            "KA.39.tiff",
            r"KA.39.tiff is not named like a picture of JAFFE \(such as KA.AN1.39.tiff\)",
        ),
        ("KA.AN.39.tiff", r"KA.AN.39.tiff is not named like a picture"),
        ("AN1.39.tiff", r"AN1.39.tiff is not named like a picture"),
        ("KA.AN1.39", r"KA.AN1.39 is not named like a picture"),
        ("KA.AN1.39 (1).tiff", r"KA.AN1.39 \(1\).tiff is not named like a picture"),
        ("KA.AN1.39.tif", r"KA/AN1.39 is defined twice, at .*39.tif and at .*39.tiff"),
        ("ka.an1.39.tiff", r"KA/AN1.39 is defined twice, at .*KA.* and at .*ka"),
    ],
)
def test_wrong_names(name, message, tree):
    shutil.copy(tree / "KA.AN1.39.tiff", tree / name)
    with pytest.raises(UserError, match=message):
        read_source(tree)


def test_a_folder_in_it(tree):
    (tree / "happy").mkdir()
    with pytest.raises(UserError, match="raw/happy is not named like a picture of JAFFE"):
        read_source(tree)


def test_texts_may_lie_beside_the_pictures(tree):
    for name in ("README_FIRST.txt", "A_README_FIRST.TXT", "ratings.html"):
        (tree / name).write_bytes(np.arange(9).tobytes())
    assert len(read_source(tree).entries) == 7
