"""Reader of the layers' arrays in a binary .caffemodel, without Caffe.

The file is one protocol buffer message, Caffe's NetParameter. This module describes only the parts
that contain arrays; protobuf skips the rest. Caffe's `src/caffe/proto/caffe.proto` and
`Blob::FromProto` in `src/caffe/blob.cpp` define the field numbers and their meaning.
"""

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from atnet_jax.errors import UserError
from atnet_jax.system.files import refuse_pointer

# ATNet needs 33 MB, or 133 MB if a solver stores gradients in double precision.
_MAX_BYTES = 150_000_000
# A parsed message needs much more memory than its bytes; the limit excludes millions of empty ones.
_MAX_LAYERS = 10_000
_MAX_BLOBS = 100
_MAX_AXES = 32  # Caffe's own limit.
_MAX_NAME = 200
_LEGACY_AXES = ("num", "channels", "height", "width")

_Field = descriptor_pb2.FieldDescriptorProto
# Message → its fields: name, number, type, repeated or not. Names of layers are read as bytes,
# because in a damaged file they may not be valid text.
_MESSAGES = {
    "BlobShape": [("dim", 1, _Field.TYPE_INT64, True)],
    "BlobProto": [
        *((axis, number, _Field.TYPE_INT64, False) for number, axis in enumerate(_LEGACY_AXES, 1)),
        ("data", 5, _Field.TYPE_FLOAT, True),
        ("shape", 7, "BlobShape", False),
        ("double_data", 8, _Field.TYPE_DOUBLE, True),
    ],
    "LayerParameter": [("name", 1, _Field.TYPE_BYTES, False), ("blobs", 7, "BlobProto", True)],
    "V1LayerParameter": [
        ("v0_layer", 1, _Field.TYPE_BYTES, False),
        ("name", 4, _Field.TYPE_BYTES, False),
        ("blobs", 6, "BlobProto", True),
    ],
    "NetParameter": [
        ("layers", 2, "V1LayerParameter", True),
        ("layer", 100, "LayerParameter", True),
    ],
}


def read(path: Path) -> tuple[dict[str, list[np.ndarray]], str]:
    """Read a binary .caffemodel, with Caffe's old (V1) or current layer messages.

    Args:
        path: The file.

    Returns:
        Layer → arrays (Caffe's blobs), float32, in Caffe's order and shapes, without layers that
        have no arrays; and the SHA-256 of the file in hexadecimal.

    Raises:
        UserError: The file does not exist, is too large or damaged, or is not a .caffemodel.
    """
    data = _bytes(path)
    net = _net_parameter_class()()
    try:
        net.ParseFromString(data)
    except DecodeError as error:
        raise UserError(
            f"{path}: The file cannot be read as a binary .caffemodel (protocol buffer). It is"
            f" incomplete, damaged or in another format; copy it again."
        ) from error

    if len(net.layers) + len(net.layer) > _MAX_LAYERS:
        raise UserError(
            f"{path}: The file has {len(net.layers) + len(net.layer):,} layers, expected at most"
            f" {_MAX_LAYERS:,}. It is damaged or not a .caffemodel; copy it again."
        )
    if any(layer.HasField("v0_layer") for layer in net.layers):
        raise UserError(
            f"{path}: The file has Caffe's first format (V0 layers), expected V1 or the current"
            f" format. Convert it with Caffe's upgrade_net_proto_binary."
        )
    layers: dict[str, list[np.ndarray]] = {}
    for message in (*net.layers, *net.layer):
        if not message.blobs:
            continue
        name = message.name.decode("utf-8", "replace")
        if not name.isprintable() or len(name) > _MAX_NAME:
            place = f"{path}: Layer {len(layers) + 1} with arrays"
            raise UserError(_damaged(place, f"has a name that is not valid text: {name[:20]!a}"))
        if name in layers:
            raise UserError(
                f"{path}: Two layers with arrays are called {name!r}, expected one. Give them"
                f" different names and save the network again."
            )
        if len(message.blobs) > _MAX_BLOBS:
            held = f"has {len(message.blobs):,} arrays, expected at most {_MAX_BLOBS}"
            raise UserError(_damaged(f"{path}: Layer {name!r}", held))
        layers[name] = [
            _array(f"{path}: Layer {name!r}, blob {number}", blob)
            for number, blob in enumerate(message.blobs)
        ]
    if not layers:
        raise UserError(
            f"{path}: The file has no layer with arrays. Expected a trained network (.caffemodel),"
            f" not its definition or a solver's state."
        )
    return layers, hashlib.sha256(data).hexdigest()


def _damaged(place: str, what: str) -> str:
    return f"{place} {what}. The file is damaged; copy it again."


def _bytes(path: Path) -> bytes:
    """Return the content of a file that can be a .caffemodel by its size and first bytes."""
    try:
        if not path.exists():
            raise UserError(f"{path}: No such file. Give a binary .caffemodel.")
        if not path.is_file():
            raise UserError(f"{path}: The path is not a file. Give a binary .caffemodel.")
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise UserError(
                f"{path}: The file has {size:,} bytes, expected at most {_MAX_BYTES:,}. Give the"
                f" .caffemodel of a supported network, which has about 33 million bytes."
            )
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: The file cannot be read ({error}).") from error
    if not data:
        raise UserError(f"{path}: The file is empty. Give a binary .caffemodel.")
    refuse_pointer(path, data)
    # The tag of every layer and the numbers after it contain control characters; text does not.
    if not any(byte < 0x20 and byte not in b"\t\n\f\r" for byte in data[:4096]):
        raise UserError(
            f"{path}: The file is a text file, perhaps the definition of a network (.prototxt)."
            f" Expected the trained weights, a binary .caffemodel."
        )
    return data


def _array(place: str, blob: Any) -> np.ndarray:
    """Return a blob as a float32 array, refusing a shape without its data before allocating."""
    if any(blob.HasField(axis) for axis in _LEGACY_AXES):
        shape = tuple(getattr(blob, axis) for axis in _LEGACY_AXES)
    else:
        if len(blob.shape.dim) > _MAX_AXES:
            axes = len(blob.shape.dim)
            raise UserError(_damaged(place, f"has {axes} axes, expected at most {_MAX_AXES}"))
        shape = tuple(blob.shape.dim)
    values = blob.double_data or blob.data
    if min(shape, default=1) < 1 or math.prod(shape) != len(values):
        found = f"has the shape {shape} and {len(values)} numbers, which do not match"
        raise UserError(_damaged(place, found))
    with np.errstate(over="ignore"):
        array = np.array(values).astype(np.float32).reshape(shape)
    if not np.isfinite(array).all():
        raise UserError(
            f"{place} has infinite or undefined (NaN) values. The training that wrote the file"
            f" failed, or the file is damaged. Use an earlier file."
        )
    return array


def _net_parameter_class() -> Any:
    """Return Protobuf's class of NetParameter, built from `_MESSAGES`."""
    file = descriptor_pb2.FileDescriptorProto(
        name="caffemodel.proto", package="caffe", syntax="proto2"
    )
    labels = _Field.LABEL_OPTIONAL, _Field.LABEL_REPEATED
    for message_name, fields in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for name, number, kind, repeated in fields:
            field = message.field.add(name=name, number=number, label=labels[repeated])
            if isinstance(kind, str):
                field.type = _Field.TYPE_MESSAGE
                field.type_name = f".caffe.{kind}"
            else:
                field.type = kind
    # A separate pool, because an installed Caffe registers messages of the same names.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))
