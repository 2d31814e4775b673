import dataclasses
import shutil
import subprocess
import sys
from typing import ClassVar

import numpy as np
import pytest
import tensorflow_datasets as tfds

from atnet_jax.data import record
from atnet_jax.data.composite import as_prepared, shapes_as_prepared
from atnet_jax.data.record import (
    INPUTS,
    DamagedDataError,
    Numbers,
    Pictures,
    from_record,
    open_records,
    read_records,
    to_record,
)
from atnet_jax.errors import UserError
from atnet_jax.preprocessing.annotation import Clip
from atnet_jax.preprocessing.prepared_clip import STANDARD_LANDMARKS, PreparedClip
from data_builders.doctor.records import examine

CLIP = Clip("mine", "anna", "Überraschung", 2, "surprise", 40, 47, 60, 200.0, {})


def clip_of(*names: str) -> PreparedClip:
    """A clip with these inputs, each of random numbers."""
    rng = np.random.default_rng(len(names))
    arrays = {}
    for name in names:
        shape = [21 if side == -1 else side for side in INPUTS[name].shape]
        if INPUTS[name].dtype == np.uint8:
            arrays[name] = rng.integers(0, 256, shape, np.uint8)
        else:
            arrays[name] = rng.normal(size=shape).astype(np.float32)
    index = 7 if "frames" in names else 0
    box = (1.5, -2.25, 300.0, 296.25)
    return PreparedClip(CLIP.key, apex_index=index, frame_rate=200.0, crop_box=box, **arrays)


def write(folder, clips):
    """Prepared data as TFDS writes them, and their builder as they are opened for training."""

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version(record.VERSION)
        BUILDER_CONFIGS: ClassVar = [tfds.core.BuilderConfig(name="farneback")]

        def _info(self):
            return self.dataset_info_from_configs(
                features=record.features(), disable_shuffling=True
            )

        def _split_generators(self, dl_manager):
            del dl_manager
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for number, clip in enumerate(clips):
                yield number, to_record(CLIP, clip)

    Builder.name = "manifest"
    Builder(data_dir=str(folder)).download_and_prepare(file_format="array_record")
    return record.prepared(folder, "manifest", "farneback")


def assert_equal(found: PreparedClip, expected: PreparedClip) -> None:
    """To the bit, types included."""
    for field in dataclasses.fields(expected):
        one, other = getattr(found, field.name), getattr(expected, field.name)
        if isinstance(other, np.ndarray):
            assert (one.dtype, one.shape) == (other.dtype, other.shape), field.name
            assert one.tobytes() == other.tobytes(), field.name
        else:
            assert one == other, field.name


def test_clips_come_back_from_disk_as_they_were(tmp_path):
    """With all inputs, with none, and with each alone."""
    clips = [clip_of(*INPUTS), clip_of(), *(clip_of(name) for name in INPUTS)]
    builder = write(tmp_path, clips)
    stored = list(open_records(builder))
    assert len(stored) == len(clips)
    for found, expected in zip(stored, clips, strict=True):
        assert_equal(from_record(found, INPUTS), expected)
        there = {name for name in INPUTS if found[f"has_{name}"]}
        assert there == {name for name in INPUTS if getattr(expected, name) is not None}
    none = stored[1]
    np.testing.assert_array_equal(none["landmarks"], STANDARD_LANDMARKS)
    for name, each in INPUTS.items():
        assert name == "landmarks" or not each.decode(none[name]).any()
    # Only requested inputs are read; a flow map includes the flow it is computed from.
    only = from_record(stored[0], ("flow_map",))
    assert only.apex is None and only.frames is None and only.apex_index == 0
    np.testing.assert_array_equal(only.flow, clips[0].flow)
    tfds_reads = next(iter(builder.as_data_source("train")))
    for name in ("apex", "frames", "colour"):
        pictures = tfds_reads[name].reshape(getattr(clips[0], name).shape)
        np.testing.assert_array_equal(pictures, getattr(clips[0], name))


def test_a_clip_without_a_required_input_is_rejected(tmp_path):
    builder = write(tmp_path, [clip_of(*(name for name in INPUTS if name != "landmarks"))])
    assert len(list(read_records(builder, list(INPUTS)))) == 1
    without = write(tmp_path / "without", [clip_of("apex")])
    with pytest.raises(UserError, match=r"mine/anna/Überraschung in the .* manifest has no colour"):
        list(read_records(without, ["apex", "colour"]))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("apex", b"", "the apex picture cannot be decoded"),
        ("colour", INPUTS["apex"].encode(None), r"the shape of .* in colour is \(224, 224\)"),
        ("frames", INPUTS["colour"].encode(None), r"the shape of the frames is \(1568, 224, 3\)"),
        ("adm", np.zeros((64, 9), np.float32), r"the shape of the ADM is \(64, 9\)"),
    ],
)
def test_a_damaged_record_is_refused(name, value, message):
    damaged = to_record(CLIP, clip_of(*INPUTS)) | {name: value}
    with pytest.raises(UserError, match=f"{CLIP.key}: {message}. The record is damaged"):
        from_record(damaged, INPUTS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    write(folder, [clip_of("adm")])
    return folder


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("*.array_record*", lambda data: data[:-40_000]),
        ("*.array_record*", lambda data: data[:70] + b"XXXX" + data[74:]),
        ("*.array_record*", lambda data: b""),
        ("*.array_record*", None),
        ("dataset_info.json", lambda data: b"{"),
        ("features.json", lambda data: b"null"),
        ("features.json", None),
        ("metadata.json", lambda data: b"{"),
    ],
)
def test_damaged_files_are_named_with_the_folder(name, damage, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "data")
    (folder,) = (tmp_path / "data" / "manifest" / "farneback").iterdir()
    (folder / "metadata.json").write_text("{}")
    [file] = folder.glob(name)
    if damage:
        file.write_bytes(damage(file.read_bytes()))
    else:
        file.unlink()
    message = rf"The prepared data in {folder} cannot be read \(.*`atnet doctor"
    with pytest.raises(DamagedDataError, match=message):
        list(read_records(record.prepared(tmp_path / "data", "manifest", "farneback"), []))


def test_missing_features_are_named(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "data")
    [file] = (tmp_path / "data").rglob("features.json")
    file.write_bytes(file.read_bytes().replace(b"frame_rate", b"frame_rats"))
    with pytest.raises(DamagedDataError, match=rf"in {file.parent} lack frame_rate\."):
        record.prepared(tmp_path / "data", "manifest", "farneback")


@pytest.mark.parametrize("name", INPUTS)
def test_an_array_of_another_shape_or_type_is_not_written(name):
    array = getattr(clip_of(*INPUTS), name)
    for wrong in (array[..., :-1], array[None], array.astype(np.int32)):
        with pytest.raises(ValueError, match=f"the {INPUTS[name].title}: expected"):
            INPUTS[name].encode(wrong)


def test_a_new_input_is_one_entry(tmp_path, monkeypatch):
    """Features, writing, reading, the doctor and the shapes of networks follow."""

    @dataclasses.dataclass(frozen=True)
    class WithMore(PreparedClip):
        strain: np.ndarray | None = None
        eyes: np.ndarray | None = None

    monkeypatch.setattr(record, "PreparedClip", WithMore)
    monkeypatch.setitem(INPUTS, "strain", Numbers("strain", (56, 56), since="1.3.0"))
    monkeypatch.setitem(INPUTS, "eyes", Pictures("eyes", (2, 32, 64, 3), since="1.3.0"))
    rng = np.random.default_rng(0)
    whole = WithMore(
        CLIP.key,
        frame_rate=200.0,
        strain=rng.normal(size=(56, 56)).astype(np.float32),
        eyes=rng.integers(0, 256, (2, 32, 64, 3), np.uint8),
    )
    builder = write(tmp_path, [whole, WithMore(CLIP.key, frame_rate=200.0)])
    first, second = open_records(builder)
    assert_equal(from_record(first, INPUTS), whole)
    assert_equal(from_record(second, INPUTS), WithMore(CLIP.key, frame_rate=200.0))
    with pytest.raises(UserError, match="has no strain"):
        list(read_records(builder, ["strain"]))
    names = {"dataset": "mine", "subject": "anna", "clip": "one"}
    assert examine(first | names).found == []
    for change, expected in (
        ({"strain": first["strain"] * np.inf}, ("not_finite", "strain")),
        ({"eyes": b"x"}, ("unreadable", "the eyes cannot be decoded")),
    ):
        assert examine(first | names | change).found == [expected]
    assert shapes_as_prepared(("strain", "eyes"), 112) == {
        name: array.shape for name, array in as_prepared(whole, ("strain", "eyes"), 112).items()
    }


def test_tfds_is_not_imported():
    """Worker processes start fast."""
    code = "import sys, atnet_jax.data.record; sys.exit('tensorflow_datasets' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
