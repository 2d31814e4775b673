"""Findings in a raw copy."""

import shutil

import cv2
import numpy as np
import pytest

from atnet_jax.published import COMPOSITE, DATABASES
from data_builders.doctor.composite import judge
from data_builders.doctor.findings import KINDS
from data_builders.doctor.raw import check_raw
from tests.data_builders.doctor.conftest import (
    HAPPY,
    TREES,
    found,
    moved,
    remove_frame,
    texts,
    texture,
)


@pytest.mark.parametrize(
    ("dataset", "clips", "subjects"), [("casme2", 4, 2), ("samm", 5, 3), ("smic", 3, 2)]
)
def test_a_healthy_copy_lacks_nothing_but_clips(dataset, clips, subjects, tmp_path):
    tree = getattr(TREES, dataset)(tmp_path)
    checkup = check_raw(tree, dataset, num_workers=1)
    assert found(checkup) == set()
    assert len(checkup.clips) == clips
    assert all(clip.digests["sha256"] for clip in checkup.clips)
    verdicts = judge(checkup, None)
    assert found(checkup) == {("counts", dataset)}
    (text,) = texts(checkup, "counts")
    expected = COMPOSITE[dataset]
    assert text.startswith(f"{expected.clips - clips} clips too few (negative ")
    assert f"{subjects} of {expected.subjects} subjects" in text
    line = verdicts[dataset].line
    assert line.startswith(
        f"{DATABASES[dataset]}: {clips} usable clips, {expected.clips} expected. The clips do not "
    )
    assert not verdicts[dataset].can
    assert verdicts["full"].line == (
        f"The paper's composite: {clips} usable clips, 442 expected. It cannot be reproduced "
        f"because of {DATABASES[dataset]}."
    )
    if dataset == "smic":
        assert text.endswith(
            "subjects without clips: s02, s03, s04, s05, s06, s08, s09, s11, s12, s13, s14, s15, "
            "s18, s19"
        )


def test_exclusions_and_corrections_are_reported(tmp_path):
    checkup = check_raw(TREES.samm(tmp_path), "samm", num_workers=1)
    assert checkup.left_out == [("samm", "35/035_6_1", "emotion Other is not in the composite")]
    note = checkup.notes[-1]
    assert "028_4_1" in note and "apex 1113 corrected to 1103" in note
    assert [clip.apex for clip in checkup.clips if clip.clip == "028_4_1"] == [1103]


def test_cropped_frames_are_examined_on_request(tmp_path):
    tree = TREES.casme2(tmp_path)
    TREES.casme2(tmp_path, frames="Cropped")
    (tree / "Cropped/sub01/EP02_01f/reg_img9.jpg").write_bytes(b"no picture")
    assert found(check_raw(tree, "casme2", num_workers=1)) == set()
    checkup = check_raw(tree, "casme2", "none", num_workers=1)
    assert found(checkup) == {("unreadable", "casme2/sub01/EP02_01f")}


def cut(tree):
    path = tree / HAPPY / "img9.jpg"
    path.write_bytes(path.read_bytes()[:-40])


def resize(tree):
    path = tree / HAPPY / "img9.jpg"
    cv2.imwrite(str(path), texture(1, (82, 64)))


def double(tree):
    shutil.copy(tree / HAPPY / "img9.jpg", tree / HAPPY / "img10.jpg")


def copy_clip(tree):
    # Numbers and names differ, but the pictures are the same.
    for number in range(4, 9):
        other = tree / HAPPY / f"img{number + 3}.jpg"
        shutil.copy(other, tree / f"CASME2_RAW_selected/sub01/EP19_05f/img{number}.jpg")
    rows = [*TREES.CASME2_ROWS]
    rows[2] = TREES.casme2_row(1, "EP19_05f", 5, 7, 8, "disgust")
    TREES.casme2_sheet(tree, rows)


def jump(tree):
    path = str(tree / HAPPY / "img10.jpg")
    cv2.imwrite(path, moved(cv2.imread(path, 0), 5, -2))


def foreign(tree):
    cv2.imwrite(str(tree / HAPPY / "img10.jpg"), texture(77))


@pytest.mark.parametrize(
    ("inflict", "kind", "clip", "text"),
    [
        (cut, "unreadable", "sub01/EP02_01f", f"{HAPPY}/img9.jpg: this JPEG is truncated"),
        (
            resize,
            "frame_size",
            "sub01/EP02_01f",
            "img9.jpg has 82x64 pixels, the first frame has 80x64",
        ),
        (double, "same_frames", "sub01/EP02_01f", "9→10"),
        (
            copy_clip,
            "same_clips",
            "sub01/EP19_05f",
            "its content equals that of casme2/sub01/EP02_01f",
        ),
        (
            jump,
            "jump",
            "sub01/EP02_01f",
            "9→10 are shifted by (+5, -2) pixels, 10→11 are shifted by (-5, +2) pixels",
        ),
        (foreign, "jump", "sub01/EP02_01f", "9→10 show unrelated pictures"),
    ],
)
def test_a_disease_of_frames_is_found(inflict, kind, clip, text, tmp_path):
    tree = TREES.casme2(tmp_path)
    inflict(tree)
    checkup = check_raw(tree, "casme2", num_workers=1)
    assert found(checkup) == {(kind, f"casme2/{clip}")}
    assert text in texts(checkup, kind)[0]
    # A clip that cannot be used is not counted, one to be looked at is.
    usable = judge(checkup, None)["casme2"].usable
    assert usable == (3 if KINDS[kind].level == "error" else 4)


def write_smic(folder, pictures):
    path = folder / "SMIC_all_raw/HS/s01/micro/negative/s01_ne_01"
    path.mkdir(parents=True)
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(path / f"image{number:06d}.bmp"), picture)
    return folder


@pytest.mark.parametrize("alternates", [True, False])
def test_frames_that_alternate(alternates, tmp_path):
    picture = texture(3, (320, 240))
    step = 0.4 if alternates else 0.0
    noise = np.random.default_rng(0).normal(0, 1, (12, 240, 320))
    frames = [
        np.clip(np.rint(moved(picture, step * (n % 2), 0.02 * n) + noise[n]), 0, 255)
        for n in range(12)
    ]
    checkup = check_raw(write_smic(tmp_path, frames), "smic", num_workers=1)
    expected = {("alternating", "smic/s01/s01_ne_01")} if alternates else set()
    assert found(checkup) == expected


def test_an_unreadable_frame_does_not_join_its_neighbours(tmp_path):
    tree = write_smic(tmp_path, [moved(texture(3), 9 * (n > 5), 0) for n in range(12)])
    (tree / "SMIC_all_raw/HS/s01/micro/negative/s01_ne_01/image000006.bmp").write_bytes(b"")
    checkup = check_raw(tree, "smic", num_workers=1)
    # Frames 0…5 and 7…11 are alike; what happened at 6 is unknown.
    assert found(checkup) == {
        ("unreadable", "smic/s01/s01_ne_01"),
        ("same_frames", "smic/s01/s01_ne_01"),
    }
    assert checkup.clips[0].frames == 12
    assert texts(checkup, "same_frames") == ["0→1, 1→2, 2→3, … (9 in all)"]


def remove_folder(tree):
    shutil.rmtree(tree / HAPPY)


def rows_with(number, row):
    def inflict(tree):
        rows = [*TREES.CASME2_ROWS]
        rows[number : number + 1] = [row]
        TREES.casme2_sheet(tree, rows)

    return inflict


def name_twice(tree):
    TREES.casme2_sheet(tree, [*TREES.CASME2_ROWS, TREES.CASME2_ROWS[1]])


@pytest.mark.parametrize(
    ("inflict", "clips", "text"),
    [
        (remove_frame, 3, "casme2/sub01/EP02_01f): CASME2_RAW_selected/sub01/EP02_01f lacks"),
        (remove_folder, 3, "CASME2_RAW_selected/sub01/EP02_01f: no such folder"),
        (
            rows_with(1, TREES.casme2_row("01", "EP02_01f", 8, 12, 11, "happiness")),
            3,
            "casme2/sub01/EP02_01f): expected onset <= apex <= offset, found onset 8, apex 12",
        ),
        (
            rows_with(1, TREES.casme2_row("01", "EP02_01f", 8, 10, 11, "joy")),
            3,
            "row 3: Unknown emotion 'joy'",
        ),
        (name_twice, 4, "casme2/sub01/EP02_01f is defined twice"),
        (lambda tree: (tree / "CASME2-coding-20140508.xlsx").unlink(), 0, "xlsx does not exist"),
        (lambda tree: shutil.rmtree(tree / "CASME2_RAW_selected"), 0, "no folder of frames"),
    ],
)
def test_rejected_clips_are_findings_and_the_others_are_examined(inflict, clips, text, tmp_path):
    tree = TREES.casme2(tmp_path)
    # A second one in another clip, which must be found all the same.
    path = tree / "CASME2_RAW_selected/sub02/EP01_11f/img48.jpg"
    path.write_bytes(path.read_bytes()[:-40])
    inflict(tree)
    checkup = check_raw(tree, "casme2", num_workers=1)
    (message,) = texts(checkup, "refused")
    assert text in message
    assert str(tmp_path) + "/CASME2_RAW" not in message
    assert len(checkup.clips) == clips
    if clips:
        assert ("unreadable", "casme2/sub02/EP01_11f") in found(checkup)
    assert judge(checkup, None)["casme2"].line.endswith(
        "1 error in the database; 1 clip with errors." if clips == 3 else
        "1 error in the database; 2 clips with errors." if clips else "1 error in the database."
    )  # fmt: skip


def test_all_rejected_clips_are_reported(tmp_path):
    tree = TREES.casme2(tmp_path)
    remove_frame(tree)
    shutil.rmtree(tree / "CASME2_RAW_selected/sub02/7")
    messages = texts(check_raw(tree, "casme2", num_workers=1), "refused")
    assert len(messages) == 2
    assert "lacks frame 9 of 8…11" in messages[0]
    assert "sub02/7: no such folder" in messages[1]


def test_an_apex_on_the_onset(tmp_path):
    tree = TREES.samm(tmp_path)
    rows = [*TREES.SAMM_ROWS]
    rows[0] = TREES.samm_row("006", "006_1_2", 5562, 5562, 5564, "Anger")
    TREES.samm_sheet(tree, rows)
    checkup = check_raw(tree, "samm", num_workers=1)
    assert found(checkup) == {("apex", "samm/6/006_1_2")}
    assert texts(checkup, "apex") == ["onset and apex are both frame 5562"]


def test_processes_make_no_difference(tmp_path):
    tree = TREES.casme2(tmp_path)
    jump(tree)
    assert check_raw(tree, "casme2", num_workers=2) == check_raw(tree, "casme2", num_workers=1)


def test_frames_of_another_clip_are_found(tmp_path):
    row = TREES.casme2_row
    rows = [row("01", "EP02_01f", 1, 5, 9, "happiness"), row("02", "EP03_01f", 1, 5, 9, "disgust")]
    rows += [row("01", "EP04_01f", 3, 5, 11, "happiness")]
    TREES.casme2_sheet(tmp_path, rows)
    top = tmp_path / "CASME2_RAW_selected"
    for seed, clip in enumerate(("sub01/EP02_01f", "sub02/EP03_01f", "sub01/EP04_01f")):
        TREES.write_frames(top / clip, [f"img{n}.jpg" for n in range(1, 12)], seed)
    for number in range(6, 9):
        shutil.copy(top / f"sub01/EP02_01f/img{number}.jpg", top / "sub02/EP03_01f")
        shutil.copy(top / f"sub01/EP02_01f/img{number}.jpg", top / "sub01/EP04_01f")
    checkup = check_raw(tmp_path, "casme2", num_workers=1)
    assert texts(checkup, "shared_frames") == [
        "3 of its 9 frames are frames of casme2/sub01/EP02_01f, such as frame 6, there frame 6"
    ]
    assert {("shared_frames", "casme2/sub02/EP03_01f"), ("overlap", "casme2/sub01/EP04_01f")} < (
        found(checkup)
    )


def test_a_manifest_is_checked_before_it_is_prepared(tmp_path):
    TREES.write_frames(tmp_path / "f", ["1.png", "2.png", "3.png"])
    np.save(tmp_path / "good.npy", np.ones((28, 28, 3), np.float32))
    np.save(tmp_path / "bad.npy", np.ones((28, 28), np.float32))
    write_video(tmp_path / "v.avi")
    (tmp_path / "manifest.csv").write_text(
        "dataset,subject,clip,label,frames,video,onset,apex,offset,flow_map\n"
        "casme2,sub01,EP02_01f,0,f,,1,2,3,\nmine,a,v,1,,v.avi,0,1,2,\nmine,a,w,1,,v.avi,0,1,9,\n"
        "mine,a,good,2,,,,,,good.npy\nmine,a,bad,2,,,,,,bad.npy\ncasme2,sub99,x,0,,,,,,good.npy\n"
    )
    checkup = check_raw(tmp_path, "manifest", num_workers=1)
    assert found(checkup) == {
        ("unreadable", "mine/a/w"),
        ("unreadable", "mine/a/bad"),
        ("same_clips", "mine/a/good"),
        ("same_person", "manifest"),
    }
    assert checkup.databases == ("casme2",)
    assert {clip.key: clip.frames for clip in checkup.clips}["mine/a/v"] == 3
    verdicts = judge(checkup, None)
    assert ("foreign", "casme2/sub99/x") in found(checkup)
    assert verdicts["casme2"].usable == 1


def write_video(path):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for number in range(3):
        writer.write(np.dstack([moved(texture(0, (64, 48)), 0.3 * number, 0)] * 3))
    writer.release()
