import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from atnet_jax.errors import UserError
from atnet_jax.preprocessing.annotation import Clip
from data_builders.manifest.manifest_dataset_builder import Builder
from data_builders.prepare import prepare
from tests.extract import extract


def write_manifest(folder: Path, rows: list[dict[str, object]], *, encoding="utf-8") -> Path:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "manifest.csv").open("w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return folder


def prepare_rows(folder: Path, rows, **options) -> Path:
    options = {"face": "none", "num_workers": 1} | options
    return prepare("manifest", write_manifest(folder, rows), folder.parent / "data", **options)


def read_source(folder: Path):
    builder = Builder(manual_dir=folder, face="none", data_dir=str(folder), config="farneback")
    return builder.source


def name(**row):
    return {"dataset": "mine", "subject": "anna", "clip": "take1", "label": "1"} | row


def test_published_flow_maps_come_back_exactly(real_data, tmp_path, read_records, capsys):
    """All 309 maps, some of them as .npy files."""
    published = np.load(real_data / "onset_apex_flow_casme2_smic.npz", allow_pickle=False)
    folder = tmp_path / "raw"
    folder.mkdir()
    rows = []
    for index, rgb in enumerate(published["flow_rgb"]):
        if index % 50 == 7:
            file = f"{index}.npy"
            np.save(folder / file, rgb)
        else:
            file = f"{index}.png"
            cv2.imwrite(str(folder / file), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        names = {key: str(published[key][index]) for key in ("dataset", "subject", "clip")}
        rows.append({**names, "label": int(published["label"][index]), "flow_map": file})
    records = read_records(prepare_rows(folder, rows[::-1]))
    keys = [tuple(row[key] for key in ("dataset", "subject", "clip")) for row in rows]
    assert [(record["dataset"], record["subject"], record["clip"]) for record in records] == sorted(
        keys
    )
    for record in records:
        index = keys.index((record["dataset"], record["subject"], record["clip"]))
        assert record["flow_map"].dtype == np.float32
        np.testing.assert_array_equal(record["flow_map"], published["flow_rgb"][index])
        assert record["label"] == published["label"][index]
        assert record["emotion"] == ("negative", "positive", "surprise")[record["label"]]
        assert (record["has_apex"], record["has_adm"], record["has_flow_map"]) == (0, 0, 1)
        assert not record["apex"].any() and not record["adm"].any()
        assert (record["onset"], record["apex_frame"], record["offset"]) == (-1, -1, -1)
        assert record["frame_rate"] == 0
        assert not record["crop_box"].any()
    output = capsys.readouterr().out
    assert "casme2: 145 clips (negative 88, positive 32, surprise 25) of 24 subjects" in output
    assert "matches the paper's composite: 145 of 145 clips" in output
    assert "matches the paper's composite: 164 of 164 clips" in output


def test_published_adm_comes_back_exactly(real_data, tmp_path, read_records):
    published = np.load(real_data / "adm_released.npz", allow_pickle=False)
    folder = tmp_path / "raw"
    folder.mkdir()
    rows = []
    for key in published:
        dataset, subject, clip = key.split("-")
        np.save(folder / f"{key}.npy", published[key])
        names = {"dataset": dataset, "subject": subject, "clip": clip}
        rows.append({**names, "label": "negative", "adm": f"{key}.npy"})
    records = read_records(prepare_rows(folder, rows))
    assert len(records) == len(published.files) == 10
    for record in records:
        key = "-".join((record["dataset"], record["subject"], record["clip"]))
        np.testing.assert_array_equal(record["adm"], published[key])
        assert (record["has_apex"], record["has_adm"], record["has_flow_map"]) == (0, 1, 0)


def test_frames_video_and_given_inputs(trees, tmp_path, read_records):
    folder = tmp_path / "raw"
    trees.write_frames(folder / "anna/take1", [f"shot_{n:04d}.png" for n in range(3, 9)])
    pictures = [cv2.imread(str(path)) for path in sorted((folder / "anna/take1").iterdir())]
    video = cv2.VideoWriter(
        str(folder / "take2.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 50.0, (80, 64)
    )
    for picture in pictures:
        video.write(picture)
    video.release()
    grey = cv2.cvtColor(pictures[2], cv2.COLOR_BGR2GRAY)
    cv2.imwrite(str(folder / "apex.png"), cv2.resize(grey, (224, 224)))
    adm = np.random.default_rng(0).normal(size=(64, 128))
    np.save(folder / "adm.npy", adm)
    numbers = {"onset": 4, "apex": 6, "offset": 8}
    rows = [
        name(frames="anna/take1", frame_rate="99.5", **numbers),
        name(clip="take2", label="surprise", video="take2.avi", onset=0, apex=2, offset=5),
        name(clip="take3", label="", emotion="Contempt", apex_image="apex.png"),
        name(clip="take4", emotion="relief", frames="anna/take1", adm="adm.npy", **numbers),
    ]
    records = read_records(prepare_rows(folder, rows))
    keys = ("clip", "label", "emotion", "onset", "apex_frame", "offset", "frame_rate")
    assert [tuple(record[key] for key in keys) for record in records] == [
        ("take1", 1, "positive", 4, 6, 8, 99.5),
        ("take2", 2, "surprise", 0, 2, 5, 0.0),
        ("take3", 0, "Contempt", -1, -1, -1, 0.0),
        ("take4", 1, "relief", 4, 6, 8, 0.0),
    ]
    frames = {n: folder / f"anna/take1/shot_{n:04d}.png" for n in range(4, 9)}
    clip = Clip("mine", "anna", "take1", 1, "positive", 4, 6, 8, 99.5, frames)
    expected = extract(clip, face="none", box=None, flow="spatiotemporal")
    np.testing.assert_array_equal(records[0]["apex"][:, :, 0], expected.apex)
    np.testing.assert_array_equal(records[0]["adm"], expected.adm)
    np.testing.assert_array_equal(records[0]["flow_map"], expected.flow_map)
    # The video starts at frame 0, and its compression loses something.
    assert np.abs(records[1]["apex"].astype(int)[:, :, 0] - cv2.resize(grey, (224, 224))).mean() < 9
    assert records[1]["has_adm"] and records[1]["adm"][30:35].any(axis=1).all()
    np.testing.assert_array_equal(records[1]["crop_box"], [0, 0, 80, 64])
    # The face is looked for in a given apex image; 'none' takes it as it is.
    np.testing.assert_array_equal(records[2]["apex"][:, :, 0], cv2.resize(grey, (224, 224)))
    np.testing.assert_array_equal(records[2]["crop_box"], [0, 0, 224, 224])
    assert (records[2]["has_apex"], records[2]["has_adm"], records[2]["has_flow_map"]) == (1, 0, 0)
    # Flow and colour are of frames, also where the ADM is given.
    for what in ("flow", "colour"):
        assert [bool(record[f"has_{what}"]) for record in records] == [True, True, False, True]
    np.testing.assert_array_equal(records[0]["flow"], expected.flow)
    colour = records[0]["colour"].reshape(7, 224, 224, 3)
    np.testing.assert_array_equal(colour, expected.colour)
    np.testing.assert_array_equal(records[3]["adm"], adm.astype(np.float32))
    np.testing.assert_array_equal(records[3]["flow_map"], expected.flow_map)


def test_names_of_any_script_and_a_byte_order_mark(tmp_path):
    row = name(subject="Zoë 张", clip="=1+1", adm="ä.npy")
    write_manifest(tmp_path, [row], encoding="utf-8-sig")
    np.save(tmp_path / "ä.npy", np.zeros((64, 128)))
    (entry,) = read_source(tmp_path).entries
    assert entry.clip.key == "mine/Zoë 张/=1+1"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            name(adm=""),
            r"line 2: All inputs are empty. Fill in at least one of frames, video, apex_image, "
            r"adm, flow_map",
        ),
        (name(adm="no.npy"), r"line 2: adm is 'no.npy', but this file does not exist"),
        (name(frames="no"), r"line 2: frames is 'no', but this folder does not exist"),
        (name(adm="/etc/passwd"), r"line 2: adm is '/etc/passwd', expected a path relative"),
        (name(adm=r"C:\adm.npy"), r"line 2: adm is 'C:.*expected a path relative"),
        (name(adm=r"\\host\adm.npy"), r"line 2: adm is .*expected a path relative"),
        (name(adm="../outside.npy"), r"line 2: adm leads out of the manifest's folder"),
        (name(adm="frames/../../outside.npy"), r"line 2: adm leads out of the manifest's folder"),
        (name(adm="link.npy"), r"line 2: adm leads out of the manifest's folder"),
        (name(adm="linked/outside.npy"), r"line 2: adm leads out of the manifest's folder"),
        (
            name(frames="linked_frames", onset=1, apex=2, offset=3),
            r"line 2: frames leads out of the manifest's folder",
        ),
        (name(subject="../x", adm="adm.npy"), r"line 2: subject is '../x', expected a plain name"),
        (name(dataset="a/b", adm="adm.npy"), r"line 2: dataset is 'a/b', expected a plain name"),
        (name(clip="", adm="adm.npy"), r"line 2: clip is empty"),
        (name(label="3", adm="adm.npy"), r"line 2: label is '3', expected 0, 1, 2 or negative"),
        (name(label="", adm="adm.npy"), r"line 2: Unknown emotion ''"),
        (name(label="", emotion="joy", adm="adm.npy"), r"line 2: Unknown emotion 'joy'"),
        (name(frames="frames"), r"line 2: onset is '', expected a frame number"),
        (
            name(frames="frames", onset=1, apex=2, offset=9),
            r"line 2: .*lacks frames 4, 5, 6, 7, 8",
        ),
        (name(frames="frames", onset=2, apex=1, offset=3), r"line 2: expected onset <= apex"),
        (name(frames="frames", onset=1, apex="b", offset=3), r"line 2: apex is 'b'"),
        (name(adm="adm.npy", frame_rate="-1"), r"line 2: frame_rate is '-1'"),
        (name(adm="adm.npy", frame_rate="inf"), r"line 2: frame_rate is 'inf'"),
        (name(frames="frames", video="adm.npy"), r"line 2: Both frames and video are filled in"),
    ],
)
def test_errors_of_single_rows(row, message, trees, tmp_path):
    folder = tmp_path / "raw"
    names = [f"{n}.png" for n in (1, 2, 3)]
    trees.write_frames(folder / "frames", names)
    np.save(folder / "adm.npy", np.zeros((64, 128)))
    np.save(tmp_path / "outside.npy", np.zeros((64, 128)))
    (folder / "link.npy").symlink_to(tmp_path / "outside.npy")
    (folder / "linked").symlink_to(tmp_path)
    (folder / "linked_frames").mkdir()
    trees.write_frames(tmp_path / "outside", names)
    for file in names:
        (folder / "linked_frames" / file).symlink_to(tmp_path / "outside" / file)
    write_manifest(folder, [row])
    with pytest.raises(UserError, match=message):
        read_source(folder)


def test_only_the_clip_that_is_meant_is_left_out(tmp_path):
    np.save(tmp_path / "map.npy", np.zeros((28, 28, 3), np.float32))
    clips = [("mine", "s1"), ("yours", "s1"), ("yours", "s01")]
    rows = [name(dataset=d, subject=s, flow_map="map.npy") for d, s in clips]

    def left(*leave_out):
        folder = write_manifest(tmp_path, rows)
        builder = Builder(
            manual_dir=folder, face="none", data_dir="-", config="farneback", leave_out=leave_out
        )
        return [entry.clip.names[:2] for entry in builder.source.entries]

    assert left("Mine/s01/take1") == [("yours", "s01"), ("yours", "s1")]
    with pytest.raises(UserError, match="means mine/s1/take1 and yours/s01/take1 and yours/s1"):
        left("s1/take1")
    with pytest.raises(UserError, match="means yours/s01/take1 and yours/s1/take1"):
        left("yours/s1/take1")


def test_a_clip_given_twice(tmp_path):
    np.save(tmp_path / "adm.npy", np.zeros((64, 128)))
    write_manifest(tmp_path, [name(adm="adm.npy"), name(clip="b", adm="adm.npy")] * 2)
    with pytest.raises(UserError) as error:
        read_source(tmp_path)
    where = "is defined twice, at manifest.csv, line"
    assert f"mine/anna/take1 {where} 2 and at manifest.csv, line 4" in str(error.value)
    assert f"mine/anna/b {where} 3 and at manifest.csv, line 5" in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"is empty. Expected a header row"),
        ("x\n", r"Missing column: dataset; subject; clip; label or emotion; one of frames, video"),
        ("dataset,subject,clip,label\n", r"Missing column: one of frames, video"),
        ("dataset,subject,clip,label,adm,flow_mapp\n", r"Unknown column: 'flow_mapp'. The columns"),
        ("dataset,subject,clip,label,adm,adm\n", r"The column 'adm' occurs twice"),
        (
            "dataset,subject,clip,label,adm\na,b,c,1,d.npy,e\n",
            r"line 2: The row has more cells than columns",
        ),
        ('dataset,subject,clip,label,adm\na,b,c,1,"d', r"not a CSV file in UTF-8"),
        (b"dataset,subject,clip,label,adm\na,b,\xff,1,d.npy", r"not a CSV file in UTF-8"),
        ("dataset,subject,clip,label,adm\n", r"manifest has no clips to prepare"),
        (None, r"manifest.csv does not exist"),
    ],
)
def test_errors_of_the_file(text, message, tmp_path):
    if text is not None:
        content = text if isinstance(text, bytes) else text.encode()
        (tmp_path / "manifest.csv").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_source(tmp_path)


def test_errors_of_given_inputs_are_reported_together(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    wrong = {
        "shape.npy": (np.zeros((128, 64)), r"has shape (128, 64), expected (64, 128)"),
        "nan.npy": (np.full((64, 128), np.nan), "contains NaN or infinity"),
        "object.npy": (np.array([{}]), "is not a .npy file of numbers"),
        "text.npy": (np.array(["a"]), "is not a .npy file with one array of real numbers"),
    }
    rows = []
    for file, (array, _) in wrong.items():
        np.save(folder / file, array)
        rows.append(name(clip=file, adm=file))
    (folder / "empty.npy").touch()
    rows.append(name(clip="empty", adm="empty.npy"))
    cv2.imwrite(str(folder / "large.png"), np.zeros((28, 29, 3), np.uint8))
    cv2.imwrite(str(folder / "grey.png"), np.zeros((28, 28), np.uint8))
    (folder / "text.png").write_text("no image")
    rows += [name(clip=file, flow_map=file) for file in ("large.png", "grey.png", "text.png")]
    rows.append(name(clip="apex", apex_image="text.png"))
    with pytest.raises(UserError) as error:
        prepare_rows(folder, rows)
    message = str(error.value)
    assert message.startswith("manifest: 9 errors, so nothing was prepared:")
    assert message.count("\n") == 10  # The last line says how to leave out clips.
    for file, (_, reason) in wrong.items():
        assert f"mine/anna/{file}: {folder / file} {reason}" in message
    assert f"{folder / 'empty.npy'} is not a .npy file of numbers" in message
    assert (
        "large.png is an image of type uint8 and shape (28, 29, 3), expected 28×28 pixels with 3"
        in message
    )
    assert (
        "grey.png is an image of type uint8 and shape (28, 28), expected 28×28 pixels with 3"
        in message
    )
    assert f"line 9: mine/anna/text.png: {folder / 'text.png'} is not an image" in message
    assert "line 10: mine/anna/apex" in message


def test_a_missing_face_is_reported_with_the_clip(trees, tmp_path):
    folder = tmp_path / "raw"
    trees.write_frames(folder / "frames", [f"{n}.png" for n in (1, 2, 3)])
    row = name(frames="frames", onset=1, apex=2, offset=3)
    with pytest.raises(
        UserError, match=r"line 2: mine/anna/take1, apex frame 2: no face was found"
    ):
        prepare_rows(folder, [row], face="mtcnn")
