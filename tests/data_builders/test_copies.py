"""Copies of the databases as they are delivered, and as people unpack, store and name them."""

import importlib
import io
import os
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from atnet_jax.errors import UserError
from atnet_jax.names import DEFAULT_FLOW
from atnet_jax.preprocessing.face import Face, Landmarks
from atnet_jax.system.kept import KeptRecords
from data_builders.jobs import keep, recall
from data_builders.prepare import prepare
from data_builders.sheet import read_sheets
from data_builders.source import Source, SourceError
from tests.data_builders.conftest import CASME2_HEADER, Trees
from tests.data_builders.damage import move

TREES = Trees()
RAW = "CASME2_RAW_selected"
SHEET = "CASME2-coding-20140508.xlsx"
NEW_SHEET = "CASME2-coding-20190701.xlsx"
RELABELLED = ("EP07_01", "EP07_04f", "EP10_03")


def read(dataset: str, manual_dir: Path, face: str = "mtcnn", **more) -> Source:
    """Return the clips that `prepare` would read."""
    module = importlib.import_module(f"data_builders.{dataset}.{dataset}_dataset_builder")
    builder = module.Builder(
        data_dir=os.devnull, config=DEFAULT_FLOW, manual_dir=manual_dir, face=face, **more
    )
    return builder.source


def names(source: Source) -> list[str]:
    return [f"{entry.clip.subject}/{entry.clip.clip}" for entry in source.entries]


CLIPS = {
    "casme2": ["sub01/EP02_01f", "sub01/EP19_05f", "sub02/7", "sub02/EP01_11f"],
    "samm": ["28/028_4_1", "28/028_4_3", "35/035_5_2", "6/006_1_2", "6/006_1_3"],
    "smic": ["s01/s01_ne_01", "s01/s01_sur_01", "s20/s20_po_01"],
}


def nested(folder: str) -> Callable[[Path], None]:
    """Put the content of a folder into a folder of the same name inside it."""

    def damage(tree: Path) -> None:
        path = tree / folder
        path.rename(tree / "moving")
        path.mkdir()
        (tree / "moving").rename(path / path.name)

    return damage


def one_down(name: str) -> Callable[[Path], None]:
    def damage(tree: Path) -> None:
        tree.rename(tree.with_name("moving"))
        tree.mkdir()
        tree.with_name("moving").rename(tree / name)

    return damage


def beside_others(tree: Path) -> None:
    """The folder of three databases, where the folder of one is meant."""
    name = next(name for name in CLIPS if name in tree.name)
    one_down(name)(tree)
    for other in CLIPS.keys() - {name}:
        getattr(TREES, other)(tree / other)


def shallow(tree: Path) -> None:
    for path in list((tree / "CASME2_RAW_selected").iterdir()):
        path.rename(tree / path.name)
    (tree / "CASME2_RAW_selected").rmdir()


def system_folders(tree: Path) -> None:
    for folder in [tree, *(path for path in tree.rglob("*") if path.is_dir())]:
        for name in ("@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information"):
            (folder / name).mkdir()
        (folder / "lost+found").mkdir()


def second_copies(tree: Path) -> None:
    folder = tree / RAW / "sub02/7"
    for name in ("img2 (1).jpg", "img2 - Copy.jpg", "img2 - Copy (2).jpg", "img2 copy.jpg"):
        shutil.copy(folder / "img2.jpg", folder / name)


def other_case(tree: Path) -> None:
    hs = tree / "SMIC_all_raw/HS"
    move("s01", "S01")(hs)
    move("micro", "Micro")(hs / "S01")
    move("negative", "Negative")(hs / "S01/Micro")
    move("s01_ne_01", "S01_Ne_01")(hs / "S01/Micro/Negative")


def other_cameras(tree: Path) -> None:
    for name in ("VIS", "NIR"):
        (tree / f"SMIC_all_raw/{name}/s01/micro/negative/s01_ne_01").mkdir(parents=True)


@pytest.mark.parametrize(
    ("dataset", "change"),
    [
        ("casme2", nested("CASME2_RAW_selected")),
        ("casme2", nested("CASME2_RAW_selected/sub01")),
        ("casme2", nested("CASME2_RAW_selected/sub01/EP02_01f")),
        ("casme2", one_down("CASME II")),
        ("casme2", beside_others),
        ("casme2", shallow),
        ("casme2", system_folders),
        ("casme2", move(f"{RAW}/sub01", f"{RAW}/SUB01")),
        ("casme2", move(f"{RAW}/sub02/EP01_11f", f"{RAW}/sub02/ep01_11F")),
        ("casme2", move(f"{RAW}/sub02/7", f"{RAW}/sub02/0007")),
        ("casme2", second_copies),
        ("samm", one_down("SAMM")),
        ("samm", beside_others),
        ("samm", system_folders),
        ("smic", move("SMIC_all_raw/HS", "HS")),
        ("smic", nested("SMIC_all_raw")),
        ("smic", beside_others),
        ("smic", system_folders),
        ("smic", other_case),
        ("smic", other_cameras),
    ],
)
def test_copies_that_lie_elsewhere_are_read(dataset, change, tmp_path):
    tree = getattr(TREES, dataset)(tmp_path / f"copy_{dataset}")
    change(tree)
    assert names(read(dataset, tree)) == CLIPS[dataset]


def test_samm_in_a_folder_of_its_name_twice(tmp_path):
    tree = TREES.samm(tmp_path / "raw", subfolder="SAMM/SAMM")
    found = read("samm", tree)
    assert names(found) == CLIPS["samm"]
    assert found.notes[0] == "frames: SAMM/SAMM (raw)"


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("raw/CASME2_RAW_selected", "is a folder inside the copy of the database"),
        ("nothing", "does not exist. The file is delivered with the database"),
        ("twice", "contains more than one copy or part of a copy: one and two. Keep one"),
    ],
)
def test_one_message_names_the_cause_of_a_wrong_folder(folder, message, tmp_path):
    TREES.casme2(tmp_path / "raw")
    (tmp_path / "nothing").mkdir()
    for name in ("one", "two"):
        TREES.casme2_sheet(tmp_path / "twice" / name, TREES.CASME2_ROWS)
    with pytest.raises(UserError, match=message):
        read("casme2", tmp_path / folder)


def test_an_archive_that_is_not_unpacked_is_named(tmp_path):
    TREES.casme2_sheet(tmp_path, TREES.CASME2_ROWS)
    (tmp_path / "CASME2_RAW_selected.zip").touch()
    with pytest.raises(UserError, match=r"Unpack the archive CASME2_RAW_selected.zip first"):
        read("casme2", tmp_path)


def test_a_missing_subject_is_one_error(tmp_path):
    tree = TREES.casme2(tmp_path / "raw")
    shutil.rmtree(tree / "CASME2_RAW_selected/sub02")
    with pytest.raises(SourceError, match=r"casme2: 1 error, .*\n.*sub02: no such folder"):
        read("casme2", tree)


def test_raw_and_cropped_frames_of_unknown_folders_are_told_apart_by_name(tmp_path):
    tree = TREES.casme2(tmp_path / "raw", frames="Cropped")
    (tree / "Cropped").rename(tree / "faces")
    assert read("casme2", tree, "none").notes[-1] == "frames: faces (cropped)"


def new_release(tree: Path, name: str = NEW_SHEET) -> None:
    """Replace the sheet by that of 2019, with a tenth column."""
    (tree / SHEET).unlink()
    rows = [*TREES.CASME2_ROWS]
    rows += [TREES.casme2_row("24", clip, 1, 2, 3, "surprise") for clip in RELABELLED]
    TREES.write_sheet(
        tree / name, [(*CASME2_HEADER, "Objective Class"), *((*row, 3) for row in rows)]
    )


@pytest.mark.parametrize("name", [NEW_SHEET, SHEET])
def test_the_release_of_2019_without_the_clips_that_it_labels_differently(name, tmp_path):
    tree = TREES.casme2(tmp_path / "raw", frames="Cropped-updated/Cropped")
    new_release(tree, name)
    found = read("casme2", tree, "none")
    assert names(found) == CLIPS["casme2"]
    excluded = {row.clip: row.reason for row in found.exclusions if row.subject == "sub24"}
    reason = "surprise in the 2019 release; the composite follows the 2014 release: sadness"
    assert excluded == dict.fromkeys(RELABELLED, reason)
    assert found.notes[0].startswith(
        f"annotation: {name}, the release of 2019, in which sub24/EP07_01, sub24/EP07_04f, "
        f"sub24/EP10_03 are surprise"
    )
    assert found.notes[1] == "frames: Cropped-updated/Cropped (cropped)"


def test_the_sheet_of_2014_is_preferred(tmp_path):
    tree = TREES.casme2(tmp_path / "raw")
    shutil.copy(tree / SHEET, tree / NEW_SHEET)
    assert read("casme2", tree).notes[0] == f"annotation: {SHEET} ({NEW_SHEET} is not read)"


def rewrite(path: Path, change: Callable[[str, bytes], bytes]) -> None:
    """Change the parts of a zip archive."""
    changed = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    path.write_bytes(changed.getvalue())


def no_fill(name: str, part: bytes) -> bytes:
    return re.sub(rb"<fills.*?</fills>", b"<fills><fill/></fills>", part)


def test_styles_are_not_needed_to_read_cells(tmp_path):
    tree = TREES.casme2(tmp_path / "raw")
    rewrite(tree / SHEET, no_fill)
    assert names(read("casme2", tree)) == CLIPS["casme2"]


def cut(name: str, part: bytes) -> bytes:
    return part[: len(part) // 2] if name.startswith("xl/worksheets") else part


def spoil(path: Path) -> None:
    """Overwrite compressed data of the sheet, so that it cannot be decompressed."""
    start = zipfile.ZipFile(path).getinfo("xl/worksheets/sheet1.xml").header_offset + 60
    data = bytearray(path.read_bytes())
    data[start : start + 20] = bytes(20)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: rewrite(path, cut), "is damaged .ParseError"),
        (spoil, "is damaged .error: Error -3"),
        (lambda path: path.write_bytes(path.read_bytes()[:2000]), "is damaged .BadZipFile"),
        (lambda path: path.write_bytes(b"\xd0\xcf\x11\xe0" + bytes(99)), "protected by a password"),
        (
            lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"),
            "only a pointer of Git LFS",
        ),
    ],
)
def test_a_damaged_sheet_is_one_sentence(damage, message, tmp_path):
    path = TREES.casme2_sheet(tmp_path, TREES.CASME2_ROWS)
    damage(path)
    with pytest.raises(UserError, match=message):
        read_sheets(path)


def test_frames_of_another_name_are_named_with_an_example(tmp_path):
    tree = TREES.casme2(tmp_path / "raw")
    folder = tree / "CASME2_RAW_selected/sub01/EP02_01f"
    for path in list(folder.iterdir()):
        path.rename(folder / f"picture ({path.stem[3:]}).jpg")
    with pytest.raises(UserError, match=r"picture \(10\).jpg: not named like .* img46.jpg"):
        read("casme2", tree)


@pytest.mark.parametrize("name", ["s01/s01_sur_01", "S1/S1_sur_01"])
def test_leave_out_a_clip_whose_frames_are_lost(name, tmp_path):
    tree = TREES.smic(tmp_path / "raw")
    lost = tree / "SMIC_all_raw/HS/s01/micro/surprise/s01_sur_01"
    for path in lost.iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"s01_sur_01 has no frames.*\n.*--leave_out=SUBJECT/CLIP"):
        read("smic", tree)
    found = read("smic", tree, leave_out=[name])
    assert names(found) == ["s01/s01_ne_01", "s20/s20_po_01"]
    assert [(row.clip, row.reason) for row in found.exclusions] == [
        ("s01_sur_01", "left out by --leave_out")
    ]


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        ("casme2", "sub01/EP02_01f"),
        ("samm", "6/006_1_2"),
        ("ck_plus", "S005/001"),
        ("mug", "001/anger_take000"),
        ("oulu_casia", "P001/VL_Strong_Anger"),
        ("jaffe", "KA/AN1.39"),
        ("image_folder", "anna/anger_1"),
    ],
)
def test_every_builder_leaves_out(dataset, name, tmp_path):
    tree = tmp_path / "raw"
    macro = dataset in Trees.PICTURES
    TREES.macro(dataset, tree) if macro else getattr(TREES, dataset)(tree)
    module = importlib.import_module(f"data_builders.{dataset}.{dataset}_dataset_builder")
    options = {} if macro else {"config": DEFAULT_FLOW}
    builders = [
        module.Builder(data_dir=os.devnull, manual_dir=tree, leave_out=leave_out, **options)
        for leave_out in ([], [name])
    ]
    everything, rest = (set(names(builder.source)) for builder in builders)
    assert everything - rest == {name}
    with pytest.raises(UserError, match="--leave_out names the clip 'x/y', which"):
        _ = module.Builder(
            data_dir=os.devnull, manual_dir=tree, leave_out=["x/y"], **options
        ).source


def test_scenes_are_no_face_crops(tmp_path, monkeypatch):
    tree = TREES.smic(tmp_path / "raw")
    face = type("Face", (), {"box": (10.0, 10.0, 40.0, 40.0)})
    monkeypatch.setattr("data_builders.builder.find_faces", lambda image: [face])
    with pytest.raises(UserError, match="smic/s01/s01_ne_01 takes only 30 of 80x64"):
        read("smic", tree, "none")
    read("smic", tree, "mtcnn")
    face.box = (10.0, 10.0, 60.0, 60.0)
    read("smic", tree, "none")


def test_names_and_pictures_of_one_person_under_two_subjects(tmp_path):
    for name in ("1.png", "2.png"):
        cv2.imwrite(str(tmp_path / name), np.full((28, 28, 3), int(name[0]), np.uint8))
    shutil.copy(tmp_path / "1.png", tmp_path / "3.png")
    (tmp_path / "manifest.csv").write_text(
        "dataset,subject,clip,label,flow_map\n"
        "mine,anna,x,0,1.png\nmine,Anna,x,1,2.png\nmine,bert,x,2,3.png\n"
    )
    first, second = read("manifest", tmp_path).warnings
    assert first.startswith("mine: the subjects 'Anna' and 'anna' differ only in case")
    assert second.startswith("mine/anna/x and mine/bert/x have the same picture, but different")


@pytest.mark.parametrize(
    "name",
    ["img ({}).png", "img{:04d}_crop.png", "{:04d}_img.png", "take 1 ({}).png", "img{}.png"],
)
def test_frames_with_names_that_users_chose(name, tmp_path):
    files = [name.format(number) for number in range(3)]
    TREES.write_frames(tmp_path / "a/b", files)
    shutil.copy(tmp_path / "a/b" / files[1], tmp_path / "a/b" / files[1].replace(".", " (2)."))
    (tmp_path / "manifest.csv").write_text(
        "dataset,subject,clip,label,frames,onset,apex,offset\nmine,a,c,1,a\\b,0,1.0,2\n"
    )
    (entry,) = read("manifest", tmp_path).entries
    assert [path.name for path in entry.clip.frames.values()] == files


def test_boxes_are_of_the_clips_that_their_names_mean(tmp_path):
    tree = TREES.samm(tmp_path / "raw")
    (tmp_path / "boxes.csv").write_text(
        "dataset;subject;clip;x0;y0;x1;y1\nSAMM;006;006_1_2;1;2;30;40\ncasme2;x;y;1;2;3;4\n"
    )
    module = importlib.import_module("data_builders.samm.samm_dataset_builder")
    builder = module.Builder(
        data_dir=os.devnull,
        config=DEFAULT_FLOW,
        manual_dir=tree,
        boxes=tmp_path / "boxes.csv",
    )
    boxes = {job.entry.clip.key: job.box for job in builder.jobs.values() if job.box}
    assert boxes == {"samm/6/006_1_2": (1.0, 2.0, 30.0, 40.0)}


def test_notes_of_a_clip_are_kept_with_its_records(tmp_path):
    kept = KeptRecords(tmp_path / "partial")
    for key in ("mine/a/b", "smic/a/b"):  # Before and after the notes in alphabetical order.
        keep(kept, "name", [(key, {"label": 1})], [f"{key}: 2 faces"])
        assert recall(kept, "name") == ([(key, {"label": 1})], [f"{key}: 2 faces"])


def test_several_faces_are_noted_in_the_summary(tmp_path, monkeypatch, capsys):
    (tmp_path / "raw").mkdir()
    cv2.imwrite(str(tmp_path / "raw/1.png"), np.zeros((64, 80), np.uint8))
    (tmp_path / "raw/manifest.csv").write_text(
        "dataset,subject,clip,label,apex_image\nmine,a,b,1,1.png\n"
    )
    points = Landmarks(*[(20.0, 20.0)] * 5)
    faces = [Face((5.0, 5.0, 45.0, 45.0), points, 1.0)] * 2
    monkeypatch.setattr("atnet_jax.preprocessing.face.find_faces", lambda image: faces)
    prepare("manifest", tmp_path / "raw", tmp_path / "data", num_workers=1)
    assert "mine/a/b: 2 faces were found and the largest is used" in capsys.readouterr().out


def test_the_summary_compares_only_subjects_of_the_database(tmp_path, capsys):
    np.save(tmp_path / "1.npy", np.ones((28, 28, 3), np.float32))
    np.save(tmp_path / "2.npy", np.zeros((28, 28, 3), np.float32))
    (tmp_path / "manifest.csv").write_text(
        "dataset,subject,clip,label,flow_map\n"
        "casme2,sub99,x,0,1.npy\ncasme2,sub01,EP02_01f,1,2.npy\n"
    )
    prepare("manifest", tmp_path, tmp_path / "data", num_workers=1)
    output = capsys.readouterr().out
    assert "1 clip of subjects that CASME II does not have, such as casme2/sub99/x" in output
    assert "1 of 145 clips (negative 0 of 88, positive 1 of 32, surprise 0 of 25)" in output
