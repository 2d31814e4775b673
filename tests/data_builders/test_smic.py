import csv
import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from atnet_jax.data import record as clip_record
from atnet_jax.data.record import INPUTS, from_record, prepared
from atnet_jax.errors import UserError
from atnet_jax.preprocessing.annotation import Clip
from data_builders.prepare import prepare
from data_builders.smic.smic_dataset_builder import Builder
from tests.data_builders.damage import copy, empty, make_folder, move, remove
from tests.extract import extract

CLIP = "s01/micro/negative/s01_ne_01"


def prepare_raw(manual_dir: Path, tmp_path: Path) -> Path:
    return prepare("smic", manual_dir, tmp_path / "data", face="none", num_workers=1)


def make_builder(manual_dir: Path, face: str = "none") -> Builder:
    return Builder(
        manual_dir=manual_dir, face=face, data_dir=str(manual_dir / "data"), config="farneback"
    )


@pytest.mark.parametrize("cropped", [False, True])
def test_records_of_both_paddings(cropped, trees, tmp_path, read_records):
    tree = trees.smic(tmp_path / "raw", cropped=cropped)
    records = read_records(prepare_raw(tree, tmp_path))
    keys = ("subject", "clip", "emotion", "label", "onset", "apex_frame", "offset", "frame_rate")
    assert [tuple(record[key] for key in keys) for record in records] == [
        ("s01", "s01_ne_01", "negative", 0, 98, 99, 101, 100.0),
        ("s01", "s01_sur_01", "surprise", 2, 5, 6, 7, 100.0),
        ("s20", "s20_po_01", "positive", 1, 7, 9, 11, 100.0),
    ]
    if cropped:
        first = tree / "SMIC_all_cropped/HS/s1/micro/negative/s1_ne_01/reg_image000098.bmp"
    else:
        first = tree / "SMIC_all_raw/HS/s01/micro/negative/s01_ne_01/image000098.bmp"
    frames = {
        number: first.with_name(first.name.replace("098", f"{number:03d}"))
        for number in range(98, 102)
    }
    clip = Clip(*("smic", "s01", "s01_ne_01", 0, "negative", 98, 99, 101, 100.0), frames=frames)
    expected = extract(clip, face="none", box=None, flow="spatiotemporal")
    np.testing.assert_array_equal(records[0]["apex"][:, :, 0], expected.apex)
    np.testing.assert_array_equal(records[0]["adm"], expected.adm)
    np.testing.assert_array_equal(records[0]["flow_map"], expected.flow_map)
    np.testing.assert_array_equal(records[0]["flow"], expected.flow)
    builder = prepared(tmp_path / "data", "smic", "spatiotemporal")
    (_, record), *_ = clip_record.read_records(builder, ["colour"])
    seen = from_record(record, INPUTS)
    for name in (field.name for field in dataclasses.fields(seen)):
        np.testing.assert_array_equal(getattr(seen, name), getattr(expected, name), name)


def test_apex_frames_are_those_of_the_release(real_data, tmp_path):
    """Folders made around the published apex frames: the middle of them is found again."""
    with (real_data / "composite442.csv").open(newline="") as file:
        composite = [row for row in csv.DictReader(file) if row["dataset"] == "smic"]
    emotions = ("negative", "positive", "surprise")
    for index, row in enumerate(composite):
        emotion = emotions[int(row["label"])]
        folder = tmp_path / "SMIC_all_raw/HS" / row["subject"] / "micro" / emotion / row["clip"]
        folder.mkdir(parents=True)
        apex = row["apex_frame_file"]
        digits = apex.removeprefix("image").removesuffix(".bmp")
        # Of 2 k + 1 and of 2 k + 2 frames the one with k before it.
        half = index % 4
        for shift in range(-half, half + 1 + index % 2):
            (folder / f"image{int(digits) + shift:0{len(digits)}d}.bmp").touch()
    entries = make_builder(tmp_path).source.entries
    assert len(entries) == 164
    found = {
        (entry.clip.subject, entry.clip.clip): (
            str(entry.clip.label),
            entry.clip.frames[entry.clip.apex].name,
        )
        for entry in entries
    }
    assert found == {
        (row["subject"], row["clip"]): (row["label"], row["apex_frame_file"]) for row in composite
    }


def test_folder_goes_with_the_face_option(trees, tmp_path):
    trees.smic(tmp_path)
    trees.smic(tmp_path, cropped=True)
    assert make_builder(tmp_path).source.notes == ["frames: SMIC_all_cropped/HS (cropped)"]
    assert make_builder(tmp_path, "mtcnn").source.notes == ["frames: SMIC_all_raw/HS (raw)"]
    shutil.rmtree(tmp_path / "SMIC_all_raw")
    (note,) = make_builder(tmp_path, "mtcnn").source.notes
    assert note.startswith(
        "frames: SMIC_all_cropped/HS (cropped), because the copy has no raw frames"
    )


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove(f"{CLIP}/image000100.bmp"), r"s01_ne_01 lacks frame 100 of 98…101"),
        (empty(CLIP), r"s01_ne_01 has no frames"),
        (
            copy(f"{CLIP}/image000100.bmp", f"{CLIP}/image000100b.bmp"),
            r"image000100b\.bmp: not named like a frame",
        ),
        (
            make_folder("s20/micro/others/s20_ot_01"),
            r"others: Unknown emotion 'others'. Expected one of negative, positive",
        ),
        (remove("s20/micro"), r"s20/micro does not exist"),
        (
            move("s20/micro/positive/s20_po_01", "s20/micro/positive/s02_po_01"),
            r"s02_po_01 is not named like a clip of s20 \(such as s20_ne_01\)",
        ),
        (move("s20", "twenty"), r"twenty is not named like a subject"),
        (
            copy(CLIP, "s1/micro/negative/s1_ne_01"),
            r"smic/s01/s01_ne_01 is defined twice, at .*/s01/.* and at .*/s1/",
        ),
    ],
)
def test_errors(damage, message, trees, tmp_path):
    tree = trees.smic(tmp_path)
    damage(tree / "SMIC_all_raw/HS")
    with pytest.raises(UserError, match=message):
        _ = make_builder(tree).source


def test_no_frames_folder(tmp_path):
    with pytest.raises(UserError, match="Expected SMIC_all_raw/HS, SMIC_all_cropped/HS"):
        _ = make_builder(tmp_path).source


def test_no_clip(tmp_path):
    (tmp_path / "SMIC_all_raw/HS").mkdir(parents=True)
    with pytest.raises(UserError, match=r"with a folder for each subject such as s01"):
        _ = make_builder(tmp_path).source
