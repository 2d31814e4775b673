import subprocess
import sys

import cv2
import numpy as np
import openpyxl
import pytest

from atnet_jax.errors import UserError
from data_builders.synthetic import clip_specs, generate
from data_builders.synthetic.generate import DATABASES
from data_builders.synthetic.scene import Scene

SEED = 3


def test_every_clip_has_its_frames_and_no_others(tree):
    folder, specs = tree
    expected = {
        folder / spec.dataset / DATABASES[spec.dataset].frame_path(spec, frame)
        for spec in specs
        for frame in spec.frames
    }
    assert {path for path in folder.rglob("*.*") if path.suffix in (".jpg", ".bmp")} == expected


@pytest.mark.parametrize(
    ("dataset", "pattern", "shape"),
    [
        ("casme2", "CASME2_RAW_selected/sub01/EP*/img*.jpg", (480, 640, 3)),
        ("samm", "006/006_*_1/006_*.jpg", (650, 960)),
        ("smic", "SMIC_all_raw/HS/s01/micro/negative/s01_ne_01/image*.bmp", (480, 640)),
    ],
)
def test_layout_and_frame_size(tree, dataset, pattern, shape):
    paths = sorted((tree[0] / dataset).glob(pattern))
    assert len(paths) > 10
    assert cv2.imread(str(paths[0]), cv2.IMREAD_UNCHANGED).shape == shape


def test_smic_folder_holds_onset_to_offset_with_the_apex_in_the_middle(tree):
    for spec in (spec for spec in tree[1] if spec.dataset == "smic"):
        assert (spec.first, spec.last) == (spec.onset, spec.offset)
        length = spec.last - spec.first + 1
        assert abs(spec.apex - spec.first - (length - 1) // 2) <= 0.06 * length + 1


def test_other_databases_hold_frames_around_the_clip(tree):
    for spec in (spec for spec in tree[1] if spec.dataset != "smic"):
        assert spec.first < spec.onset < spec.apex < spec.offset < spec.last


def test_samm_numbers_are_padded_to_five_or_four_digits():
    specs = clip_specs("samm", 10, 4, SEED)
    samm = DATABASES["samm"]
    digits = {len(samm.frame_path(spec, 417).stem.split("_")[1]) for spec in specs}
    assert digits == {4, 5}


def cells(path):
    sheet = openpyxl.load_workbook(path).worksheets[0]
    return [[cell.value for cell in row] for row in sheet.iter_rows()]


@pytest.mark.parametrize(
    ("fixture", "datasets", "subjects"),
    [("tree", ["smic"], 2), ("macro_tree", ["oulu_casia", "jaffe"], 1)],
)
def test_same_seed_gives_the_same_pixels_with_other_workers(
    fixture, datasets, subjects, request, tmp_path
):
    folder, listed = request.getfixturevalue(fixture)
    again = tmp_path / "again"
    specs = generate(again, datasets=datasets, subjects=subjects, clips=1, seed=SEED, num_workers=1)
    assert specs == [spec for spec in listed if spec in specs]
    files = [path.relative_to(again) for name in datasets for path in (again / name).rglob("*.*")]
    assert len(files) > 15
    for file in files:
        assert (again / file).read_bytes() == (folder / file).read_bytes()


@pytest.mark.parametrize(
    ("dataset", "sheet"),
    [("casme2", "CASME2-coding-20140508.xlsx"), ("samm", "SAMM_Micro_FACS_Codes_v2.xlsx")],
)
def test_same_seed_gives_the_same_sheet(tree, tmp_path, dataset, sheet):
    DATABASES[dataset].write_annotation(tmp_path, clip_specs(dataset, 2, 1, SEED))
    assert cells(tmp_path / sheet) == cells(tree[0] / dataset / sheet)


@pytest.mark.parametrize("dataset", DATABASES)
def test_clips_do_not_depend_on_how_many_are_asked_for(dataset):
    few = clip_specs(dataset, 2, 2, SEED)
    many = clip_specs(dataset, 5, 5, SEED)
    assert set(few) <= set(many)
    assert not set(few) & set(clip_specs(dataset, 2, 2, SEED + 1))


def test_a_frame_does_not_depend_on_its_neighbours(tree):
    spec = next(spec for spec in clip_specs("smic", 3, 4, SEED) if spec.clip == "s02_po_01")
    written = tree[0] / "smic" / DATABASES["smic"].frame_path(spec, spec.apex)
    stored = cv2.imread(str(written), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(Scene(spec).frame(spec.apex), stored)
    assert (Scene(spec).frame(spec.apex + 2) != stored).any()


@pytest.mark.parametrize(
    ("dataset", "subjects", "clips", "shares"),
    [
        ("casme2", 10, 10, (88, 32, 25)),
        ("samm", 10, 10, (92, 26, 15)),
        ("smic", 10, 10, (70, 51, 43)),
        ("ck_plus", 4, 10, (175, 69, 83)),
        ("oulu_casia", 4, 6, (4, 1, 1)),
        ("jaffe", 4, 18, (124, 31, 30)),
        ("mug", 4, 18, (4, 1, 1)),
    ],
)
def test_classes_are_as_imbalanced_as_the_real_ones(dataset, subjects, clips, shares):
    specs = clip_specs(dataset, subjects, clips, SEED)
    counts = np.bincount([spec.label for spec in specs if spec.label is not None])
    np.testing.assert_allclose(counts / counts.sum(), np.array(shares) / sum(shares), atol=0.05)


@pytest.mark.parametrize("dataset", ["casme2", "samm", "smic"])
@pytest.mark.parametrize(("subjects", "clips"), [(1, 3), (2, 2), (3, 1)])
def test_few_clips_cover_all_classes(dataset, subjects, clips):
    labels = {spec.label for spec in clip_specs(dataset, subjects, clips, SEED)}
    assert {0, 1, 2} <= labels


@pytest.mark.parametrize(
    ("dataset", "shortest", "longest", "mean"),
    [("casme2", 24, 140, 68), ("samm", 30, 101, 74), ("smic", 11, 58, 34)],
)
def test_clip_lengths(dataset, shortest, longest, mean):
    lengths = [
        spec.offset - spec.onset + 1
        for spec in clip_specs(dataset, 16, 10, SEED)
        if spec.label is not None
    ]
    assert min(lengths) >= shortest and max(lengths) <= longest
    assert abs(np.mean(lengths) - mean) < 6


def test_a_folder_in_use_is_refused(tmp_path):
    kept = tmp_path / "kept.txt"
    kept.write_text("mine")
    with pytest.raises(UserError, match="already exists"):
        generate(tmp_path)
    assert [*tmp_path.iterdir()] == [kept]
    with pytest.raises(UserError, match="already exists"):
        generate(kept)


def test_a_failed_run_leaves_nothing(tmp_path, monkeypatch):
    def fail(self, frame):
        raise RuntimeError("disk on fire")

    monkeypatch.setattr(Scene, "frame", fail)
    with pytest.raises(RuntimeError, match="disk on fire"):
        generate(tmp_path / "out", datasets=["smic"], subjects=1, clips=1, num_workers=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("dataset", "subjects", "clips", "seed", "message"),
    [
        ("casme3", 1, 1, 0, "Unknown dataset 'casme3'. Expected one of casme2, samm, smic"),
        ("smic", 17, 1, 0, "subjects is 17, expected 1 to 16 for smic"),
        ("smic", 0, 1, 0, "subjects is 0, expected 1 to 16"),
        ("smic", 1, 0, 0, "clips is 0, expected at least 1"),
        ("smic", 1, 1, -1, "seed is -1, expected at least 0"),
        ("ck_plus", 111, 1, 0, "subjects is 111, expected 1 to 110"),
        ("oulu_casia", 81, 1, 0, "subjects is 81, expected 1 to 80"),
        ("jaffe", 11, 1, 0, "subjects is 11, expected 1 to 10"),
        ("mug", 53, 1, 0, "subjects is 53, expected 1 to 52"),
        ("oulu_casia", 1, 7, 0, "clips is 7, expected 1 to 6 per subject for oulu_casia"),
        ("jaffe", 1, 55, 0, "clips is 55, expected 1 to 54 per subject for jaffe"),
        ("mug", 1, 0, 0, "clips is 0, expected at least 1"),
        (
            "ck+",
            1,
            1,
            0,
            "Unknown dataset 'ck\\+'. Expected one of .*ck_plus, oulu_casia, jaffe, mug",
        ),
    ],
)
def test_impossible_requests(dataset, subjects, clips, seed, message):
    with pytest.raises(UserError, match=message):
        clip_specs(dataset, subjects, clips, seed)


def test_command_line_reports_errors_without_a_traceback(tmp_path):
    (tmp_path / "kept.txt").write_text("mine")
    run = subprocess.run(
        [sys.executable, "-m", "atnet_jax", "synthetic", f"--out={tmp_path}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "already exists" in run.stderr and "Traceback" not in run.stderr


@pytest.mark.parametrize(
    ("fixture", "dataset", "written"),
    [
        ("tree", "smic", "smic/SMIC_all_raw/HS/s01/micro/negative/s01_ne_01/*.bmp"),
        ("macro_tree", "jaffe", "jaffe/KA.[AN][NE]1*.tiff"),
    ],
)
def test_command_line_writes_the_same_files_as_the_function(
    fixture, dataset, written, request, tmp_path
):
    flags = [f"--datasets={dataset}", "--subjects=1", "--clips=1", f"--seed={SEED}"]
    out = tmp_path / "out"
    subprocess.run(
        [sys.executable, "-m", "atnet_jax", "synthetic", f"--out={out}", *flags],
        check=True,
        capture_output=True,
    )
    folder, _ = request.getfixturevalue(fixture)
    files = sorted(path.relative_to(out) for path in (out / dataset).rglob("*.*"))
    assert files == sorted(path.relative_to(folder) for path in folder.glob(written))
    assert (out / files[-1]).read_bytes() == (folder / files[-1]).read_bytes()
