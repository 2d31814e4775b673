import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from atnet_jax.errors import UserError
from atnet_jax.preprocessing.annotation import Clip
from data_builders.casme2.casme2_dataset_builder import SHEET
from data_builders.prepare import prepare
from data_builders.source import ErrorList
from tests.extract import extract


def prepare_raw(manual_dir: Path, tmp_path: Path) -> Path:
    return prepare("casme2", manual_dir, tmp_path / "data", face="none", num_workers=1)


@pytest.fixture
def tree(trees, tmp_path):
    return trees.casme2(tmp_path / "raw")


def test_every_feature_is_that_of_the_source(tree, tmp_path, read_records):
    records = read_records(prepare_raw(tree, tmp_path))
    assert [(record["subject"], record["clip"]) for record in records] == [
        ("sub01", "EP02_01f"),
        ("sub01", "EP19_05f"),
        ("sub02", "7"),
        ("sub02", "EP01_11f"),
    ]
    assert [record["label"] for record in records] == [1, 0, 2, 0]
    assert [record["emotion"] for record in records] == [
        *("happiness", "disgust", "surprise", "repression")
    ]
    record = records[0]
    assert (record["onset"], record["apex_frame"], record["offset"]) == (8, 10, 11)
    assert (record["dataset"], record["frame_rate"]) == ("casme2", 200.0)
    folder = tree / "CASME2_RAW_selected/sub01/EP02_01f"
    clip = Clip(
        *("casme2", "sub01", "EP02_01f", 1, "happiness", 8, 10, 11, 200.0),
        frames={number: folder / f"img{number}.jpg" for number in range(8, 12)},
    )
    expected = extract(clip, face="none", box=None, flow="spatiotemporal")
    np.testing.assert_array_equal(record["apex"], expected.apex[:, :, None])
    np.testing.assert_array_equal(record["adm"], expected.adm)
    np.testing.assert_array_equal(record["flow_map"], expected.flow_map)
    np.testing.assert_array_equal(record["crop_box"], np.float32(expected.crop_box))
    assert record["has_apex"] and record["has_adm"] and record["has_flow_map"]
    # Flow row t is the pair (apex - 32 + t, apex - 31 + t): only 8…11 has frames.
    assert np.flatnonzero(np.any(record["adm"], axis=1)).tolist() == [30, 31, 32]
    # The apex frame and no other.
    frame = cv2.imread(str(folder / "img10.jpg"), cv2.IMREAD_GRAYSCALE)
    frame = cv2.resize(frame, (224, 224), interpolation=cv2.INTER_AREA).astype(float)
    assert np.abs(record["apex"][:, :, 0] - frame).mean() < 8


def test_clips_left_out_are_kept_with_their_reason(tree, tmp_path, capsys):
    metadata = tfds.builder_from_directory(prepare_raw(tree, tmp_path)).info.metadata
    assert [(row["subject"], row["clip"], row["reason"]) for row in metadata["excluded"]] == [
        ("sub02", "EP03_02f", "emotion others is not in the composite"),
        ("sub02", "EP03_03f", "emotion sadness is not in the composite"),
        ("sub02", "EP03_04f", "emotion fear is not in the composite"),
        ("sub04", "EP12_01f", "the apex is not annotated"),
        ("sub05", "EP09_05f", "the annotated apex equals the onset"),
    ]
    assert metadata["excluded"][3]["where"] == "CASME2-coding-20140508.xlsx, row 9"
    assert metadata["counts"] == {"casme2": {"negative": 2, "positive": 1, "surprise": 1}}
    assert metadata["subjects"] == {"casme2": 2}
    options = metadata["options"]
    assert (options["face"], options["boxes"], options["flow"]) == ("none", None, "spatiotemporal")
    output = capsys.readouterr().out
    assert "casme2: 4 clips (negative 2, positive 1, surprise 1) of 2 subjects" in output
    assert (
        "differs from the paper's composite: 4 of 145 clips (negative 2 of 88, positive 1" in output
    )
    assert "excluded: 5 clips" in output
    assert "1: the apex is not annotated (sub04/EP12_01f)" in output


def test_label_rule_gives_the_composite(real_data, trees, tmp_path):
    """A spreadsheet of the real one's counts, made around the published list of clips."""
    with (real_data / "composite442.csv").open(newline="") as file:
        composite = [row for row in csv.DictReader(file) if row["dataset"] == "casme2"]
    negative = iter(["disgust"] * 63 + ["repression"] * 27)
    emotions = {"0": negative, "1": iter(["happiness"] * 32), "2": iter(["surprise"] * 25)}
    rows = []
    for row in composite:
        apex = int(row["apex_frame_file"].removeprefix("img").removesuffix(".jpg"))
        emotion = next(emotions[row["label"]])
        rows.append(
            trees.casme2_row(row["subject"][3:], row["clip"], apex - 1, apex, apex + 9, emotion)
        )
    rows.append(trees.casme2_row("04", "EP12_01f", 10, "/", 30, next(negative)))
    rows.append(trees.casme2_row("05", "EP09_05f", 10, 10, 30, next(negative)))
    others = ["others"] * 99 + ["sadness"] * 7 + ["fear"] * 2
    rows += [trees.casme2_row("10", f"EP{n}", 1, 2, 3, name) for n, name in enumerate(others)]
    assert len(rows) == 255
    errors = ErrorList()
    entries, exclusions = SHEET.read(trees.casme2_sheet(tmp_path, rows), errors)
    assert not errors.messages
    assert len(exclusions) == 110
    clips = [entry.clip for entry in entries]
    found = [(c.subject, c.clip, str(c.label), f"img{c.apex}.jpg") for c in clips]
    keys = ("subject", "clip", "label", "apex_frame_file")
    assert found == [tuple(row[key] for key in keys) for row in composite]


@pytest.mark.parametrize(
    ("face", "there", "used"),
    [
        ("none", ["CASME2_RAW_selected", "Cropped"], "frames: Cropped (cropped)"),
        ("mtcnn", ["CASME2_RAW_selected", "Cropped"], "frames: CASME2_RAW_selected (raw)"),
        ("mtcnn", ["CASME2-RAW"], "frames: CASME2-RAW (raw)"),
        ("mtcnn", ["Cropped"], "frames: Cropped (cropped), because the copy has no raw frames"),
        (
            "none",
            ["CASME2-RAW"],
            "frames: CASME2-RAW (raw), because the copy has no cropped frames",
        ),
    ],
)
def test_folder_of_frames_goes_with_the_face_option(face, there, used, trees, tmp_path):
    from data_builders.casme2.casme2_dataset_builder import Builder

    for name in there:
        trees.casme2(tmp_path / "raw", frames=name)
    builder = Builder(
        manual_dir=tmp_path / "raw", face=face, data_dir=str(tmp_path), config="farneback"
    )
    assert builder.source.notes[1].startswith(used)
    frames = builder.source.entries[0].clip.frames
    folder = used.split()[1]
    assert all(folder in path.parts for path in frames.values())
    assert list(frames) == [8, 9, 10, 11]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("02", "E", None, 1, 2, 3, None, 4, "joy"), r"row 3: Unknown emotion 'joy'. Expected"),
        (("02", "E", None, 1, 2, 3, None, 4, None), r"row 3: Unknown emotion ''"),
        (("xx", "E", None, 1, 2, 3, None, 4, "disgust"), r"row 3: Subject is 'xx'"),
        (("02", None, None, 1, 2, 3, None, 4, "disgust"), r"row 3: Filename is empty"),
        (("02", "../E", None, 1, 2, 3, None, 4, "disgust"), r"row 3: Filename is '../E'"),
        (("02", "/etc", None, 1, 2, 3, None, 4, "disgust"), r"row 3: Filename is '/etc'"),
        (("02", "..", None, 1, 2, 3, None, 4, "disgust"), r"row 3: Filename is '..'"),
        (("02", "C:E", None, 1, 2, 3, None, 4, "disgust"), r"row 3: Filename is 'C:E'"),
        (("02", "E", None, "x", 2, 3, None, 4, "disgust"), r"row 3: OnsetFrame is 'x'"),
        (("02", "E", None, 1, 2.5, 3, None, 4, "disgust"), r"row 3: ApexFrame is '2.5'"),
        (("02", "E", None, 1, None, 3, None, 4, "disgust"), r"row 3: ApexFrame is ''"),
        (("02", "E", None, 1, 2, -3, None, 4, "disgust"), r"row 3: OffsetFrame is '-3'"),
        (("02", "E", None, 3, 2, 9, None, 4, "disgust"), r"row 3 .*onset <= apex <= offset"),
        (("02", "E", None, 3, 10, 9, None, 4, "disgust"), r"row 3 .*onset <= apex <= offset"),
        (("02", "E", None, 1, 2, 3, None, 4, "disgust"), r"row 3 .*sub02: no such folder"),
        (("01", "E", None, 1, 2, 3, None, 4, "disgust"), r"row 3 .*sub01/E: no such folder"),
        (("01", "A", None, 1, 2, 3, None, 4, "fear"), None),
        (("01", "A", None, 2, 3, 4, None, 4, "disgust"), r"is defined twice, .*row 2 and .*row 3"),
        (("01", "B", None, 1, 3, 5, None, 4, "disgust"), r"row 3 .*B lacks frame 4 of 1…5"),
        (("01", "B", None, 0, 3, 900000000, None, 4, "fear"), None),
        (
            ("01", "B", None, 1, 3, 900000000, None, 4, "disgust"),
            r"lacks frames 4, 6, 7, 8, 9, … \(899999996 in all\)",
        ),
    ],
)
def test_errors_of_single_rows(row, message, trees, tmp_path):
    from data_builders.casme2.casme2_dataset_builder import Builder

    good = trees.casme2_row("01", "A", 1, 2, 3, "disgust")
    trees.casme2_sheet(tmp_path, [good, row])
    frames = tmp_path / "Cropped/sub01"
    for clip, numbers in (("A", (1, 2, 3, 4)), ("B", (1, 2, 3, 5))):
        (frames / clip).mkdir(parents=True)
        for number in numbers:
            (frames / clip / f"reg_img{number}.jpg").touch()
    builder = Builder(manual_dir=tmp_path, face="none", data_dir=str(tmp_path), config="dis")
    if message is None:
        assert len(builder.source.entries) == 1
        return
    with pytest.raises(UserError, match=message):
        _ = builder.source


def test_all_errors_are_reported_together(trees, tmp_path):
    tree = trees.casme2(tmp_path / "raw")
    (tree / "CASME2_RAW_selected/sub01/EP02_01f/img9.jpg").unlink()
    (tree / "CASME2_RAW_selected/sub02/7/img3.jpg").unlink()
    with pytest.raises(UserError, match=r"casme2: 2 errors, so nothing was prepared") as error:
        prepare_raw(tree, tmp_path)
    assert "casme2/sub01/EP02_01f" in str(error.value)
    assert "casme2/sub02/7" in str(error.value)
    assert not list((tmp_path / "data").rglob("*.array_record*"))


def test_two_files_of_one_frame(tree, tmp_path):
    folder = tree / "CASME2_RAW_selected/sub01/EP02_01f"
    (folder / "img010.jpg").write_bytes((folder / "img10.jpg").read_bytes())
    with pytest.raises(UserError, match=r"frame 10 also has the file"):
        prepare_raw(tree, tmp_path)


def test_files_of_other_systems_are_no_frames(tree, tmp_path, read_records):
    folder = tree / "CASME2_RAW_selected/sub01/EP02_01f"
    for name in ("._img9.jpg", ".DS_Store", "Thumbs.db"):
        (folder / name).write_bytes(b"x")
    assert len(read_records(prepare_raw(tree, tmp_path))) == 4


def test_missing_spreadsheet(tree, tmp_path):
    path = tree / "CASME2-coding-20140508.xlsx"
    path.rename(tree / "coding.xls")
    with pytest.raises(
        UserError, match=r"20140508.xlsx does not exist. The folder contains coding.xls"
    ):
        prepare_raw(tree, tmp_path)


def test_a_file_that_is_no_spreadsheet_is_rejected(tree, tmp_path):
    (tree / "CASME2-coding-20140508.xlsx").write_text("Subject,Filename")
    with pytest.raises(UserError, match=r"not an .xlsx spreadsheet"):
        prepare_raw(tree, tmp_path)


def test_missing_columns_are_named(trees, tree, tmp_path):
    header = ("Subject", "Filename", "OnsetFrame", "OffsetFrame")
    trees.write_sheet(tree / "CASME2-coding-20140508.xlsx", [header, (1, "A", 2, 3)])
    with pytest.raises(UserError, match=r"Missing: ApexFrame, Estimated Emotion\.$"):
        prepare_raw(tree, tmp_path)


def test_no_frames_folder(trees, tmp_path):
    trees.casme2_sheet(tmp_path, trees.CASME2_ROWS)
    with pytest.raises(UserError, match=r"Expected CASME2_RAW_selected, CASME2-RAW, Crop"):
        prepare_raw(tmp_path, tmp_path)


def test_no_clip_left(trees, tree, tmp_path):
    trees.casme2_sheet(tree, trees.CASME2_ROWS[4:])
    with pytest.raises(UserError, match=r"has no clips to prepare. Excluded: 5 clips"):
        prepare_raw(tree, tmp_path)
