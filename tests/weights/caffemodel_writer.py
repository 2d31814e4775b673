"""Writer of .caffemodel files, byte by byte and independent of the code that reads them.

A message is a sequence of fields: a tag (field number · 8 + kind), then a number (kind 0, seven
bits per byte, lowest first) or a length and this number of bytes (kind 2). Field numbers are those
of caffe.proto.
"""

from collections.abc import Mapping, Sequence

import numpy as np


def varint(value: int) -> bytes:
    """A number below 2**64; negative ones as their two's complement."""
    value %= 2**64
    out = bytearray()
    while value > 127:
        out.append(value % 128 + 128)
        value //= 128
    return bytes([*out, value])


def number(field: int, value: int) -> bytes:
    return varint(field * 8) + varint(value)


def chunk(field: int, content: bytes) -> bytes:
    return varint(field * 8 + 2) + varint(len(content)) + content


def blob(array: np.ndarray, shape: Sequence[int] | None = None, *, style: str = "shape") -> bytes:
    """A BlobProto.

    Args:
      array: the numbers.
      shape: what the message says instead of the array's shape.
      style: "shape" (today's); "legacy" (four axes, the first ones 1); "unpacked" (each number with
        a tag); "double" (double precision).
    """
    shape = array.shape if shape is None else shape
    if style == "legacy":
        dims = [1] * (4 - len(shape)) + [*shape]
        head = b"".join(number(field, dim) for field, dim in enumerate(dims, 1))
    elif style == "unpacked":
        head = chunk(7, b"".join(number(1, dim) for dim in shape))
    else:
        head = chunk(7, chunk(1, b"".join(map(varint, shape))))
    if style == "double":
        return head + chunk(8, array.astype("<f8").tobytes())
    data = array.astype("<f4")
    if style == "unpacked":
        return head + b"".join(varint(5 * 8 + 5) + value.tobytes() for value in data.ravel())
    return head + chunk(5, data.tobytes())


def layer(name: str | bytes, blobs: Sequence[bytes], kind: str = "Layer") -> bytes:
    """Field of a NetParameter: a layer as Caffe writes it today."""
    name = name.encode() if isinstance(name, str) else name
    message = chunk(1, name) + chunk(2, kind.encode()) + chunk(3, b"below") + chunk(4, b"above")
    return chunk(100, message + b"".join(chunk(7, blob) for blob in blobs) + number(10, 1))


def v1_layer(name: str, blobs: Sequence[bytes], kind: int = 4) -> bytes:
    """Field of a NetParameter: a layer as Caffe wrote it until 2014 (V1)."""
    message = chunk(2, b"below") + chunk(3, b"above") + chunk(4, name.encode()) + number(5, kind)
    message += b"".join(chunk(6, blob) for blob in blobs)
    return chunk(2, message + varint(7 * 8 + 5) + np.float32(1).tobytes())


def v0_layer(name: str, blobs: Sequence[bytes]) -> bytes:
    """Field of a NetParameter: a layer of Caffe's first format, within a V1 layer."""
    message = chunk(1, name.encode()) + b"".join(chunk(50, blob) for blob in blobs)
    return chunk(2, chunk(1, message))


def network(*layers: bytes) -> bytes:
    """A NetParameter, with a name, an input and layers without blobs, as real files have."""
    return b"".join([
        chunk(1, b"ResNet"), chunk(3, b"data"), number(4, 1),
        layer("data", []), *layers, layer("relu", []), layer("data", []),
    ])  # fmt: skip


def caffemodel(
    blobs: Mapping[str, Sequence[np.ndarray]], style: str = "shape", v1: bool = False
) -> bytes:
    """The file of a network: layer → arrays."""
    write = v1_layer if v1 else layer
    return network(
        *(write(name, [blob(a, style=style) for a in arrays]) for name, arrays in blobs.items())
    )
