"""Readers of files that people copy, edit and damage: a result or a `UserError`, nothing else.

Each file is valid and small, and is then changed at random: bytes are replaced, removed, repeated
or taken from another place, and the file is cut. A failure prints the number that repeats it.
`ATNET_FUZZ_SECONDS=300` goes on with other numbers for as long, divided among the readers.
"""

import json
import os
import shutil
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest

from atnet_jax.config import default_config, restore
from atnet_jax.data.record import from_record, prepared, read_records
from atnet_jax.errors import UserError
from atnet_jax.evaluation import digests, inflation, predictions, record, runs
from atnet_jax.evaluation.digests import ClipDigests, Digests, FoldDigests
from atnet_jax.evaluation.record import Data, Environment, Folds, Record
from atnet_jax.preprocessing.face import read_boxes
from atnet_jax.preprocessing.frames import survey
from atnet_jax.training.checkpoint import FoldCheckpoints
from atnet_jax.weights import caffemodel, folder
from data_builders.casme2.casme2_dataset_builder import SHEET
from data_builders.doctor import composite
from data_builders.doctor import digests as doctor
from data_builders.doctor.findings import CheckedClip
from data_builders.manifest.manifest_dataset_builder import read_entry, read_rows
from data_builders.source import ErrorList
from tests.data.test_record import clip_of, write
from tests.data_builders.conftest import Trees, write_frames
from tests.evaluation.test_predictions import random_predictions
from tests.weights.caffemodel_writer import blob, layer

# Seconds of each reader beyond the fixed numbers below.
SECONDS = float(os.environ.get("ATNET_FUZZ_SECONDS", "0"))
NUMBERS = 40
# What a longer file or a wrong number is most likely written as.
TOKENS = (
    b"\0",
    b"\xff",
    b"\n",
    b",",
    b'"',
    b"{",
    b"[",
    b"-1",
    b"1e999",
    b"NaN",
    b"null",
    b"\xff" * 8,
)


class Reader(NamedTuple):
    """A file of a folder, and the function that reads it."""

    file: Path
    read: Callable[[], object]


def changed(data: bytes, rng: np.random.Generator) -> bytes:
    """Return data with one to four changes."""
    found = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        place, length = int(rng.integers(len(found) + 1)), int(2 ** rng.integers(0, 8))
        match rng.integers(6):
            case 0:
                found[place : place + length] = rng.bytes(length)
            case 1:
                del found[place : place + length]
            case 2:
                del found[place:]
            case 3:
                found[place:place] = TOKENS[rng.integers(len(TOKENS))]
            case 4:
                other = int(rng.integers(len(found) + 1))
                found[place:place] = found[other : other + length]
            case 5:
                for bit in rng.integers(8 * len(found), size=3) if found else ():
                    found[bit // 8] ^= 1 << bit % 8
    return bytes(found)


def config_json(root: Path) -> Reader:
    config = json.loads(default_config("ststnet").to_json())
    environment = Environment("1 × cpu", {"jax": "0.10"}, None)
    Record(config, Data(2, "0" * 64), None, environment, "atnet", Folds(("a", "b"), (0,))).write(
        root
    )

    def read():
        found = record.read(root)
        restore(found.config)
        return found.identity(), found.selection, found.options

    return Reader(root / record.FILE, read)


def predictions_csv(root: Path) -> Reader:
    file = root / "predictions.csv"
    predictions.write(file, random_predictions(12))
    return Reader(file, lambda: predictions.read(file))


def epoch_scores(root: Path) -> Reader:
    file = root / "epoch_scores.npz"
    np.savez_compressed(
        file, epochs=np.arange(2, dtype=np.int32), scores=np.ones((2, 3, 3), "f4") / 3
    )
    return Reader(file, lambda: inflation.read_epoch_scores(file, 3))


def digests_json(root: Path) -> Reader:
    clip = ClipDigests("casme2", "s1", "c", 1, {"adm": "0" * 64})
    Digests((clip,), {"0": FoldDigests("0" * 64, "0" * 64, 1.0)}).write(root)
    return Reader(root / digests.FILE, lambda: digests.read(root))


def curves_json(root: Path) -> Reader:
    file = root / "curves.json"
    curve = {
        "name": "a",
        "kept_epoch": 1,
        "epoch": [1],
        "loss": [1.0],
        "accuracy": [0.5],
        "seconds": [1.0],
    }
    file.write_text(json.dumps({"0": curve}))
    return Reader(file, lambda: runs._curves(file))


def caffe_weights(root: Path) -> Reader:
    file = root / "net.caffemodel"
    blobs = {"conv1": [np.ones((2, 1, 3, 3), np.float32)], "fc": [np.ones((3, 4), np.float32)]}
    file.write_bytes(b"".join(layer(name, list(map(blob, own))) for name, own in blobs.items()))
    return Reader(file, lambda: caffemodel.read(file))


def weights_about(root: Path) -> Reader:
    tree = {"classifier": {"bias": np.zeros(3, np.float32)}}
    folder.save(
        root / "weights", folder.Weights(params=tree, batch_stats={}, about={"source": "x"})
    )
    return Reader(root / "weights" / "about.json", lambda: folder.load(root / "weights"))


def checkpoint(root: Path, name: str) -> Reader:
    like = {"history": {"loss": np.zeros(2, np.float32)}}
    with FoldCheckpoints(root / "checkpoints") as checkpoints:
        checkpoints.save(0, 1, like)
    file = root / "checkpoints" / "fold_000" / "1" / name
    whole = {path: path.read_bytes() for path in file.parent.iterdir() if path.is_file()}

    def read():
        try:
            with FoldCheckpoints(root / "checkpoints") as opened:
                return opened.restore(0, like)
        finally:
            for aside in file.parents[1].glob("damaged-*"):
                shutil.rmtree(aside)
            file.parent.mkdir(exist_ok=True)
            for path, data in whole.items():
                path.write_bytes(data)

    return Reader(file, read)


def checkpoint_about(root: Path) -> Reader:
    return checkpoint(root, "about.json")


def checkpoint_arrays(root: Path) -> Reader:
    return checkpoint(root, "tree.npz")


def prepared_data(root: Path, name: str) -> Reader:
    write(root, [clip_of("adm")])
    (data,) = (root / "manifest" / "farneback").iterdir()
    (data / "metadata.json").write_text('{"options": {"face": "none"}, "excluded": []}')
    [file] = data.glob(name)

    def read():
        builder = prepared(root, "manifest", "farneback")
        for _, stored in read_records(builder, ["adm"]):
            from_record(stored, ["adm"])
        return builder.info.metadata

    return Reader(file, read)


def prepared_info(root: Path) -> Reader:
    return prepared_data(root, "dataset_info.json")


def prepared_features(root: Path) -> Reader:
    return prepared_data(root, "features.json")


def prepared_metadata(root: Path) -> Reader:
    return prepared_data(root, "metadata.json")


def prepared_records(root: Path) -> Reader:
    return prepared_data(root, "*.array_record*")


def boxes_csv(root: Path) -> Reader:
    file = root / "boxes.csv"
    file.write_text("dataset,subject,clip,x0,y0,x1,y1\ncasme2,sub01,EP02,10,10,200,210\n")
    return Reader(file, lambda: read_boxes(file))


def doctor_digests(root: Path) -> Reader:
    file = root / "digests.csv"
    names = {column: "0" * 64 for column in doctor.DIGESTS}
    file.write_text(doctor.to_csv([CheckedClip("casme2", "=1", "c", 1, digests=names)]))
    return Reader(file, lambda: doctor.read(file, raw=True))


def clips_csv(root: Path) -> Reader:
    file = root / "manifest.csv"
    np.save(root / "map.npy", np.zeros((28, 28, 3), np.float32))
    write_frames(root / "f", [f"{number}.png" for number in range(10, 15)])
    file.write_text(
        "dataset,subject,clip,label,emotion,frames,onset,apex,offset,frame_rate,flow_map\n"
        "mine,a,c,1,,f,10,12,14,200,\nmine,b,d,,happy,,,,,,map.npy\n"
    )
    return Reader(file, lambda: [read_entry(row, root, where) for where, row in read_rows(file)])


def clip_list_csv(root: Path) -> Reader:
    file = root / "list.csv"
    file.write_text(
        "dataset,subject,clip,label,apex_frame_file\ncasme2,sub01,EP02_01f,1,img10.jpg\n"
    )
    return Reader(file, lambda: composite.read_list(file))


def spreadsheet(root: Path) -> Reader:
    Trees().casme2(root)
    file = root / "CASME2-coding-20140508.xlsx"
    return Reader(file, lambda: SHEET.read(file, ErrorList()))


def cells_of_a_spreadsheet(root: Path) -> Reader:
    """The table inside the archive, whose checksum would find any damage of the archive itself."""
    Trees().casme2(root)
    packed, file = root / "CASME2-coding-20140508.xlsx", root / "sheet1.xml"
    with zipfile.ZipFile(packed) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    (cells,) = (name for name in parts if name.endswith("sheet1.xml"))
    file.write_bytes(parts[cells])

    def read():
        with zipfile.ZipFile(packed, "w") as archive:
            for name, content in parts.items():
                archive.writestr(name, file.read_bytes() if name == cells else content)
        return SHEET.read(packed, ErrorList())

    return Reader(file, read)


def video(root: Path) -> Reader:
    file = root / "clip.avi"
    written = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"MJPG"), 25, (32, 24))
    for level in range(0, 250, 50):
        written.write(np.full((24, 32, 3), level, np.uint8))
    written.release()
    return Reader(file, lambda: survey(file, 1000, 1_000_000))


READERS = (
    config_json, predictions_csv, epoch_scores, digests_json, curves_json, caffe_weights,
    weights_about, checkpoint_about, checkpoint_arrays, prepared_info, prepared_features,
    prepared_metadata, prepared_records, boxes_csv, doctor_digests,
    clips_csv, clip_list_csv, spreadsheet, cells_of_a_spreadsheet, video,
)  # fmt: skip


@pytest.mark.parametrize("make", READERS, ids=lambda make: make.__name__)
def test_a_damaged_file_is_refused_in_a_sentence(make, tmp_path):
    file, read = make(tmp_path)
    read()  # The file is valid.
    data, end, number = file.read_bytes(), time.monotonic() + SECONDS / len(READERS), 0
    while number < NUMBERS or time.monotonic() < end:
        rng = np.random.default_rng([zlib.crc32(make.__name__.encode()), number])
        file.write_bytes(changed(data, rng))
        started = time.process_time()
        try:
            read()
        except UserError as error:
            assert str(error).strip()
        except Exception as error:
            raise AssertionError(f"{make.__name__}, number {number}: {error!r}") from error
        assert time.process_time() - started < 10, f"{make.__name__}, number {number}: too slow"
        number += 1
