"""Common properties of the builders of all macro-expression sets."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from atnet_jax.errors import UserError
from atnet_jax.names import MACRO_EXPRESSIONS
from atnet_jax.preprocessing.face import crop_face, locate_face
from atnet_jax.preprocessing.frames import read_image
from data_builders import pictures, synthetic
from data_builders.prepare import prepare

# Pictures that are prepared: two of one sequence where there are sequences, and one of another.
CHOSEN = {
    "ck_plus": [
        "cohn-kanade-images/S005/001/S005_001_00000003.png",
        "cohn-kanade-images/S005/001/S005_001_00000005.png",
        "cohn-kanade-images/S010/006/S010_006_00000004.png",
    ],
    "oulu_casia": [
        "VL/Strong/P001/Anger/002.jpeg",
        "VL/Strong/P001/Anger/004.jpeg",
        "NI/Strong/P002/Sadness/004.jpeg",
    ],
    "jaffe": ["KA.AN1.39.tiff", "KA.HA1.29.tiff", "KL.SU3.166.tiff"],
    "mug": [
        "subjects3/001/anger/take000/img_0002.jpg",
        "subjects3/001/anger/take000/img_0004.jpg",
        "subjects3/002/session1/Surprise/take001/img_0002.jpg",
    ],
    "image_folder": ["happiness/anna/1.png", "happiness/anna/2.jpg", "surprise/3.bmp"],
}


def prepare_set(dataset: str, tree: Path, **options) -> Path:
    options = {"face": "none", "num_workers": 1} | options
    return prepare(dataset, tree, tree.parent / "data", **options)


def published(folder: Path) -> list[str]:
    """All names in a folder but those of what a later run needs."""
    return sorted(
        path.name
        for path in folder.rglob("*")
        if path.name != "partial" and path.parent.name != "partial"
    )


@pytest.fixture(params=MACRO_EXPRESSIONS)
def dataset(request):
    return request.param


@pytest.fixture
def tree(dataset, trees, tmp_path):
    return trees.macro(dataset, tmp_path / "raw")


def test_there_are_no_configurations(dataset, tree, tmp_path, read_records):
    path = prepare_set(dataset, tree)
    assert path == tmp_path / "data" / dataset / "1.0.0"
    records = read_records(path)
    keys = [tuple(record[key] for key in ("subject", "clip", "frame")) for record in records]
    assert keys == sorted(set(keys))
    for record in records:
        assert record["dataset"] == dataset
        assert record["image"].shape == (224, 224, 1)
        assert record["image"].dtype == np.uint8
        np.testing.assert_array_equal(record["crop_box"], [0, 0, 40, 32])


@pytest.mark.parametrize("damage", ["cut", "empty", "text"])
def test_unreadable_pictures_are_all_told_and_nothing_is_published(damage, dataset, tree, tmp_path):
    for name in CHOSEN[dataset]:
        whole = (tree / name).read_bytes()
        content = {"cut": whole[: 2 * len(whole) // 3], "empty": b"", "text": b"a face"}[damage]
        (tree / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{dataset}: 3 errors, so nothing was prepared") as error:
        prepare_set(dataset, tree)
    for name in CHOSEN[dataset]:
        assert f"{tree / name}: " in str(error.value)
    assert published(tmp_path / "data" / dataset) == []


def test_a_missing_folder(dataset, tmp_path):
    message = f"raw does not exist. .* data_builders/{dataset}/README.md"
    with pytest.raises(UserError, match=message):
        prepare_set(dataset, tmp_path / "raw")


def test_an_empty_folder(dataset, tmp_path):
    (tmp_path / "raw").mkdir()
    message = {
        "ck_plus": "raw/Emotion does not exist",
        "oulu_casia": "raw and its subfolders have no folder VL or NI",
        "mug": "raw/subjects3: no such folder",
    }.get(dataset, f"{dataset} has no clips to prepare")
    with pytest.raises(UserError, match=message):
        prepare_set(dataset, tmp_path / "raw")
    assert published(tmp_path / "data") == [dataset]


def test_files_of_other_systems_are_passed_over(dataset, tree, tmp_path, read_records):
    expected = read_records(prepare_set(dataset, tree))
    shutil.rmtree(tmp_path / "data")
    for folder in [tree, *(path for path in tree.rglob("*") if path.is_dir())]:
        for name in (".DS_Store", "._1.png", "Thumbs.db", "desktop.ini"):
            (folder / name).write_bytes(b"x")
        (folder / ".hidden").mkdir()
    (tree / "README.txt").write_text("A_README_FIRST")
    records = read_records(prepare_set(dataset, tree))
    assert len(records) == len(expected)
    for record, other in zip(records, expected, strict=True):
        assert record["clip"] == other["clip"]
        np.testing.assert_array_equal(record["image"], other["image"])


def test_a_link_that_leads_out(dataset, tree, tmp_path):
    path = tree / CHOSEN[dataset][0]
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(
        UserError, match=f"{path} is a link that leads out of {tree}, to .*elsewhere"
    ):
        prepare_set(dataset, tree)
    assert published(tmp_path / "data") == [dataset]


@pytest.mark.parametrize("kind", ["folder", "nowhere", "loop", "directory"])
def test_links_out_of_the_folder_are_rejected(kind, trees, tmp_path):
    tree = trees.macro("ck_plus", tmp_path / "raw")
    path = tree / CHOSEN["ck_plus"][0]
    if kind == "folder":
        top = tree / "cohn-kanade-images"
        top.rename(tmp_path / "elsewhere")
        top.symlink_to(tmp_path / "elsewhere")
    else:
        path.unlink()
        if kind == "directory":
            path.mkdir()
        else:
            path.symlink_to(path if kind == "loop" else tree / "nowhere")
    message = "is a link that leads out" if kind == "folder" else "is not a file"
    with pytest.raises(UserError, match=f"{path} {message}"):
        prepare_set("ck_plus", tree)


def test_links_within_the_folder_and_to_it(dataset, tree, tmp_path, read_records):
    path = tree / CHOSEN[dataset][0]
    path.rename(tree / "moved.txt")
    path.symlink_to(tree / "moved.txt")
    (tmp_path / "link").symlink_to(tree)
    assert read_records(prepare_set(dataset, tmp_path / "link"))


def test_a_second_run_keeps_the_prepared_data(dataset, tree, capsys):
    path = prepare_set(dataset, tree)
    (file,) = path.glob("*.array_record*")
    before = file.stat().st_mtime_ns
    capsys.readouterr()
    assert prepare_set(dataset, tree) == path
    assert f"{path} is already prepared with the same options." in capsys.readouterr().out
    assert file.stat().st_mtime_ns == before
    with pytest.raises(UserError, match="--face was none and is now mtcnn"):
        prepare_set(dataset, tree, face="mtcnn")


def test_another_picture_of_the_same_size_is_refused(dataset, tree):
    prepare_set(dataset, tree)
    path = tree / CHOSEN[dataset][0]
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match="clips in --manual_dir have changed since the preparation"):
        prepare_set(dataset, tree)


@pytest.mark.parametrize("option", [{"flow": "farneback"}, {"circular": True}])
def test_options_of_motion_are_refused(option, dataset, tree, tmp_path):
    message = f"{dataset} is a set of pictures, .* Remove --{next(iter(option))}"
    with pytest.raises(UserError, match=message):
        prepare_set(dataset, tree, **option)
    assert not (tmp_path / "data").exists()


def test_processes_make_no_difference(trees, tmp_path, read_records):
    tree = trees.macro("ck_plus", tmp_path / "raw")
    alone = read_records(prepare_set("ck_plus", tree))
    shutil.rmtree(tmp_path / "data")
    two = read_records(prepare_set("ck_plus", tree, num_workers=2))
    for first, second in zip(alone, two, strict=True):
        assert (first["clip"], first["frame"]) == (second["clip"], second["frame"])
        np.testing.assert_array_equal(first["image"], second["image"])


def test_the_face_is_found_once_at_the_apex(dataset, tree, monkeypatch, read_records, trees):
    """The box of the stand-in detector identifies the picture."""

    def find(image, detector, box, *, notes):
        assert detector == "mtcnn"
        assert box is None
        return (0.0, 0.0, 40.0, 32.0 + image.mean()), None

    monkeypatch.setattr(pictures, "locate_face", find)
    sequences: dict[tuple[str, str], dict[int, Path]] = {}
    for record in read_records(prepare_set(dataset, tree, face="mtcnn")):
        seen = trees.PICTURES[dataset][round((record["crop_box"][3] - 32) / 4) - 1]
        frames = sequences.setdefault((record["subject"], record["clip"]), {})
        frames[record["frame"]] = tree / seen
    for frames in sequences.values():
        assert len(set(frames.values())) == 1
        if len(frames) > 1:
            apex = sorted(frames)[1] if dataset == "mug" else max(frames)
            assert int(frames[apex].stem.split("_")[-1]) == apex


def test_a_box_by_hand_replaces_the_detector(dataset, tree, tmp_path, read_records):
    first = read_records(prepare_set(dataset, tree))[0]
    shutil.rmtree(tmp_path / "data")
    key = (first["subject"], first["clip"])
    boxes = tmp_path / "boxes.csv"
    header = "dataset,subject,clip,x0,y0,x1,y1\n"
    boxes.write_text(header + f"{dataset},{key[0]},{key[1]},1,2,21.5,22\nsmic,s1,x,1,2,3,4\n")
    for record in read_records(prepare_set(dataset, tree, boxes=boxes)):
        by_hand = (record["subject"], record["clip"]) == key
        expected = [1, 2, 21.5, 22] if by_hand else [0, 0, 40, 32]
        np.testing.assert_array_equal(record["crop_box"], expected)
    boxes.write_text(header + f"{dataset},{key[0]},nobody,1,2,21.5,22\n")
    with pytest.raises(UserError, match="--boxes is a different file"):
        prepare_set(dataset, tree, boxes=boxes)
    shutil.rmtree(tmp_path / "data")
    with pytest.raises(UserError, match=f"has boxes for unknown clips: {dataset}/{key[0]}/nobody"):
        prepare_set(dataset, tree, boxes=boxes)


def test_frames_of_several_sizes(trees, tmp_path):
    tree = trees.macro("ck_plus", tmp_path / "raw")
    first, last = (tree / name for name in CHOSEN["ck_plus"][:2])
    cv2.imwrite(str(first), np.zeros((32, 41), np.uint8))
    message = f"{first} has 41x32 pixels, but {last.name} has 40x32"
    with pytest.raises(UserError, match=message):
        prepare_set("ck_plus", tree)


def test_a_real_face(tmp_path, read_records):
    """A painted face that moves: each frame shows it 9 pixels further to the right."""
    generated = tmp_path / "generated"
    synthetic.generate(generated, datasets=("jaffe",), subjects=1, clips=1, num_workers=1)
    painted = read_image(next(path for path in generated.rglob("*.tiff") if ".NE" not in path.name))
    tree = tmp_path / "raw"
    folder = tree / "cohn-kanade-images/S005/001"
    folder.mkdir(parents=True)
    frames = []
    for number in range(1, 5):
        shift = np.array([[1, 0, 9.0 * (number - 2)], [0, 1, 0]])
        frames.append(cv2.warpAffine(painted, shift, (256, 256), borderMode=cv2.BORDER_REPLICATE))
        cv2.imwrite(str(folder / f"S005_001_{number:08d}.png"), frames[-1])
    emotion = tree / "Emotion/S005/001/S005_001_00000004_emotion.txt"
    emotion.parent.mkdir(parents=True)
    emotion.write_text("1")
    records = read_records(prepare_set("ck_plus", tree, face="mtcnn"))
    box, _ = locate_face(frames[3], "mtcnn")
    assert abs(box[0] - locate_face(frames[1], "mtcnn")[0][0]) > 10
    assert [record["frame"] for record in records] == [2, 3, 4]
    for record, frame in zip(records, frames[1:], strict=True):
        np.testing.assert_array_equal(record["crop_box"], np.float32(box))
        np.testing.assert_array_equal(record["image"][:, :, 0], crop_face(frame, box))


def test_a_missing_face_is_reported_with_the_picture(trees, tmp_path):
    tree = trees.macro("jaffe", tmp_path / "raw")
    with pytest.raises(UserError, match="jaffe: 7 errors") as error:
        prepare_set("jaffe", tree, face="mtcnn")
    assert f"{tree / 'KL.SU3.166.tiff'}: jaffe/KL/SU3.166: " in str(error.value)
    assert str(error.value).count("no face was found. Pass its box in a CSV file") == 7


def test_metadata(trees, tmp_path):
    path = prepare_set("ck_plus", trees.macro("ck_plus", tmp_path / "raw"))
    metadata = tfds.builder_from_directory(path).info.metadata
    assert metadata["counts"] == {"ck_plus": {"negative": 6, "positive": 3, "surprise": 3}}
    assert metadata["sequences"] == {"ck_plus": {"negative": 2, "positive": 1, "surprise": 1}}
    assert metadata["subjects"] == {"ck_plus": 3}
    assert set(metadata["options"]) == {"face", "boxes", "source"}
