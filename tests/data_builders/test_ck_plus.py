from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from atnet_jax.errors import UserError
from data_builders.ck_plus.ck_plus_dataset_builder import Builder
from data_builders.prepare import prepare
from tests.data_builders.damage import copy, empty, move, remove

IMAGES = "cohn-kanade-images"
LABEL = "Emotion/S005/001/S005_001_00000005_emotion.txt"
FRAME = f"{IMAGES}/S005/001/S005_001_"
ANOTHER_FRAME = move(LABEL, LABEL.replace("0005_", "0004_"))


@pytest.fixture
def tree(trees, tmp_path):
    return trees.macro("ck_plus", tmp_path / "raw")


def read_source(tree: Path):
    return Builder(manual_dir=tree, face="none", data_dir=str(tree.parent / "data")).source


def test_records_are_the_last_three_frames(tree, tmp_path, trees, read_records, capsys):
    path = prepare("ck_plus", tree, tmp_path / "data", face="none", num_workers=1)
    keys = ("subject", "clip", "frame", "emotion", "label")
    found = [
        (*(record[key] for key in keys), trees.shown("ck_plus", record["image"]))
        for record in read_records(path)
    ]
    assert found == [
        (subject, clip, frame, emotion, label, f"{IMAGES}/{subject}/{clip}/{name}")
        for subject, clip, emotion, label, frames in (
            ("S005", "001", "disgust", 0, (3, 4, 5)),
            ("S010", "004", "surprise", 2, (4, 5, 6)),
            ("S010", "006", "happy", 1, (2, 3, 4)),
            ("S999", "003", "contempt", 0, (99, 100, 101)),
        )
        for frame in frames
        for name in [f"{subject}_{clip}_{frame:08d}.png"]
    ]
    excluded = tfds.builder_from_directory(path).info.metadata["excluded"]
    assert [(row["where"], row["subject"], row["clip"], row["reason"]) for row in excluded] == [
        (str(tree / IMAGES / subject / clip), subject, clip, reason)
        for subject, clip, reason in (
            ("S005", "002", "the sequence has no emotion file"),
            ("S011", "001", "the sequence has no emotion file"),
            ("S011", "002", "emotion neutral does not belong to any of the three classes"),
        )
    ]
    took, summary = capsys.readouterr().out.split("\n", 1)
    assert took.startswith("Preparation took ")
    assert summary == (
        "ck_plus: 12 pictures (negative 6, positive 3, surprise 3) of 3 subjects\n"
        "  from 4 sequences (negative 2, positive 1, surprise 1)\n"
        "excluded: 3 sequences\n"
        "  1: emotion neutral does not belong to any of the three classes (S011/002)\n"
        "  2: the sequence has no emotion file (S005/002, S011/001)\n"
        f"prepared data: {path}\n"
    )


@pytest.mark.parametrize(
    ("text", "emotion", "label"),
    [
        ("   1.0000000e+00\n", "anger", 0),
        ("2", "contempt", 0),
        ("3.0", "disgust", 0),
        ("4\r\n", "fear", 0),
        ("5.0000000e+00", "happy", 1),
        ("6", "sadness", 0),
        ("7", "surprise", 2),
    ],
)
def test_label_rule(text, emotion, label, tree):
    (tree / LABEL).write_bytes(text.encode())
    clip = read_source(tree).entries[0].clip
    assert (clip.key, clip.emotion, clip.label) == ("ck_plus/S005/001", emotion, label)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("8", "the unknown emotion 8, expected one of 0 neutral, 1 anger, 2 contempt, 3 disgust"),
        ("-1", "the unknown emotion -1"),
        ("3.5", r"the unknown emotion 3\.5"),
        ("nan", "the unknown emotion nan"),
        ("1e999", "the unknown emotion 1e999"),
        ("happy", "'happy', expected the code of an emotion"),
        ("3 5", "'3 5'"),
        ("", "''"),
        ("\xff\xfe3", "'\ufffd\ufffd3'"),
    ],
)
def test_wrong_emotion_files(text, message, tree):
    (tree / LABEL).write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=f"S005_001_00000005_emotion.txt contains {message}"):
        read_source(tree)


def _emotion_elsewhere(tree: Path) -> None:
    (tree / LABEL).rename(tree.parent / "label")
    (tree / LABEL).symlink_to(tree.parent / "label")


def _emotion_folder(tree: Path) -> None:
    (tree / LABEL).unlink()
    (tree / LABEL).mkdir()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove("Emotion"), r"raw/Emotion does not exist. The labels are delivered with the set"),
        (remove(IMAGES), r"raw/cohn-kanade-images: no such folder"),
        (ANOTHER_FRAME, r"04_emotion.txt labels frame 4, but the last frame in .*/001 is 5"),
        (
            empty(f"{IMAGES}/S005/001"),
            r"05_emotion.txt labels frame 5, but the last frame .* is missing",
        ),
        (
            remove(f"{IMAGES}/S005/001"),
            r"Emotion/S005/001 labels a sequence without a folder in cohn-kanade-imag",
        ),
        (
            copy(LABEL, LABEL.replace("0005_", "0004_")),
            r"Emotion/S005/001: Expected one emotion file, found S005_001_00000004_",
        ),
        (
            move(LABEL, LABEL.replace("S005_001", "S005_002")),
            r"S005_002_00000005_emotion.txt is not named like an emotion file of",
        ),
        (_emotion_elsewhere, r"05_emotion.txt is a link that leads out of .*, to .*/label"),
        (_emotion_folder, r"05_emotion.txt is not a file"),
        (
            copy(f"{FRAME}00000003.png", f"{FRAME}3.PNG"),
            r"S005_001_3.PNG: frame 3 also has the file S005_001_00000003.png",
        ),
        (
            move(f"{FRAME}00000001.png", f"{IMAGES}/S005/001/S005_002_00000001.png"),
            r"S005_002_00000001.png: not named like a frame",
        ),
        (remove(f"{FRAME}00000004.png"), r"S005/001 lacks frame 4 of 3…5"),
        (
            remove(f"{FRAME}00000001.png", f"{FRAME}00000002.png"),
            r"S005/001: Found 3 frames, expected at least 4",
        ),
        (
            move(f"{IMAGES}/S005", f"{IMAGES}/5"),
            r"cohn-kanade-images/5 is not named like a subject \(such as S005\)",
        ),
        (
            move(f"{IMAGES}/S005/001", f"{IMAGES}/S005/one"),
            r"S005/one is not named like a sequence \(such as 001\)",
        ),
        (
            move(f"{FRAME}00000001.png", f"{IMAGES}/S005/1.png"),
            r"S005/1.png is a picture, but only folders are expected here",
        ),
    ],
)
def test_errors(damage, message, tree):
    damage(tree)
    with pytest.raises(UserError, match=message):
        read_source(tree)


def test_all_errors_are_reported_together(tree):
    ANOTHER_FRAME(tree)
    (tree / "Emotion/S010/004/S010_004_00000006_emotion.txt").write_text("9")
    (tree / IMAGES / "S010/006/S010_006_00000003.png").unlink()
    with pytest.raises(UserError, match="ck_plus: 3 errors, so nothing was prepared"):
        read_source(tree)


def test_an_early_frame_may_be_missing(tree):
    """Only those that are taken are needed."""
    (tree / IMAGES / "S010/004/S010_004_00000002.png").unlink()
    assert list(read_source(tree).entries[1].clip.frames) == [4, 5, 6]
