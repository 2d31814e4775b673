import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from atnet_jax.data import record as clip_record
from atnet_jax.errors import UserError
from atnet_jax.names import CLASSES
from atnet_jax.published import COMPOSITE, DATABASES, ClipCounts
from data_builders.doctor import composite, digests, motion, report
from data_builders.doctor.composite import judge, read_list
from data_builders.doctor.diagnose import diagnose
from data_builders.doctor.findings import KINDS, CheckedClip, Checkup
from data_builders.doctor.prepared import check_prepared
from data_builders.doctor.raw import check_raw
from data_builders.doctor.records import Examined, adm_alternation, examine
from data_builders.prepare import prepare
from tests.data_builders.conftest import Trees

REPOSITORY = Path(__file__).resolve().parents[3]
TREES = Trees()
HAPPY = "CASME2_RAW_selected/sub01/EP02_01f"  # Frames 8…11, apex 10; 7 and 12 lie beside.


def found(checkup):
    """Findings as kind and clip, without the numbers that a small copy cannot have."""
    return {(finding.kind, finding.clip) for finding in checkup.findings}


def texts(checkup, kind):
    return [finding.found for finding in checkup.findings if finding.kind == kind]


def texture(seed, size=(80, 64)):
    noise = np.random.default_rng(seed).integers(0, 256, (12, 15), np.uint8)
    return cv2.resize(noise, size, interpolation=cv2.INTER_CUBIC)


def moved(picture, x, y):
    matrix = np.array([[1, 0, x], [0, 1, y]], float)
    return cv2.warpAffine(picture, matrix, picture.shape[::-1], borderMode=cv2.BORDER_REFLECT)


# --- Raw copies ----------------------------------------------------------------------------------


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
    assert text.startswith(f"{expected.clips - clips} clips short (negative ")
    assert f"{subjects} of {expected.subjects} subjects" in text
    line = verdicts[dataset].line
    assert line.startswith(f"{DATABASES[dataset]}: {clips} of {expected.clips} clips: cannot: ")
    assert not verdicts[dataset].can
    assert verdicts["full"].line.startswith(f"The paper's 442: cannot: {clips} of 442 clips; see ")
    if dataset == "smic":
        assert text.endswith(
            "no clip of s02, s03, s04, s05, s06, s08, s09, s11, s12, s13, s14, s15, s18, s19"
        )


def test_what_is_left_out_and_corrected_is_told(tmp_path):
    checkup = check_raw(TREES.samm(tmp_path), "samm", num_workers=1)
    assert checkup.left_out == [("samm", "35/035_6_1", "emotion Other is not in the composite")]
    (note,) = checkup.notes
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
    # Other numbers, other names: what is to be seen is the same.
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
        (cut, "unreadable", "sub01/EP02_01f", f"{HAPPY}/img9.jpg: this JPEG is cut short"),
        (resize, "frame_size", "sub01/EP02_01f", "img9.jpg is 82x64, the first 80x64"),
        (double, "same_frames", "sub01/EP02_01f", "9→10"),
        (copy_clip, "same_clips", "sub01/EP19_05f", "same content as casme2/sub01/EP02_01f"),
        (jump, "jump", "sub01/EP02_01f", "9→10 by (+5, -2) pixels, 10→11 by (-5, +2) pixels"),
        (foreign, "jump", "sub01/EP02_01f", "9→10 do not match at all"),
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


def remove_frame(tree):
    (tree / HAPPY / "img9.jpg").unlink()


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
        (remove_frame, 3, "casme2/sub01/EP02_01f): CASME2_RAW_selected/sub01/EP02_01f: missing"),
        (remove_folder, 3, "CASME2_RAW_selected/sub01/EP02_01f: no such folder"),
        (
            rows_with(1, TREES.casme2_row("01", "EP02_01f", 8, 12, 11, "happiness")),
            3,
            "casme2/sub01/EP02_01f): expected onset <= apex <= offset, found onset 8, apex 12",
        ),
        (
            rows_with(1, TREES.casme2_row("01", "EP02_01f", 8, 10, 11, "joy")),
            3,
            "row 3: unknown emotion 'joy'",
        ),
        (name_twice, 4, "casme2/sub01/EP02_01f: given twice"),
        (lambda tree: (tree / "CASME2-coding-20140508.xlsx").unlink(), 0, "no such file"),
        (lambda tree: shutil.rmtree(tree / "CASME2_RAW_selected"), 0, "no folder of frames"),
    ],
)
def test_what_the_builder_refuses_is_a_finding_and_the_rest_is_examined(
    inflict, clips, text, tmp_path
):
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
        "1 error of the database; 1 with errors" if clips == 3 else
        "1 error of the database; 2 with errors" if clips else "1 error of the database"
    )  # fmt: skip


def test_all_that_is_refused_is_told(tmp_path):
    tree = TREES.casme2(tmp_path)
    remove_frame(tree)
    shutil.rmtree(tree / "CASME2_RAW_selected/sub02/7")
    messages = texts(check_raw(tree, "casme2", num_workers=1), "refused")
    assert len(messages) == 2
    assert "missing frame 9 of 8…11" in messages[0]
    assert "sub02/7: no such folder" in messages[1]


def test_an_apex_on_the_onset(tmp_path):
    tree = TREES.samm(tmp_path)
    rows = [*TREES.SAMM_ROWS]
    rows[0] = TREES.samm_row("006", "006_1_2", 5562, 5562, 5564, "Anger")
    TREES.samm_sheet(tree, rows)
    checkup = check_raw(tree, "samm", num_workers=1)
    assert found(checkup) == {("apex", "samm/6/006_1_2")}
    assert texts(checkup, "apex") == ["apex and onset are both frame 5562"]


def test_processes_make_no_difference(tmp_path):
    tree = TREES.casme2(tmp_path)
    jump(tree)
    assert check_raw(tree, "casme2", num_workers=2) == check_raw(tree, "casme2", num_workers=1)


# --- Motion --------------------------------------------------------------------------------------


def test_shift_and_block_motion_are_those_of_the_picture():
    picture = texture(5, (640, 480))
    first = motion.reduce(picture)
    x, y, response = motion.shift(first, motion.reduce(moved(picture, 12, -7)))
    np.testing.assert_allclose((x, y), (12 / 640, -7 / 480), atol=0.005)
    assert response > 0.5
    assert abs(motion.shift(first, first)[0]) < 1e-3
    blocks = motion.block_motion(first, motion.reduce(moved(picture, 0.3, -0.1))).reshape(2, -1)
    # 640 pixels are 320 in the reduced frame, 480 are 256.
    np.testing.assert_allclose(blocks.mean(axis=1), (0.15, -0.1 * 256 / 480), atol=0.02)


def test_the_released_smic_clips_alternate_and_no_others(real_data):
    with np.load(real_data / "adm_released.npz") as released:
        lags = {name: adm_alternation(released[name].astype(np.float32)) for name in released}
    assert len(lags) == 10
    smic = [value for name, value in lags.items() if name.startswith("smic")]
    assert len(smic) == 3
    assert all(value is not None and value[0] < -0.75 and value[1] > 0.75 for value in smic)
    assert all(value is None for name, value in lags.items() if not name.startswith("smic"))


# --- Records of prepared data --------------------------------------------------------------------


def png(picture):
    return cv2.imencode(".png", picture)[1].tobytes()


HAS = ("apex", "adm", "flow_map", "frames", "flow", "colour", "landmarks")


def record(clip="EP02_01f", *, subject="sub01", seed=0, **changes):
    """A healthy record of onset 117, apex 120, offset 126: ADM rows 29…37."""
    rng = np.random.default_rng(seed)
    adm = np.zeros((64, 128), np.float32)
    adm[29:38] = rng.uniform(0.02, 0.2, (9, 128))
    window = [moved(texture(seed, (224, 224)), 0.3 * n, 0) for n in range(10)]
    values = {
        "apex": png(texture(seed, (224, 224))),
        "adm": adm,
        "flow_map": rng.normal(size=(28, 28, 3)).astype(np.float32),
        "frames": png(np.vstack(window)),
        "flow": rng.normal(size=(224, 224, 2)).astype(np.float32),
        "colour": png(np.dstack([texture(seed, (224, 7 * 224))] * 3)),
        "landmarks": np.full((5, 2), 112, np.float32),
        "dataset": "casme2",
        "subject": subject,
        "clip": clip,
        "emotion": "happiness",
        "label": 1,
        "onset": 117,
        "apex_frame": 120,
        "offset": 126,
        "frame_rate": 200.0,
        "crop_box": np.array([10, 20, 110, 120], np.float32),
    }
    values |= {f"has_{name}": True for name in HAS}
    return values | changes


def healthy_adm():
    return record()["adm"]


def adm_with(rows, value):
    adm = healthy_adm()
    adm[rows] = value
    return adm


def alternating_adm():
    adm = healthy_adm()
    adm[29:38, ::2] = np.where(np.arange(9)[:, None] % 2, 0.2, 0.2 - np.pi)
    return adm


def window_with(change):
    window = np.stack([moved(texture(0, (224, 224)), 0.3 * n, 0) for n in range(10)])
    change(window)
    return png(window.reshape(-1, 224))


def repeat_frame(window):
    window[6] = window[5]


def shift_frame(window):
    window[6:] = [moved(frame, 12, 0) for frame in window[6:]]


def test_a_healthy_record():
    examined = examine(record())
    assert isinstance(examined, Examined)
    assert examined.found == []
    assert sorted(examined.clip.digests) == ["adm_sha256", "apex_sha256", "flow_map_sha256"]
    assert (examined.clip.onset, examined.clip.apex, examined.clip.offset) == (117, 120, 126)


def test_a_record_of_given_inputs_without_numbers_or_frames():
    unknown = dict.fromkeys(("onset", "apex_frame", "offset"), -1)
    absent = {"has_frames": False, "has_apex": False, "has_flow_map": False, "apex": b""}
    given = record(**unknown, **absent, crop_box=np.zeros(4, np.float32))
    for name in ("frames", "flow", "colour", "landmarks"):  # As in data of an older version.
        del given[name], given[f"has_{name}"]
    examined = examine(given)
    assert isinstance(examined, Examined)
    assert examined.found == []
    assert examined.clip.onset is None
    assert list(examined.clip.digests) == ["adm_sha256"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"label": 3}, ("label", "label 3, expected 0, 1 or 2")),
        ({"label": -1}, ("label", "label -1, expected 0, 1 or 2")),
        ({"apex_frame": 117}, ("apex", "onset 117, apex 117, offset 126")),
        ({"apex_frame": 127}, ("apex", "onset 117, apex 127, offset 126")),
        ({"flow": np.full((224, 224, 2), np.inf, np.float32)}, ("not_finite", "flow")),
        ({"colour": b""}, ("unreadable", "the pictures in colour cannot be decoded")),
        ({"colour": png(texture(0, (224, 224)))},
         ("unreadable", "the shape of the pictures in colour is (224, 224)")),
        ({"apex": b"no picture"}, ("unreadable", "the apex picture cannot be decoded")),
        ({"apex": b""}, ("unreadable", "the apex picture cannot be decoded")),
        (
            {"apex": png(np.ones((9, 9), np.uint8))},
            ("unreadable", "the shape of the apex picture is (9, 9)"),
        ),
        ({"frames": b"x"}, ("unreadable", "the frames cannot be decoded")),
        ({"adm": np.zeros((64, 128), np.float32)}, ("zero_flow", "ADM")),
        ({"flow_map": np.zeros((28, 28, 3), np.float32)}, ("zero_flow", "flow map")),
        ({"flow_map": np.full((28, 28, 3), np.inf, np.float32)}, ("not_finite", "flow map")),
        ({"adm": adm_with((30, 3), np.nan)}, ("not_finite", "ADM")),
        ({"crop_box": np.array([0, np.nan, 1, 1], np.float32)}, ("not_finite", "crop box")),
        ({"adm": adm_with([29, 33], 0)}, ("still_rows", "rows 29, 33 of 29…37")),
        # The flow of two equal frames, as Farnebäck's method has it.
        ({"adm": adm_with([37], 2e-5)}, ("still_rows", "rows 37 of 29…37")),
        (
            {"adm": adm_with([28, 38, 43, 60], 0.1)},
            ("outside_rows", "rows 28, 38, 43, … (4 in all) are filled, none of 29…37"),
        ),
        ({"adm": np.ones((64, 9), np.float32)}, ("unreadable", "the shape of the ADM is (64, 9)")),
        ({"frames": window_with(repeat_frame)}, ("same_frames", "122→123")),
        ({"frames": window_with(shift_frame)}, ("jump", "122→123 by (+12, +0) pixels")),
    ],
)  # fmt: skip
def test_a_disease_of_a_record(changes, expected):
    examined = examine(record(**changes))
    assert isinstance(examined, Examined)
    assert examined.found == [expected]


def test_an_adm_that_flips_its_sign():
    examined = examine(record(adm=alternating_adm()))
    assert isinstance(examined, Examined)
    assert [kind for kind, _ in examined.found] == ["alternating"]


def test_frames_tell_of_alternation_where_there_is_no_adm():
    def alternate(window):
        window[::2] = [moved(frame, 1, 0) for frame in window[::2]]

    frames = window_with(alternate)
    told = examine(record(frames=frames, has_adm=False))
    assert isinstance(told, Examined)
    assert [kind for kind, _ in told.found] == ["alternating"]
    # Its ADM knows better.
    assert examine(record(frames=frames)).found == []


# --- Prepared sets -------------------------------------------------------------------------------


def write_set(data_dir, name, records, *, without=(), **features):
    """A prepared set as TFDS writes it, with other features where some are named."""
    features = {**clip_record.features(), **features}
    features = {name: feature for name, feature in features.items() if name not in without}

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.2.0")
        BUILDER_CONFIGS: ClassVar = [tfds.core.BuilderConfig(name="farneback")]

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(features),
                disable_shuffling=True,
                metadata=tfds.core.MetadataDict(
                    notes=["a note"],
                    excluded=[{"subject": "s", "clip": "c", "reason": "no apex is annotated"}],
                ),
            )

        def _split_generators(self, dl_manager):
            del dl_manager
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for number, record in enumerate(records):
                yield number, {name: value for name, value in record.items() if name in features}

    Builder.name = name
    tfds.disable_progress_bar()
    Builder(data_dir=str(data_dir)).download_and_prepare(file_format="array_record")
    return data_dir / name / "farneback/1.2.0"


def test_a_sick_prepared_set(tmp_path):
    far = np.array([200, 20, 300, 120], np.float32)
    records = [
        record("a", seed=1),
        record("b", seed=2, label=7),
        record("c", seed=3, apex=b"no picture"),
        record("d", seed=4, crop_box=far),
        record("a", seed=5),  # The key of the first.
        record("e", seed=2),  # The content of the second.
        record("f", seed=6, subject="sub02", crop_box=far),  # Alone, so nothing to compare with.
        record("g", seed=7, adm=alternating_adm()),
    ]
    write_set(tmp_path, "casme2", records, label=tfds.features.Scalar(np.int64))
    checkup = check_prepared(tmp_path, "casme2", "farneback", num_workers=1)
    assert found(checkup) == {
        ("duplicate_key", "casme2/sub01/a"),
        ("label", "casme2/sub01/b"),
        ("unreadable", "casme2/sub01/c"),
        ("crop_box", "casme2/sub01/d"),
        ("same_clips", "casme2/sub01/e"),
        ("alternating", "casme2/sub01/g"),
    }
    assert texts(checkup, "crop_box") == [
        "box 200, 20, 300, 120; the subject's usual one is 10, 20, 110, 120"
    ]
    assert texts(checkup, "same_clips") == ["the same content as casme2/sub01/b"]
    assert len(checkup.clips) == 7
    assert checkup.notes == ["casme2: a note"]
    assert checkup.left_out == [("casme2", "s/c", "no apex is annotated")]
    # d, f and g are only to be looked at.
    assert judge(checkup, None)["casme2"].usable == 3


def test_records_without_a_feature(tmp_path):
    write_set(tmp_path, "samm", [record()], without=("adm", "has_adm"))
    checkup = check_prepared(tmp_path, "samm", "farneback", num_workers=1)
    assert found(checkup) == {("unreadable", "samm")}
    assert texts(checkup, "unreadable") == ["its records have no adm, has_adm"]
    assert not judge(checkup, None)["samm"].can


def test_a_damaged_set_is_a_finding(tmp_path):
    folder = write_set(tmp_path, "casme2", [record("a"), record("b", seed=1)])
    (data,) = folder.glob("*.array_record*")
    whole = data.read_bytes()
    data.write_bytes(whole[: len(whole) // 2])
    checkup = check_prepared(tmp_path, "casme2", "farneback", num_workers=1)
    assert {kind for kind, _ in found(checkup)} == {"unreadable"}
    assert not judge(checkup, None)["casme2"].can
    data.write_bytes(whole)
    assert found(check_prepared(tmp_path, "casme2", "farneback", num_workers=1)) == set()
    (folder / "dataset_info.json").write_text("{")
    checkup = check_prepared(tmp_path, "casme2", "farneback", num_workers=1)
    assert found(checkup) == {("unreadable", "casme2")}
    assert texts(checkup, "unreadable")[0].startswith("the set cannot be opened: ")


def test_prepared_data_from_beginning_to_end(tmp_path, capsys):
    """What prepare makes of a healthy copy is healthy."""
    prepare("smic", TREES.smic(tmp_path / "raw"), tmp_path / "data", face="none", num_workers=1)
    capsys.readouterr()
    assert not diagnose(data_dir=tmp_path / "data", out=tmp_path / "out", num_workers=1)
    printed = capsys.readouterr().out
    written = json.loads((tmp_path / "out/doctor.json").read_text())
    assert {(row["kind"], row["clip"]) for row in written["findings"]} == {
        *(("counts", name) for name in DATABASES),
        *(("not_prepared", name) for name in ("casme2", "samm")),
    }
    assert printed.splitlines()[-4:] == [
        "CASME II: 0 of 145 clips: cannot: 145 clips short (negative 0 of 88, positive 0 of 32, "
        "surprise 0 of 25); 0 of 24 subjects; 1 error of the database",
        "SAMM: 0 of 133 clips: cannot: 133 clips short (negative 0 of 92, positive 0 of 26, "
        "surprise 0 of 15); 0 of 28 subjects; 1 error of the database",
        "SMIC: 3 of 164 clips: cannot: 161 clips short (negative 1 of 70, positive 1 of 51, "
        "surprise 1 of 43); 2 of 16 subjects",
        "The paper's 442: cannot: 3 of 442 clips; see CASME II, SAMM, SMIC",
    ]
    assert "atnet prepare --dataset=casme2 --flow=spatiotemporal" in printed.replace("\n    ", " ")
    only = check_prepared(tmp_path / "data", "smic", "spatiotemporal", num_workers=1)
    assert only.databases == ("smic",)
    assert found(only) == set()
    with (tmp_path / "out/digests.csv").open() as file:
        assert len(file.readlines()) == 4
    # Circular means lie elsewhere.
    circular = check_prepared(tmp_path / "data", "smic", "spatiotemporal_circular", num_workers=1)
    assert found(circular) == {("not_prepared", "smic")}


def test_a_manifest_stands_in_for_a_database(tmp_path):
    write_set(tmp_path, "manifest", [record("a"), record("x", seed=1, dataset="mine")])
    checkup = check_prepared(tmp_path, None, "farneback", num_workers=1)
    assert found(checkup) == {("not_prepared", "samm"), ("not_prepared", "smic")}
    text = report.to_text(checkup, judge(checkup, None))
    assert "mine, no part of the paper's composite: 1 clips of 1 subjects" in text
    alone = check_prepared(tmp_path, "manifest", "farneback", num_workers=1)
    assert alone.databases == ("casme2",)


# --- The composite -------------------------------------------------------------------------------


def clip(key, label, apex=5):
    dataset, subject, name = key.split("/")
    return CheckedClip(dataset, subject, name, label, 1, apex, 9, 9, {"sha256": digit(key)})


def digit(key):
    """A digest of its own for every key."""
    return f"{sum(map(ord, key)):064x}"


def whole_composite():
    """442 clips in the paper's numbers, under names of their own."""
    clips = []
    for database, expected in COMPOSITE.items():
        if database == "full":
            continue
        labels = [label for label, name in enumerate(CLASSES) for _ in range(expected[2 + label])]
        subjects = (
            sorted(composite._SMIC_SUBJECTS)
            if database == "smic"
            else [f"p{number}" for number in range(expected.subjects)]
        )
        clips += [
            clip(f"{database}/{subjects[index % len(subjects)]}/c{index}", label)
            for index, label in enumerate(labels)
        ]
    return Checkup(tuple(DATABASES), clips)


def lines(verdicts):
    return [verdict.line for verdict in verdicts.values()]


def test_the_whole_composite_by_numbers():
    checkup = whole_composite()
    checkup.add("jump", checkup.clips[0].key, "a warning does not count")
    verdicts = judge(checkup, None)
    assert [finding.kind for finding in checkup.findings] == ["jump"]
    assert lines(verdicts) == [
        "CASME II: 145 of 145 clips: yes, by numbers (no list of names was given)",
        "SAMM: 133 of 133 clips: yes, by numbers (no list of names was given)",
        "SMIC: 164 of 164 clips: yes, by numbers (no list of names was given)",
        "The paper's 442: yes, by numbers",
    ]
    assert all(verdict.can for verdict in verdicts.values())


def test_clips_that_are_short_too_many_or_of_other_classes():
    checkup = whole_composite()
    positive = [clip for clip in checkup.clips if clip.dataset == "casme2" and clip.label == 1]
    for lost in positive[:2]:
        checkup.clips.remove(lost)
    checkup.clips.append(clip("samm/p1/more", 2))
    changed = next(clip for clip in checkup.clips if clip.dataset == "smic" and clip.label == 0)
    checkup.clips[checkup.clips.index(changed)] = dataclasses.replace(changed, label=2)
    verdicts = judge(checkup, None)
    assert lines(verdicts) == [
        "CASME II: 143 of 145 clips: cannot: 2 clips short (positive 30 of 32)",
        "SAMM: 134 of 133 clips: cannot: 1 clip too many (surprise 16 of 15)",
        "SMIC: 164 of 164 clips: cannot: clips of other classes (negative 69 of 70, "
        "surprise 44 of 43)",
        "The paper's 442: cannot: 441 of 442 clips; see CASME II, SAMM, SMIC",
    ]
    assert [finding.kind for finding in checkup.findings] == ["counts"] * 3


def test_a_subject_that_is_absent():
    checkup = whole_composite()
    checkup.clips = [
        dataclasses.replace(clip, subject="s01") if clip.subject == "s20" else clip
        for clip in checkup.clips
    ]
    verdicts = judge(checkup, None)
    assert verdicts["smic"].line == "SMIC: 164 of 164 clips: cannot: 15 of 16 subjects"
    assert texts(checkup, "counts") == ["15 of 16 subjects; no clip of s20"]


def test_a_clip_with_errors_does_not_count():
    checkup = whole_composite()
    checkup.add("zero_flow", checkup.clips[0].key, "ADM")
    assert judge(checkup, None)["casme2"].line == (
        "CASME II: 144 of 145 clips: cannot: 1 clip short (negative 87 of 88); 1 with errors"
    )


def test_a_database_that_was_not_looked_at():
    checkup = whole_composite()
    checkup.databases = ("samm",)
    checkup.clips = [clip for clip in checkup.clips if clip.dataset == "samm"]
    verdicts = judge(checkup, None)
    assert lines(verdicts)[2:] == [
        "SMIC: not checked",
        "The paper's 442: 133 clips are here; CASME II, SMIC not checked",
    ]
    assert (verdicts["samm"].can, verdicts["smic"].can, verdicts["full"].can) == (True, None, None)


def write_list(path, rows, header="dataset,subject,clip,label,apex_frame_file"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_a_small_list_tells_what_differs_by_name(tmp_path):
    listed = read_list(
        write_list(
            tmp_path / "list.csv",
            [
                "casme2,sub01,a,1,img59.jpg",
                "casme2,sub01,b,0,img7.jpg",
                "casme2,sub02,c,2,",
                "casme2,sub02,d,0,reg_img0012.jpg",
                "samm,28,028_4_1,0,028_1103.jpg",
            ],
        )
    )
    clips = [clip("casme2/sub01/a", 1, 59), clip("casme2/sub01/b", 2, 7)]
    clips += [clip("casme2/sub02/d", 0, 13), clip("casme2/sub02/e", 0)]
    checkup = Checkup(("casme2",), clips)
    verdicts = judge(checkup, listed)
    told = {(finding.kind, finding.clip, finding.found) for finding in checkup.findings}
    assert {row for row in told if row[0] != "counts"} == {
        ("other_label", "casme2/sub01/b", "label 2, listed as 0"),
        ("missing", "casme2/sub02/c", "listed as surprise"),
        ("other_apex", "casme2/sub02/d", "apex 13, listed as 12"),
        ("extra", "casme2/sub02/e", "not listed"),
    }
    assert verdicts["casme2"].line.endswith(
        "; by the list 1 missing, 1 extra, 1 with another label"
    )


def test_a_list_of_other_clips(tmp_path):
    listed = read_list(write_list(tmp_path / "list.csv", ["CASME2,sub01,a,1,img59.jpg"]))
    checkup = Checkup(("casme2",), [clip("casme2/sub01/a", 1)])
    judge(checkup, listed)
    assert ("other_list", "list") in found(checkup)
    assert texts(checkup, "other_list") == ["names no clip of casme2"]


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        ("dataset,subject,clip", "a,b,c", "no column label; expected dataset,subject,clip,label"),
        ("dataset,subject,clip,label", "a,b,c,3", "row 2: label is '3', expected 0, 1, 2"),
        ("dataset,subject,clip,label", "a,b,,1", "row 2: clip is empty"),
        ("dataset,subject,clip,label", "a,b,c,1\na,b,c,1", "row 3: a/b/c is listed twice"),
        ("dataset,subject,clip,label,apex_frame_file", "a,b,c,1,apex", "is 'apex', expected a fra"),
        ("dataset,subject,clip,label", "", "the list has no clips"),
    ],
)
def test_a_list_that_cannot_be_used(header, row, message, tmp_path):
    with pytest.raises(UserError, match=message):
        read_list(write_list(tmp_path / "list.csv", [row], header))
    with pytest.raises(UserError, match="cannot read the list"):
        read_list(tmp_path / "nowhere.csv")


def test_the_real_list(real_data):
    listed = read_list(real_data / "composite442.csv")
    clips = [clip(row.key, row.label, row.apex) for row in listed]
    checkup = Checkup(tuple(DATABASES), clips)
    verdicts = judge(checkup, listed)
    assert checkup.findings == []
    assert lines(verdicts) == [
        "CASME II: 145 of 145 clips: yes",
        "SAMM: 133 of 133 clips: yes",
        "SMIC: 164 of 164 clips: yes",
        "The paper's 442: yes",
    ]
    # Known slip of SAMM's sheet: the copy can give the 442, but says what is another apex.
    (slip,) = [clip for clip in clips if clip.clip == "028_4_1"]
    assert slip.apex == 1103
    clips[clips.index(slip)] = dataclasses.replace(slip, apex=1113)
    # The same numbers under another name: only the list can tell.
    renamed = next(clip for clip in clips if clip.dataset == "smic" and clip.label == 1)
    clips[clips.index(renamed)] = dataclasses.replace(renamed, clip="s00_po_99")
    checkup = Checkup(tuple(DATABASES), clips)
    verdicts = judge(checkup, listed)
    assert found(checkup) == {
        ("other_apex", "samm/28/028_4_1"),
        ("missing", renamed.key),
        ("extra", f"smic/{renamed.subject}/s00_po_99"),
    }
    assert [verdicts[name].can for name in (*DATABASES, "full")] == [True, True, False, False]
    assert verdicts["smic"].line == (
        "SMIC: 164 of 164 clips: cannot: by the list 1 missing, 1 extra"
    )


# --- Digests -------------------------------------------------------------------------------------


def test_digests_are_compared(tmp_path):
    clips = [clip(f"casme2/sub01/{name}", 1) for name in ("a", "b", "c", "d", "=1+1", "'@x")]
    path = tmp_path / "other.csv"
    samm = clip("samm/6/z", 0)
    path.write_text(digests.to_csv([*clips, samm]))
    # No cell begins as a formula does.
    cells = [cell for line in path.read_text().splitlines() for cell in line.split(",")]
    assert "'=1+1" in cells and "''@x" in cells
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells)
    other = digests.read(path, raw=True)
    same = Checkup(("casme2",), list(clips))
    digests.compare(same, other)
    assert same.findings == []
    here = [
        dataclasses.replace(clips[0], digests={"sha256": "f" * 64}),
        dataclasses.replace(clips[1], label=2, apex=6),
        dataclasses.replace(clips[2], digests={}),
        *clips[4:],
        clip("casme2/sub01/e", 0),
    ]
    checkup = Checkup(("casme2",), here)
    digests.compare(checkup, other)
    assert {(finding.kind, finding.clip, finding.found) for finding in checkup.findings} == {
        ("differs", clips[0].key, "sha256 ffffffff here, 00000000 there"),
        ("differs", clips[1].key, "label 2 here, 1 there; apex 6 here, 5 there"),
        ("differs", clips[2].key, "sha256 unknown here, 00000000 there"),
        ("only_there", "casme2/sub01/d", "not in this copy"),
        ("only_here", "casme2/sub01/e", "not in the other copy"),
    }
    with pytest.raises(UserError, match="no digests of prepared data in it"):
        digests.read(path, raw=False)


HEADER = ",".join(digests.COLUMNS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not the doctor's digests"),
        (
            "dataset,subject,clip,label\n",
            "not the doctor's digests; expected dataset,subject,clip,",
        ),
        (f"{HEADER}\na,b,c,1\n", "row 2: 4 cells, expected 12"),
        (f"{HEADER}\na,b,c,1,,,,,xyz,,,\n", "row 2: sha256 is 'xyz', no SHA-256"),
        (f"{HEADER}\n" + 2 * f"a,b,c,1,,,,,{64 * '0'},,,\n", "row 3: a/b/c is there twice"),
        (f"{HEADER}\n", "no digests of raw frames in it"),
    ],
)
def test_digests_that_cannot_be_used(text, message, tmp_path):
    path = tmp_path / "digests.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        digests.read(path, raw=True)


def test_digests_tell_copies_apart(tmp_path):
    tree = TREES.casme2(tmp_path / "one")
    first = check_raw(tree, "casme2", num_workers=1)
    copied = shutil.copytree(tree, tmp_path / "two")
    assert check_raw(copied, "casme2", num_workers=1).clips == first.clips
    # The picture is the same, its file is not; frames beside onset…offset do not count.
    path = copied / HAPPY / "img9.jpg"
    path.write_bytes(path.read_bytes() + b" ")
    (copied / HAPPY / "img12.jpg").write_bytes(b"")
    second = check_raw(copied, "casme2", num_workers=1)
    assert [
        clip.key for clip, other in zip(second.clips, first.clips, strict=True) if clip != other
    ] == ["casme2/sub01/EP02_01f"]


# --- What is printed and written -----------------------------------------------------------------


def small_composite(monkeypatch):
    """Makes the three clips of the small copy of SMIC all that the composite has of it."""
    expected = {**COMPOSITE, "smic": ClipCounts(3, 2, 1, 1, 1)}
    monkeypatch.setattr(composite, "COMPOSITE", expected)
    monkeypatch.setattr(composite, "_SMIC_SUBJECTS", {"s01", "s20"})


def test_warnings_alone_are_no_failure(tmp_path, monkeypatch, capsys):
    small_composite(monkeypatch)
    tree = TREES.smic(tmp_path / "raw")
    assert diagnose(manual_dir=tree, dataset="smic", num_workers=1)
    assert "Errors: 0. Warnings: 0." in capsys.readouterr().out
    frames = tree / "SMIC_all_raw/HS/s01/micro/negative/s01_ne_01"
    shutil.copy(frames / "image000100.bmp", frames / "image000101.bmp")
    assert diagnose(manual_dir=tree, dataset="smic", num_workers=1)
    printed = capsys.readouterr().out
    assert "WARNING: identical frames in a row: 1\n  - smic/s01/s01_ne_01: 100→101\n" in printed
    assert "ERROR" not in printed
    assert "Errors: 0. Warnings: 1." in printed
    (frames / "image000100.bmp").write_bytes(b"")
    assert not diagnose(manual_dir=tree, dataset="smic", num_workers=1)
    assert "ERROR: clips that cannot be read in whole: 1\n" in capsys.readouterr().out


def test_many_findings_are_named_in_part_and_written_in_whole(tmp_path, capsys):
    tree = tmp_path / "raw"
    for number in range(1, 9):
        frames = [f"image{n:03d}.bmp" for n in range(3)]
        clip = tree / f"SMIC_all_raw/HS/s01/micro/negative/s01_ne_{number:02d}"
        TREES.write_frames(clip, frames, seed=number)
        (clip / frames[1]).write_bytes(b"BM")
    out = tmp_path / "out"
    assert not diagnose(manual_dir=tree, dataset="smic", out=out, num_workers=1)
    printed = capsys.readouterr().out
    assert "ERROR: clips that cannot be read in whole: 8" in printed
    assert "s01_ne_05" in printed and "smic/s01/s01_ne_06" not in printed
    assert "… and 3 more, all of them in doctor.json (--out=FOLDER)" in printed
    *text, casme2, _, smic, full = printed.splitlines()
    assert all(len(line) <= 100 for line in text)
    assert (casme2, smic[:31]) == ("CASME II: not checked", "SMIC: 0 of 164 clips: cannot: 1")
    assert full == "The paper's 442: cannot: 0 of 442 clips; see SMIC"
    written = json.loads((out / "doctor.json").read_text())
    kinds = Counter((row["level"], row["kind"]) for row in written["findings"])
    assert kinds == {("error", "unreadable"): 8, ("error", "counts"): 1}
    assert written["databases"]["smic"]["subjects"] == {
        "s01": {"negative": 8, "positive": 0, "surprise": 0}
    }
    assert written["verdicts"]["full"]["can"] is False
    rows = digests.read(out / "digests.csv", raw=True)
    assert len(rows) == 8
    assert rows["smic/s01/s01_ne_01"]["frames"] == "3"


def test_names_cannot_steer_the_terminal():
    checkup = Checkup((), [CheckedClip("my\x1b[2J", "s", "c", 0, None, None, None, None, {})])
    checkup.add("jump", "my\x1b[2J/s/c", "\x1b]0;title\x07")
    text = report.to_text(checkup, judge(checkup, None))
    assert all(line.isprintable() for line in text.splitlines())


def test_the_doctor_overwrites_nothing(tmp_path, capsys):
    tree, out = TREES.smic(tmp_path / "raw"), tmp_path / "out"
    out.mkdir()
    diagnose(manual_dir=tree, dataset="smic", out=out, num_workers=1)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    (tmp_path / "file").touch()
    capsys.readouterr()
    for taken in (out, tmp_path / "file"):
        with pytest.raises(UserError, match=r"exists already\. Choose a new --out"):
            diagnose(manual_dir=tree, dataset="smic", out=taken, num_workers=1)
    assert capsys.readouterr().out == ""  # Told before any work.
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give either --data_dir"),
        ({"data_dir": Path(), "manual_dir": Path()}, "give either --data_dir"),
        ({"manual_dir": Path()}, "--manual_dir needs --dataset, one of casme2, samm, smic"),
        ({"manual_dir": Path(), "dataset": "manifest"}, "--manual_dir needs --dataset, one of"),
        ({"data_dir": Path("nowhere")}, "nowhere: no such folder"),
        ({"data_dir": Path(), "num_workers": 0}, "num_workers is 0, expected at least 1"),
        ({"data_dir": Path(), "compare": Path("nowhere.csv")}, "nowhere.csv: cannot read the dig"),
        ({"data_dir": Path(), "composite_list": Path("nowhere.csv")}, "cannot read the list"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(UserError, match=message):
        diagnose(**options)


# --- The command line ----------------------------------------------------------------------------


def command(*options):
    return [sys.executable, "-m", "atnet_jax", "doctor", *map(str, options)]


def run_command(*options):
    return subprocess.run(
        command(*options), capture_output=True, text=True, cwd=REPOSITORY, check=False
    )


def test_a_copy_is_compared_with_another(tmp_path, capsys):
    tree = TREES.casme2(tmp_path / "raw")
    here = {"manual_dir": tree, "dataset": "casme2", "num_workers": 1}
    diagnose(**here, out=tmp_path / "one")
    remove_frame(tree)
    capsys.readouterr()
    diagnose(**here, compare=tmp_path / "one/digests.csv")
    printed = capsys.readouterr().out
    assert "clips that only the other copy has: 1\n  - casme2/sub01/EP02_01f" in printed


def test_command_line(tmp_path):
    tree = TREES.casme2(tmp_path / "raw")
    rows = ["casme2,sub01,EP02_01f,1,img10.jpg", "casme2,sub01,lost,2,img1.jpg"]
    listed = write_list(tmp_path / "list.csv", rows)
    options = ("--dataset=casme2", f"--composite={listed}", "--num_workers=2")
    run = run_command(f"--manual_dir={tree}", *options, f"--out={tmp_path / 'out'}")
    assert (run.returncode, run.stderr) == (1, "")
    assert "ERROR: clips of the composite that are missing: 1\n  - casme2/sub01/lost" in run.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "digests.csv",
        "doctor.json",
    ]
    # Clips of one's own, of which the paper's composite asks nothing.
    write_set(tmp_path, "manifest", [record("a", dataset="mine", adm=alternating_adm())])
    run = run_command(f"--data_dir={tmp_path}", "--dataset=manifest", "--flow=farneback")
    assert (run.returncode, run.stderr) == (0, "")
    assert "Errors: 0. Warnings: 1." in run.stdout
    run = run_command(f"--data_dir={tmp_path}", f"--manual_dir={tmp_path}")
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == (
        "Error: give either --data_dir (prepared data) or --manual_dir (a raw copy)\n"
    )


def _children(process):
    return [int(p) for p in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def _ignores_interrupts(process):
    status = Path(f"/proc/{process}/status").read_text().split()
    return bool(int(status[status.index("SigIgn:") + 1], 16) & 1 << signal.SIGINT - 1)


@pytest.mark.skipif(
    not Path(f"/proc/self/task/{os.getpid()}/children").exists(),
    reason="processes are watched through Linux's /proc",
)
def test_an_interrupt_ends_it_cleanly(heeds_interrupts, tmp_path):
    top = tmp_path / "raw/SMIC_all_raw/HS/s01/micro/negative"
    TREES.write_frames(top / "s01_ne_01", [f"image{number:03d}.bmp" for number in range(60)])
    for number in range(2, 60):
        shutil.copytree(top / "s01_ne_01", top / f"s01_ne_{number:02d}", copy_function=os.link)
    run = subprocess.Popen(
        command(
            f"--manual_dir={tmp_path / 'raw'}",
            "--dataset=smic",
            "--num_workers=2",
            f"--out={tmp_path / 'out'}",
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        start_new_session=True,
    )
    end = time.monotonic() + 30
    # Two workers at work, and the process in which Python keeps account of shared resources.
    while sum(map(_ignores_interrupts, _children(run.pid))) < 3:
        assert time.monotonic() < end and run.poll() is None
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGINT)  # Ctrl-C in a terminal reaches all of them.
    output, errors = run.communicate(timeout=30)
    assert (run.returncode, output) == (130, "")
    assert errors == "Interrupted.\n"
    assert not (tmp_path / "out").exists()
