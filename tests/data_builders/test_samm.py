import csv
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from atnet_jax.errors import UserError
from atnet_jax.preprocessing.annotation import Clip
from data_builders.prepare import prepare
from data_builders.samm.samm_dataset_builder import read_annotations
from data_builders.source import ErrorList
from tests.extract import extract


def prepare_raw(manual_dir: Path, tmp_path: Path) -> Path:
    return prepare("samm", manual_dir, tmp_path / "data", face="none", num_workers=1)


@pytest.mark.parametrize("subfolder", ["", "SAMM"])
def test_records(subfolder, trees, tmp_path, read_records):
    tree = trees.samm(tmp_path / "raw", subfolder=subfolder)
    path = prepare_raw(tree, tmp_path)
    records = read_records(path)
    keys = ("subject", "clip", "emotion", "label", "onset", "apex_frame", "offset")
    assert [tuple(record[key] for key in keys) for record in records] == [
        ("28", "028_4_1", "Disgust", 0, 1101, 1103, 1105),
        ("28", "028_4_3", "Surprise", 2, 424, 425, 427),
        ("35", "035_5_2", "Happiness", 1, 10, 11, 12),
        ("6", "006_1_2", "Anger", 0, 5562, 5563, 5564),
        ("6", "006_1_3", "Contempt", 0, 3940, 3941, 3942),
    ]
    assert {record["frame_rate"] for record in records} == {200.0}
    assert {record["dataset"] for record in records} == {"samm"}
    folder = tree / subfolder / "028/028_4_3"
    clip = Clip(
        *("samm", "28", "028_4_3", 2, "Surprise", 424, 425, 427, 200.0),
        frames={number: folder / f"028_{number:05d}.jpg" for number in range(424, 428)},
    )
    expected = extract(clip, face="none", box=None, flow="spatiotemporal")
    np.testing.assert_array_equal(records[1]["apex"][:, :, 0], expected.apex)
    np.testing.assert_array_equal(records[1]["adm"], expected.adm)
    np.testing.assert_array_equal(records[1]["flow_map"], expected.flow_map)
    metadata = tfds.builder_from_directory(path).info.metadata
    assert metadata["notes"] == [
        f"frames: {subfolder or 'raw'} (raw)",
        "SAMM_Micro_FACS_Codes_v2.xlsx, row 17 (028_4_1): apex 1113 corrected to 1103, "
        "the frame that the authors' release used",
    ]
    assert [(row["subject"], row["clip"], row["reason"]) for row in metadata["excluded"]] == [
        ("35", "035_6_1", "emotion Other is not in the composite")
    ]


def test_a_corrected_sheet_needs_no_correction(trees, tmp_path):
    path = trees.samm_sheet(
        tmp_path, [trees.samm_row("028", "028_4_1", 1101, 1103, 1105, "Disgust")]
    )
    entries, _, corrections = read_annotations(path, ErrorList())
    assert (entries[0].clip.apex, corrections) == (1103, [])


def test_label_rule_gives_the_composite(real_data, trees, tmp_path):
    """A spreadsheet of the real one's counts, made around the published list of clips."""
    with (real_data / "composite442.csv").open(newline="") as file:
        composite = [row for row in csv.DictReader(file) if row["dataset"] == "samm"]
    counts = {"Anger": 57, "Contempt": 12, "Disgust": 9, "Fear": 8, "Sadness": 6}
    emotions = {
        "0": iter([name for name, count in counts.items() for _ in range(count)]),
        "1": iter(["Happiness"] * 26),
        "2": iter(["Surprise"] * 15),
    }
    rows = []
    for row in composite:
        apex = int(row["apex_frame_file"].removesuffix(".jpg").split("_")[1])
        written = 1113 if row["clip"] == "028_4_1" else apex
        rows.append(
            trees.samm_row(
                *(row["clip"][:3], row["clip"], apex - 9, written, apex + 9),
                next(emotions[row["label"]]),
            )
        )
    rows += [trees.samm_row("006", f"006_9_{n}", 1, 2, 3, "Other") for n in range(26)]
    assert len(rows) == 159
    errors = ErrorList()
    entries, exclusions, _ = read_annotations(trees.samm_sheet(tmp_path, rows), errors)
    assert not errors.messages
    assert len(exclusions) == 26
    assert [(e.clip.subject, e.clip.clip, str(e.clip.label), e.clip.apex) for e in entries] == [
        (
            *(row["subject"], row["clip"], row["label"]),
            int(row["apex_frame_file"].removesuffix(".jpg").split("_")[1]),
        )
        for row in composite
    ]


def test_header_is_found_by_its_names(trees, tmp_path):
    path = tmp_path / "SAMM_Micro_FACS_Codes_v2.xlsx"
    header = (" subject", "FILENAME", "Onset  Frame", "Apex Frame", "Offset Frame")
    rows = [(*header, "Estimated Emotion "), ("006", "006_1_2", 1, 2, 3, "Fear")]
    trees.write_sheet(path, rows, title="MICRO_ONLY", before=3)
    entries, _, _ = read_annotations(path, ErrorList())
    assert [(e.where, e.clip.subject, e.clip.label) for e in entries] == [
        ("SAMM_Micro_FACS_Codes_v2.xlsx, row 5", "6", 0)
    ]


def test_missing_sheet(trees, tmp_path):
    path = tmp_path / "SAMM_Micro_FACS_Codes_v2.xlsx"
    trees.write_sheet(path, [("Subject",)], title="MACRO")
    with pytest.raises(UserError, match=r"has no sheet 'MICRO_ONLY'. It has only 'MACRO'"):
        read_annotations(path, ErrorList())


def test_missing_columns_are_named(trees, tmp_path):
    path = tmp_path / "SAMM_Micro_FACS_Codes_v2.xlsx"
    trees.write_sheet(path, [("Subject", "Filename", "Onset Frame")], title="MICRO_ONLY", before=13)
    with pytest.raises(UserError, match=r"Missing: Apex Frame, Offset Frame, Estimated Emotion\.$"):
        read_annotations(path, ErrorList())


def test_apex_outside_the_clip_and_missing_folders_are_reported_together(trees, tmp_path):
    tree = trees.samm(tmp_path / "raw")
    rows = [
        *trees.SAMM_ROWS,
        trees.samm_row("006", "006_1_9", 10, 1113, 20, "Fear"),
        trees.samm_row("036", "036_1_1", 10, 11, 20, "Fear"),
        trees.samm_row("036", "036_1_2", 10, 11, 20, "Dread"),
    ]
    trees.samm_sheet(tree, rows)
    with pytest.raises(UserError) as error:
        prepare_raw(tree, tmp_path)
    message = str(error.value)
    assert message.startswith("samm: 3 errors, so nothing was prepared:")
    assert "row 21 (samm/6/006_1_9): expected onset <= apex <= offset" in message
    assert f"row 22 (samm/36/036_1_1): {tree / '036'}: no such folder" in message
    assert "row 23: Unknown emotion 'Dread'" in message
