import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from atnet_jax.data.composite import Composite, load_composite
from atnet_jax.errors import UserError
from data_builders.prepare import prepare


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """A copy of SMIC with one clip, whose picture is turned a little from frame to frame."""
    folder = tmp_path_factory.mktemp("raw")
    path = folder / "SMIC_all_raw/HS/s01/micro/positive/s01_po_01"
    path.mkdir(parents=True)
    texture = np.random.default_rng(0).integers(0, 256, (15, 20), np.uint8)
    texture = cv2.resize(texture, (96, 72), interpolation=cv2.INTER_CUBIC)
    for frame in range(3):
        turn = cv2.getRotationMatrix2D((48, 36), frame, 1)
        picture = cv2.warpAffine(texture, turn, (96, 72), borderMode=cv2.BORDER_REFLECT)
        cv2.imwrite(str(path / f"image{frame}.bmp"), picture)
    return folder


def test_options_pick_the_folder(raw, tmp_path):
    loaded = {}
    for flow, circular in (("farneback", False), ("farneback_circular", True)):
        path = prepare(
            "smic", raw, tmp_path, face="none", flow="farneback", circular=circular, num_workers=1
        )
        options = tfds.builder_from_directory(path).info.metadata["options"]
        assert (options["flow"], options["circular"]) == ("farneback", circular)
        (loaded[circular],) = load_composite(tmp_path, ("smic",), flow, ("adm",)).inputs["adm"]
    # Magnitudes are the same; directions differ where they lie on both sides of π.
    np.testing.assert_array_equal(loaded[False][:, 1::2], loaded[True][:, 1::2])
    assert np.abs(loaded[False][:, ::2] - loaded[True][:, ::2]).max() > 1


def test_only_the_asked_options_count_as_prepared(raw, tmp_path):
    prepare("smic", raw, tmp_path, face="none", flow="farneback", num_workers=1)
    with pytest.raises(UserError) as error:
        load_composite(tmp_path, ("smic",), "farneback_circular_stabilised", ("adm",))
    assert str(error.value) == (
        f"The data set 'smic' with flow 'farneback_circular_stabilised' is not prepared in "
        f"{tmp_path}. Prepare it with: atnet prepare --dataset=smic --flow=farneback "
        f"--circular --remove_head_motion --manual_dir=FOLDER_OF_YOUR_COPY --data_dir={tmp_path}"
    )
    with pytest.raises(UserError, match="--dataset=smic --flow=dis --manual_dir="):
        load_composite(tmp_path, ("smic",), "dis", ("adm",))


def test_unknown_flow(tmp_path):
    with pytest.raises(UserError, match=r"'farneback_median'. Choose one of .* followed by _circu"):
        load_composite(tmp_path, ("smic",), "farneback_median", ("adm",))


def test_files_of_a_killed_preparation_do_not_count_as_prepared(raw, tmp_path):
    prepare("smic", raw, tmp_path, face="none", flow="farneback", num_workers=1)
    left = tmp_path / "smic/farneback/incomplete.ABCDEF_1.0.0"
    left.mkdir()
    (left / "dataset_info.json").write_text("{")
    assert load_composite(tmp_path, ("smic",), "farneback", ("adm",)).clip == ["s01_po_01"]


def test_sets_of_pictures_are_no_composite(tmp_path):
    with pytest.raises(UserError, match="'jaffe' contains pictures of macro-expressions"):
        load_composite(tmp_path, ("jaffe",), "farneback", ("apex",))


def test_a_clip_has_the_same_digest_wherever_it_stands():
    rng = np.random.default_rng(0)
    inputs = {"apex": rng.integers(0, 255, (3, 8, 8, 1), np.uint8), "adm": rng.normal(size=(3, 5))}

    def digests(inputs):
        keys = (["d"] * 3, ["s"] * 3, ["a", "b", "c"])
        return Composite(inputs, np.zeros(3, np.int32), *keys).clip_digests()

    first = digests(inputs)
    assert [sorted(own) for own in first] == [["adm", "apex"]] * 3
    assert len({digest for own in first for digest in own.values()}) == 6
    assert digests({name: array[::-1] for name, array in inputs.items()}) == first[::-1]
    assert digests({name: np.asfortranarray(a) for name, a in inputs.items()}) == first
    big_endian = {name: a.astype(a.dtype.newbyteorder(">")) for name, a in inputs.items()}
    assert digests(big_endian) == first
    inputs["apex"][1, 7, 7, 0] += 1
    changed = digests(inputs)
    assert changed[1]["apex"] != first[1]["apex"] and changed[1]["adm"] == first[1]["adm"]
    assert changed[::2] == first[::2]
    turned = digests({"apex": inputs["apex"].reshape(3, 4, 16, 1)})
    assert turned[0]["apex"] != first[0]["apex"]
