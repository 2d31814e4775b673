import hashlib
import os
import resource
import sys

import numpy as np
import pytest

from atnet_jax.errors import UserError
from atnet_jax.weights import caffemodel
from tests.weights.caffemodel_writer import (
    blob,
    chunk,
    layer,
    network,
    number,
    v0_layer,
    v1_layer,
    varint,
)
from tests.weights.caffemodel_writer import (
    caffemodel as write,
)


def some_layers():
    rng = np.random.default_rng(0)
    return {
        "conv1": [rng.normal(size=(4, 1, 3, 3)), rng.normal(size=4)],
        "conv1_bn": [rng.normal(size=4), rng.normal(size=4), rng.normal(size=1)],
        "lstm1": [rng.normal(size=(8, 3)), rng.normal(size=8), rng.normal(size=(8, 2))],
    }


def read(tmp_path, data: bytes):
    path = tmp_path / "a.caffemodel"
    path.write_bytes(data)
    return caffemodel.read(path)


@pytest.mark.parametrize("style", ["shape", "legacy", "unpacked", "double"])
@pytest.mark.parametrize("v1", [False, True])
def test_a_written_file_is_read_back(tmp_path, style, v1):
    expected = some_layers()
    data = write(expected, style, v1)
    layers, sha256 = read(tmp_path, data)
    assert list(layers) == list(expected)
    for name, arrays in expected.items():
        for found, array in zip(layers[name], arrays, strict=True):
            shape = (1,) * (4 - array.ndim) + array.shape if style == "legacy" else array.shape
            assert found.dtype == np.float32
            assert found.shape == shape
            assert np.array_equal(found, array.astype(np.float32).reshape(shape))
    assert sha256 == hashlib.sha256(data).hexdigest()


def test_both_kinds_of_layers_in_one_file_and_fields_split_or_repeated(tmp_path):
    split = chunk(5, np.float32([1, 2]).tobytes()) + chunk(5, np.float32([3]).tobytes())
    data = network(
        v1_layer("a", [chunk(7, chunk(1, varint(3))) + split]),
        layer("b", [chunk(5, np.float32([4]).tobytes())]),  # No shape: a single number.
    )
    layers, _ = read(tmp_path, data)
    assert np.array_equal(layers["a"][0], [1, 2, 3])
    assert layers["b"][0].shape == ()


def test_double_precision_comes_first_as_in_caffe(tmp_path):
    both = blob(np.arange(3), style="double") + chunk(5, np.float32([7, 8, 9]).tobytes())
    assert np.array_equal(read(tmp_path, layer("a", [both]))[0]["a"][0], [0, 1, 2])


ONE = np.ones(1)
BAD_FILES = {
    "empty": (b"", "is empty"),
    "prototxt": (b'name: "ResNet"\nlayer {\n  name: "data"\n}\n', r"text file.*\.prototxt"),
    "html": ("<!DOCTYPE html>\n<p>Größe".encode(), "text file"),
    "random": (np.random.default_rng(0).bytes(3000), "cannot be read as a binary .caffemodel"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "cannot be read as a binary .caffemodel"),
    "truncated": (write(some_layers())[:-50], "incomplete"),
    "no layer": (network(), "no layer with arrays"),
    "v0": (network(v0_layer("a", [blob(ONE)])), "first format .*upgrade_net_proto_binary"),
    "twice": (network(layer("a", [blob(ONE)]), layer("a", [blob(ONE)])), "Two layers .* 'a'"),
    "twice, V1": (network(layer("a", [blob(ONE)]), v1_layer("a", [blob(ONE)])), "Two layers"),
    "too few": (layer("a", [blob(ONE, (2,))]), r"'a', blob 0 has the shape \(2,\) and 1 numbers"),
    "too many": (layer("a", [blob(np.ones(3), (2,))]), r"shape \(2,\) and 3 numbers"),
    "legacy": (layer("a", [blob(ONE, (2, 3), style="legacy")]), r"\(1, 1, 2, 3\) and 1 numbers"),
    "legacy, one axis": (
        layer("a", [number(1, 1) + chunk(5, bytes(4))]),
        r"\(1, 0, 0, 0\) and 1 numbers",
    ),
    "negative": (layer("a", [blob(ONE, (-1, -1))]), r"shape \(-1, -1\)"),
    "huge": (layer("a", [blob(ONE, (2**62, 2**62))]), r"shape \(4611686018427387904, 46"),
    "wraps to 1": (layer("a", [blob(ONE, (2**63 - 1, 2**63 - 1))]), "do not match"),
    "wraps to 1, legacy": (layer("a", [blob(ONE, (2**32 + 1,), style="legacy")]), "4294967297"),
    "no numbers": (layer("a", [blob(np.ones(0), (0, 2**62))]), "shape"),
    "axes": (layer("a", [blob(ONE, (1,) * 33)]), "33 axes, expected at most 32"),
    "NaN": (layer("a", [blob(ONE), blob(ONE * np.nan)]), "'a', blob 1 .*NaN"),
    "infinite": (layer("a", [blob(-ONE * np.inf)]), "infinite"),
    "too large": (layer("a", [blob(ONE * 1e300, style="double")]), "infinite"),
    "layers": (b"\x12\x00" * 10_001, "10,001 layers, expected at most 10,000"),
    "blobs": (layer("a", [b""] * 101), "'a' has 101 arrays, expected at most 100"),
    "name": (layer(b"\x1b[2J", [blob(ONE)]), r"not valid text: '\\x1b\[2J'"),
    "long name": (layer(b"a" * 10**5, [blob(ONE)]), "not valid text: 'aaaaaaaaaaaaaaaaaaaa'"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_refused(tmp_path, name):
    data, message = BAD_FILES[name]
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path, data)
    assert str(caught.value).startswith(str(tmp_path / "a.caffemodel"))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_names_that_are_no_utf8_are_read(tmp_path):
    assert list(read(tmp_path, layer(b"a\xff", [blob(ONE)]))[0]) == ["a\ufffd"]


def test_other_paths_are_rejected(tmp_path):
    with pytest.raises(UserError, match="none: No such file"):
        caffemodel.read(tmp_path / "none")
    with pytest.raises(UserError, match="is not a file"):
        caffemodel.read(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe: The path is not a file"):
        caffemodel.read(tmp_path / "pipe")
    with pytest.raises(UserError, match="cannot be read"):
        caffemodel.read(tmp_path / ("a" * 300))


def test_a_file_far_too_large_is_refused_unread(tmp_path):
    path = tmp_path / "a.caffemodel"
    with path.open("wb") as file:
        file.truncate(3 * 2**30)  # Takes no space on the disk.
    with pytest.raises(UserError, match="3,221,225,472 bytes, expected at most 150,000,000"):
        caffemodel.read(path)


def test_damage_of_any_kind_is_refused_or_read(tmp_path):
    """Truncations and changed bytes: a result or a UserError, and never much memory."""
    layers = some_layers()
    files = [write(layers), write(layers, "legacy", v1=True), write(layers, "double")]
    rng = np.random.default_rng(0)
    path = tmp_path / "a.caffemodel"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read_anyway = refused = 0
    for trial in range(1200):
        data = bytearray(files[trial % len(files)])
        if trial % 2:
            del data[rng.integers(len(data)) :]
        for position in rng.integers(len(data), size=rng.integers(0, 6)) if data else ():
            data[position] = rng.integers(256)
        path.write_bytes(data)
        try:
            layers, _ = caffemodel.read(path)
        except UserError as error:
            refused += 1
            assert str(error).startswith(str(path))
        else:
            read_anyway += 1
            assert all(np.isfinite(a).all() for arrays in layers.values() for a in arrays)
    assert min(read_anyway, refused) > 150
    if sys.platform == "linux":  # Elsewhere the unit is another.
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB
