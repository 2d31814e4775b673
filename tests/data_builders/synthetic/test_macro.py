import dataclasses
import functools
import subprocess
import sys

import cv2
import numpy as np
import pytest

from data_builders.synthetic import clip_specs
from data_builders.synthetic.clip_spec import random_stream
from data_builders.synthetic.generate import DATABASES, MICRO_EXPRESSION
from data_builders.synthetic.identity import draw_identity
from data_builders.synthetic.motion import CROP_SIDE, draw_motion
from data_builders.synthetic.posed import PEAK
from data_builders.synthetic.scene import Scene

SEED = 3
scene = functools.lru_cache(maxsize=1)(Scene)
DATASETS = ["ck_plus", "oulu_casia", "jaffe", "mug"]
SEQUENCES = ["ck_plus", "oulu_casia", "mug"]
# Names in each database of emotions of the classes 0, 1, 2 and of no class.
EMOTIONS = {
    "ck_plus": ({"anger", "contempt", "disgust", "fear", "sadness"}, {"happy"}, {"surprise"}, {""}),
    "oulu_casia": ({"Anger", "Disgust", "Fear", "Sadness"}, {"Happiness"}, {"Surprise"}, set()),
    "jaffe": ({"AN", "DI", "FE", "SA"}, {"HA"}, {"SU"}, {"NE"}),
    "mug": ({"anger", "disgust", "fear", "sadness"}, {"happiness"}, {"surprise"}, {"neutral"}),
}


def of(specs, dataset):
    return [spec for spec in specs if spec.dataset == dataset]


def paths(tree, spec):
    """The clip's files, in the order of its frames."""
    database = DATABASES[spec.dataset]
    return [tree[0] / spec.dataset / database.frame_path(spec, frame) for frame in spec.frames]


def pictures(tree, spec):
    files = paths(tree, spec)
    return [cv2.imread(str(file), cv2.IMREAD_GRAYSCALE).astype(float) for file in files]


def change(first, other):
    """How much two pictures differ where they differ most, noise smoothed away."""
    return np.percentile(np.abs(cv2.GaussianBlur(other - first, (0, 0), 2)), 95)


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def numbered(pattern, first, count):
    return [pattern % number for number in range(first, first + count)]


def test_ck_plus_layout(macro_tree):
    folder, specs = macro_tree
    top = folder / "ck_plus"
    lengths = {spec.clip: len(spec.frames) for spec in of(specs, "ck_plus")}
    assert list(lengths) == ["001", "003", "004", "002"]
    expected = []
    for clip, length in lengths.items():
        name = f"cohn-kanade-images/S005/{clip}/S005_{clip}_%08d.png"
        expected += numbered(name, 1, length)
        if clip != "002":
            expected += [f"Emotion/S005/{clip}/S005_{clip}_{length:08d}_emotion.txt"]
    assert names(top) == sorted(expected)
    assert (top / "Emotion" / "S005" / "002").is_dir()
    assert (top / "cohn-kanade-images/S005/001/S005_001_00000001.png").is_file()


def test_oulu_casia_layout(macro_tree):
    folder, specs = macro_tree
    lengths = {(spec.view[:2], spec.clip): len(spec.frames) for spec in of(specs, "oulu_casia")}
    emotions = ["Anger", "Happiness", "Surprise"]
    assert list(lengths) == [(camera, emotion) for camera in ("VL", "NI") for emotion in emotions]
    expected = []
    for (camera, emotion), length in lengths.items():
        expected += numbered(f"{camera}/Strong/P001/{emotion}/%03d.jpeg", 0, length)
    assert names(folder / "oulu_casia") == sorted(expected)
    assert (folder / "oulu_casia/VL/Strong/P001/Anger/000.jpeg").is_file()


def test_jaffe_layout(macro_tree):
    folder, _ = macro_tree
    expected = ["KA.AN1.11.tiff", "KA.HA1.21.tiff", "KA.NE1.1.tiff", "KA.SU1.31.tiff"]
    assert names(folder / "jaffe") == expected


def test_mug_layout(macro_tree):
    folder, specs = macro_tree
    lengths = {spec.emotion: len(spec.frames) for spec in of(specs, "mug")}
    assert list(lengths) == ["anger", "happiness", "surprise", "neutral"]
    expected = []
    for emotion, length in lengths.items():
        expected += numbered(f"subjects3/001/{emotion}/take000/img_%04d.jpg", 0, length)
    assert names(folder / "mug") == sorted(expected)
    assert (folder / "mug/subjects3/001/anger/take000/img_0000.jpg").is_file()


@pytest.mark.parametrize(
    ("dataset", "shape", "magic"),
    [
        ("ck_plus", (490, 640), b"\x89PNG"),
        ("oulu_casia", (240, 320), b"\xff\xd8\xff"),
        ("jaffe", (256, 256), b"II*\0"),
        ("mug", (896, 896, 3), b"\xff\xd8\xff"),
    ],
)
def test_frame_size_and_format(macro_tree, dataset, shape, magic):
    for spec in of(macro_tree[1], dataset):
        path = paths(macro_tree, spec)[0]
        expected = (*shape, 3) if spec.view == "VL/Strong" else shape
        picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert picture.shape == expected and picture.dtype == np.uint8
        assert path.read_bytes().startswith(magic)
        if dataset == "jaffe":
            assert path.stat().st_size > picture.size  # not compressed


def test_emotion_files_hold_the_code_of_the_label(macro_tree):
    folder, specs = macro_tree
    codes = ["neutral", "anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise"]
    for spec in of(specs, "ck_plus"):
        files = list((folder / "ck_plus" / "Emotion" / spec.subject / spec.clip).iterdir())
        if spec.label is None:
            assert not files
            continue
        (file,) = files
        text = file.read_text()
        assert codes[int(float(text))] in EMOTIONS["ck_plus"][spec.label]
        assert text == f"   {codes.index(spec.emotion)}.0000000e+00\n"


@pytest.mark.parametrize("dataset", DATASETS)
def test_labels_are_those_of_the_emotions(dataset):
    specs = clip_specs(dataset, 5, 6, SEED)
    for label, emotions in zip((0, 1, 2, None), EMOTIONS[dataset], strict=True):
        assert {spec.emotion for spec in specs if spec.label == label} == emotions
    for spec in specs:
        units = {activation.unit for activation in spec.activations}
        shown = {0: units & {4, 14, 15}, 1: 12 in units, 2: {1, 2} <= units, None: 12 not in units}
        assert shown[spec.label], spec.key


def test_expression_of_sequences_is_strongest_in_the_last_frame(macro_tree):
    for spec in [*of(macro_tree[1], "ck_plus"), *of(macro_tree[1], "oulu_casia")]:
        first, *others = pictures(macro_tree, spec)
        changes = [change(first, other) for other in others]
        assert np.argmax(changes) == len(changes) - 1, spec.key
        assert changes[-1] > 2.5 * changes[0], spec.key


def test_expression_of_mug_is_strongest_in_the_middle(macro_tree):
    for spec in of(macro_tree[1], "mug")[:3]:
        # Inside the face, since the head's drift shows most at its outline.
        first, *others = (picture[340:600, 340:556] for picture in pictures(macro_tree, spec))
        changes = np.array([change(first, other) for other in others])
        middle = (len(spec.frames) - 1) // 2 - 1
        assert abs(np.argmax(changes) - middle) <= 0.1 * len(changes) + 1, spec.key
        assert changes[middle] > 0.9 * changes.max(), spec.key
        assert changes[middle] > 1.5 * changes[-1], spec.key


@pytest.mark.parametrize("dataset", SEQUENCES)
def test_time_course(dataset):
    ends_at_peak = dataset != "mug"
    for spec in clip_specs(dataset, 4, 6, SEED):
        motion = draw_motion(spec)
        course = np.array([motion.expression(frame) for frame in spec.frames])
        assert not course[0].any() and (course[spec.apex - spec.first] == 1).all()
        assert spec.first == (1 if dataset == "ck_plus" else 0)
        assert (spec.apex == spec.last) == ends_at_peak
        if not ends_at_peak:
            assert not course[-1].any()
            assert abs(spec.apex - (spec.last - spec.first) / 2) <= 0.05 * len(spec.frames) + 1


@pytest.mark.parametrize(
    ("dataset", "shortest", "longest"),
    [("ck_plus", 8, 16), ("oulu_casia", 9, 15), ("jaffe", 1, 1), ("mug", 11, 21)],
)
def test_clip_lengths(dataset, shortest, longest):
    lengths = [len(spec.frames) for spec in clip_specs(dataset, 10, 6, SEED)]
    assert min(lengths) >= shortest and max(lengths) <= longest
    assert len(set(lengths)) > 4 or dataset == "jaffe"


def test_jaffe_shows_the_full_expression():
    for spec in clip_specs("jaffe", 3, 6, SEED):
        assert draw_motion(spec).expression(spec.first) == (1, 1)
        assert spec.first == spec.apex == spec.last


@pytest.mark.parametrize("dataset", ["jaffe", "mug"])
def test_neutral_ones_have_no_action_units(dataset):
    (spec,) = (spec for spec in clip_specs(dataset, 1, 3, SEED) if spec.label is None)
    assert spec.emotion in ("NE", "neutral") and not spec.activations and spec.peak == 0
    assert len(spec.frames) == 1 or dataset == "mug"


def test_neutral_faces_only_drift():
    (spec,) = (spec for spec in clip_specs("jaffe", 1, 1, SEED) if spec.label is None)
    flow = (
        scene(spec).true_flow(spec.onset, spec.apex) * 224 / CROP_SIDE / scene(spec).placement.unit
    )
    assert 0.1 < np.abs(flow).max() < 4


def test_both_cameras_of_oulu_casia_film_the_same_performance(macro_tree):
    visible, infrared = (
        next(spec for spec in of(macro_tree[1], "oulu_casia") if spec.view == view)
        for view in ("VL/Strong", "NI/Strong")
    )
    assert visible.clip == infrared.clip and visible.key != infrared.key
    assert visible.frames == infrared.frames
    scenes = [Scene(visible), Scene(infrared)]
    flows = [clip.true_flow(visible.first, visible.last) for clip in scenes]
    assert (flows[0] == flows[1]).all() and np.abs(flows[0]).max() > 4
    vl, ni = (pictures(macro_tree, spec)[-1] for spec in (visible, infrared))
    assert np.corrcoef(vl.ravel(), ni.ravel())[0, 1] > 0.9


def test_near_infrared_shows_all_skins_alike():
    specs = [spec for spec in clip_specs("oulu_casia", 12, 1, SEED) if spec.view == "VL/Strong"]
    specs.sort(key=lambda spec: sum(spec.identity().skin))
    visible, infrared = [], []
    for spec in (specs[0], specs[-1]):
        for view, tones in (("VL", visible), ("NI", infrared)):
            camera = DATABASES["oulu_casia"].CAMERAS[view]
            clip = Scene(dataclasses.replace(spec, camera=camera))
            column, row = map(round, clip.placement.to_pixels(0.0, -0.2))  # the forehead
            tones.append(clip.frame(spec.first)[row - 4 : row + 5, column - 8 : column + 9].mean())
    assert visible[1] > 1.4 * visible[0]
    assert 0.8 < infrared[1] / infrared[0] < 1.2


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("clips", [1, 3, 4, 6])
def test_number_and_classes_of_a_subjects_clips(dataset, clips):
    specs = clip_specs(dataset, 5, clips, SEED)
    assert len({spec.key for spec in specs}) == len(specs)
    for subject in DATABASES[dataset].SUBJECTS[:5]:
        own = [spec for spec in specs if spec.subject == subject]
        for view in {spec.view for spec in own}:
            labels = [spec.label for spec in own if spec.view == view]
            assert len(labels) - labels.count(None) == clips
            assert labels.count(None) == (0 if dataset == "oulu_casia" else 1)
            assert clips < 3 or {0, 1, 2} <= set(labels)
    if clips == 1:
        assert {0, 1, 2} <= {spec.label for spec in specs}


def test_six_clips_of_oulu_casia_are_the_six_emotions():
    for subject in ("P001", "P002", "P003"):
        specs = [spec for spec in clip_specs("oulu_casia", 3, 6, SEED) if spec.subject == subject]
        emotions = {"Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise"}
        assert {spec.clip for spec in specs if spec.view == "NI/Strong"} == emotions
        assert len(specs) == 12


def test_more_clips_are_further_takes():
    mug = {spec.clip for spec in clip_specs("mug", 1, 13, SEED)}
    assert {"anger/take000", "anger/take001", "anger/take002", "neutral/take000"} <= mug
    jaffe = {spec.clip.split(".")[1] for spec in clip_specs("jaffe", 1, 13, SEED)}
    assert {"AN1", "AN2", "AN3", "HA1", "HA2", "NE1"} <= jaffe
    numbers = [spec.clip.split(".")[2] for spec in clip_specs("jaffe", 10, 20, SEED)]
    assert len(set(numbers)) == len(numbers) == 210


@pytest.mark.parametrize("dataset", DATASETS)
def test_expressions_are_several_times_those_of_micro_expressions(dataset):
    micro = [spec.peak for name in MICRO_EXPRESSION for spec in clip_specs(name, 4, 4, SEED)]
    peaks = [spec.peak for spec in clip_specs(dataset, 8, 6, SEED) if spec.emotion and spec.peak]
    assert np.mean(peaks) > 2.5 * np.mean(micro) and min(peaks) > max(micro)
    assert PEAK[0] <= min(peaks) and max(peaks) <= PEAK[1]


@pytest.mark.parametrize("label", [0, 1, 2])
def test_strong_expressions_do_not_squeeze_the_skin_to_nothing(label):
    specs = [spec for spec in clip_specs("jaffe", 10, 6, SEED) if spec.label == label]
    spec = max(specs, key=lambda spec: spec.peak)
    assert spec.peak > 14
    clip = Scene(spec)
    flow = clip.true_flow(spec.apex, spec.onset).transpose(2, 0, 1)
    reach = np.linalg.norm(flow, axis=0).max() * 224 / CROP_SIDE / clip.placement.unit
    assert abs(reach - spec.peak) < 3  # head drift comes on top
    (uy, ux), (vy, vx) = np.gradient(flow[0]), np.gradient(flow[1])
    assert ((1 + ux) * (1 + vy) - uy * vx).min() > 0.25


def test_people_are_others_without_glasses():
    plain, seen = 0, set()
    for dataset in DATASETS:
        for spec in clip_specs(dataset, 8, 1, SEED):
            drawn = draw_identity(random_stream(SEED, f"{dataset}/{spec.subject}"))
            assert spec.identity() == dataclasses.replace(drawn, glasses=0.0)
            plain += bool(drawn.glasses)
            seen.add(drawn.texture_seed)
    assert plain > 5  # so it was not by chance
    assert len(seen) == 8 * len(DATASETS)
    micro = [spec for name in MICRO_EXPRESSION for spec in clip_specs(name, 8, 1, SEED)]
    assert not seen & {spec.identity().texture_seed for spec in micro}


@pytest.mark.parametrize("dataset", DATASETS)
def test_nobody_blinks(dataset):
    assert all(draw_motion(spec).blink is None for spec in clip_specs(dataset, 6, 6, SEED))


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_subject_has_a_name(dataset):
    names = DATABASES[dataset].SUBJECTS
    specs = clip_specs(dataset, len(names), 1, SEED)
    assert len({spec.subject for spec in specs}) == len(names)


def test_readme_lists_the_written_files(tree, macro_tree):
    macro = (macro_tree[0] / "README.txt").read_text(encoding="utf-8")
    for name in ("CK+", "Oulu-CASIA", "JAFFE", "MUG", "datasets=ck_plus,oulu_casia,jaffe,mug"):
        assert name in macro
    assert "micro" not in macro and "CASME" not in macro
    micro = (tree[0] / "README.txt").read_text(encoding="utf-8")
    assert "Synthetic micro-expression clips" in micro
    assert "the layouts of CASME II, SAMM and SMIC-HS, but" in micro and "CK+" not in micro


def test_without_a_choice_the_command_line_writes_the_micro_expression_databases():
    run = subprocess.run(
        [sys.executable, "-m", "atnet_jax", "synthetic", "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "(default: casme2,samm,smic)" in run.stdout
