import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from atnet_jax.preprocessing.annotation import Clip, VideoFrames
from atnet_jax.system.kept import DamagedError, KeptRecords
from data_builders.jobs import name_of
from data_builders.records import ClipJob
from data_builders.source import Entry

RECORDS = [
    (
        "a/b/1",
        {
            "image": b"\x00\xff\x00",
            "adm": np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
            "empty": np.zeros((0, 2), np.float32),
            "emotion": "Überraschung",
            "label": 2,
            "frame_rate": 1 / 3,
            "has_adm": True,
        },
    ),
    ("a/b/2", {"image": b"", "adm": np.array(3, np.int16)}),
]


@pytest.fixture
def kept(tmp_path):
    return KeptRecords(tmp_path / "partial")


def test_records_come_back_as_they_were(kept):
    kept.write("clip", RECORDS)
    read = kept.read("clip")
    assert [key for key, _ in read] == ["a/b/1", "a/b/2"]
    for (_, record), (_, expected) in zip(read, RECORDS, strict=True):
        assert record.keys() == expected.keys()
        for name, value in expected.items():
            assert type(record[name]) is type(value)
            if isinstance(value, np.ndarray):
                assert (record[name].dtype, record[name].shape) == (value.dtype, value.shape)
            np.testing.assert_array_equal(record[name], value)
    kept.write("none", [])
    assert kept.read("none") == []


def test_any_damage_is_noticed(kept):
    kept.write("clip", RECORDS)
    path = kept.folder / "clip"
    content = path.read_bytes()
    for size in range(0, len(content), 7):
        path.write_bytes(content[:size])
        with pytest.raises(DamagedError):
            kept.read("clip")
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with pytest.raises(DamagedError):
            kept.read("clip")


def test_useless_files_are_removed(kept):
    assert kept.find(["one"]) == set()
    for name in ("one", "two", "three"):
        kept.write(name, RECORDS)
    (kept.folder / "two").write_bytes(b"half")
    (kept.folder / ".four.0.tmp").touch()
    assert kept.find(["one", "two", "five"]) == {"one"}
    assert [path.name for path in kept.folder.iterdir()] == ["one"]
    kept.remove()
    assert not kept.folder.exists()
    kept.remove()


def make_job(folder: Path) -> ClipJob:
    frames = {number: folder / f"{number}.png" for number in (1, 2)}
    for path in (*frames.values(), folder / "adm.npy"):
        path.write_text("x")
    clip = Clip("smic", "s1", "c", 0, "negative", 1, 2, 2, 100.0, frames)
    return ClipJob(
        Entry(clip, "here", adm=folder / "adm.npy"), "none", None, "dis", 0, {"circular": False}
    )


def test_a_name_depends_on_everything_that_the_records_depend_on(tmp_path):
    job = make_job(tmp_path)
    name = name_of(job, "1.0.0")
    assert name_of(make_job(tmp_path), "1.0.0") != name  # written again
    name = name_of(job, "1.0.0")
    assert name_of(dataclasses.replace(job), "1.0.0") == name
    entry = job.entry
    others = [
        dataclasses.replace(job, **change)
        for change in (
            {"face": "mtcnn"},
            {"box": (0.0, 0.0, 1.0, 1.0)},
            {"flow": "farneback"},
            {"reach": 1},
            {"options": {"circular": True}},
            {"entry": dataclasses.replace(entry, clip=dataclasses.replace(entry.clip, label=1))},
            {"entry": dataclasses.replace(entry, adm=None)},
        )
    ]
    names = {name, name_of(job, "1.1.0"), *(name_of(other, "1.0.0") for other in others)}
    for path in (tmp_path / "2.png", tmp_path / "adm.npy"):
        stat = path.stat()
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1000))
        names.add(name_of(job, "1.0.0"))
    assert len(names) == 2 + len(others) + 2


def test_a_video_counts(tmp_path):
    job = make_job(tmp_path)
    video = tmp_path / "clip.avi"
    video.write_text("x")
    clip = dataclasses.replace(job.entry.clip, frames=VideoFrames(video))
    job = dataclasses.replace(job, entry=dataclasses.replace(job.entry, clip=clip))
    name = name_of(job, "1.0.0")
    video.write_text("xx")
    assert name_of(job, "1.0.0") != name
