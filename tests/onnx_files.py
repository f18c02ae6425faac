"""Small ONNX files for tests, written as protobuf by hand: the package onnx is not needed.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3.
"""

from __future__ import annotations

from collections.abc import Sequence

FLOAT, UINT8, INT64 = 1, 2, 7
_INTEGER, _INTEGERS = 2, 7  # AttributeProto.Type


def field(number: int, value: int | bytes | str) -> bytes:
    """Return one field of a message: an integer, or bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    pieces = bytearray()
    while value > 0x7F:
        pieces.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*pieces, value])


def node(
    operator: str,
    inputs: Sequence[str],
    output: str,
    attributes: Sequence[bytes] = (),
    domain: str = "",
) -> bytes:
    parts = [field(1, each) for each in inputs] + [field(2, output), field(4, operator)]
    parts += [field(5, each) for each in attributes]
    return b"".join(parts) + (field(7, domain) if domain else b"")


def integer(name: str, value: int) -> bytes:
    return field(1, name) + field(3, value) + field(20, _INTEGER)


def integers(name: str, values: Sequence[int]) -> bytes:
    return field(1, name) + b"".join(field(8, each) for each in values) + field(20, _INTEGERS)


def tensor(name: str, data: bytes, *, further: bytes = b"") -> bytes:
    """Return a vector of float32 as weights."""
    return field(1, len(data) // 4) + field(2, FLOAT) + field(8, name) + field(9, data) + further


def value(name: str, kind: int, shape: Sequence[int | str]) -> bytes:
    """Return an input or an output; a text in the shape is a size that is left open."""
    sides = [field(1, field(2 if isinstance(each, str) else 1, each)) for each in shape]
    return field(1, name) + field(2, field(1, field(1, kind) + field(2, b"".join(sides))))


def model(
    nodes: Sequence[bytes],
    inputs: Sequence[bytes],
    outputs: Sequence[bytes],
    weights: Sequence[bytes] = (),
    *,
    further: bytes = b"",
) -> bytes:
    """Return the file. `further` are fields of the graph."""
    graph = b"".join(field(1, each) for each in nodes) + field(2, "tiny")
    graph += b"".join(field(5, each) for each in weights)
    graph += b"".join(field(11, each) for each in inputs)
    graph += b"".join(field(12, each) for each in outputs)
    opset = field(1, "") + field(2, 13)
    return field(1, 8) + field(7, graph + further) + field(8, opset)


def pixel_network(height: int | str = 8, width: int | str = 8) -> bytes:
    """A descriptor of the mean colour (n, 3) of uint8 pixels (n, h, w, 3)."""
    nodes = [
        node("Cast", ["image"], "values", [integer("to", FLOAT)]),
        node("ReduceMean", ["values"], "mean", [integers("axes", [1, 2]), integer("keepdims", 0)]),
    ]
    return model(
        nodes,
        [value("image", UINT8, ["n", height, width, 3])],
        [value("mean", FLOAT, ["n", 3])],
    )


def float_network(height: int | str = "h", width: int | str = "w") -> bytes:
    """A descriptor of the mean (n, 3) of normalised values (n, 3, h, w)."""
    nodes = [
        node("GlobalAveragePool", ["image"], "pooled"),
        node("Flatten", ["pooled"], "mean"),
    ]
    return model(
        nodes,
        [value("image", FLOAT, ["n", 3, height, width])],
        [value("mean", FLOAT, ["n", 3])],
    )
