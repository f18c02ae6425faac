"""What an ONNX file contains, read from its protobuf without running it; what is refused.

A descriptor is a plain network in one file. Refused are weights in other files (a path in the file
would say which file is read), graphs within graphs (loops can run for ever), functions, and
operators other than those of ONNX and the quantised ones of ONNX Runtime.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3.
"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
Field = tuple[int, int | memoryview]

_MODEL_GRAPH, _MODEL_TRAINING, _MODEL_FUNCTIONS = 7, 20, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS = 5, 10
# graph, graphs, sparse tensor, sparse tensors, types of sequences and maps
_ATTRIBUTE_REFUSED = frozenset({6, 11, 22, 23, 14, 15})
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14

_ONNX_DOMAINS = frozenset({"", "ai.onnx"})
# Operators of ONNX Runtime's own domain that its quantisation and its optimisation write.
_RUNTIME_DOMAIN = "com.microsoft"
_RUNTIME_OPERATORS = frozenset(
    {
        "DequantizeLinear",
        "DynamicQuantizeMatMul",
        "FusedConv",
        "FusedGemm",
        "FusedMatMul",
        "Gelu",
        "MatMulIntegerToFloat",
        "QGemm",
        "QLinearAdd",
        "QLinearAveragePool",
        "QLinearConcat",
        "QLinearGlobalAveragePool",
        "QLinearLeakyRelu",
        "QLinearMul",
        "QLinearSigmoid",
        "QLinearSoftmax",
        "QuantizeLinear",
    }
)
_MAX_NODES = 20_000


def check_graph(data: bytes) -> None:
    """Check the ONNX file in `data`. Raises ValueError with what is wrong."""
    graphs = 0
    for number, value in _read_fields(memoryview(data)):
        if number in (_MODEL_TRAINING, _MODEL_FUNCTIONS):
            raise ValueError("it has functions of its own; a plain network has none")
        if number == _MODEL_GRAPH:
            graphs += 1
            _check_nodes_and_weights(_message(value))
    if graphs != 1:
        raise ValueError("the file is not in the ONNX format")


def _check_nodes_and_weights(graph: memoryview) -> None:
    nodes = 0
    for number, value in _read_fields(graph):
        if number == _GRAPH_NODE:
            nodes += 1
            _check_node(_message(value))
        elif number == _GRAPH_INITIALIZER:
            _check_tensor(_message(value))
        elif number == _GRAPH_SPARSE:
            raise ValueError("sparse weights are not supported")
    if not 1 <= nodes <= _MAX_NODES:
        raise ValueError(f"it has {nodes:,} operators; 1 to {_MAX_NODES:,} are supported")


def _check_node(node: memoryview) -> None:
    operator = domain = ""
    for number, value in _read_fields(node):
        if number == _NODE_OPERATOR:
            operator = _text(value)
        elif number == _NODE_DOMAIN:
            domain = _text(value)
        elif number == _NODE_ATTRIBUTE:
            _check_attribute(_message(value))
    known = domain in _ONNX_DOMAINS or (
        domain == _RUNTIME_DOMAIN and operator in _RUNTIME_OPERATORS
    )
    if not known:
        raise ValueError(f"it has the foreign operator {domain}:{operator}"[:200])


def _check_attribute(attribute: memoryview) -> None:
    for number, value in _read_fields(attribute):
        if number in _ATTRIBUTE_REFUSED:
            raise ValueError("it has a graph within the graph, or sparse weights")
        if number in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
            _check_tensor(_message(value))


def _check_tensor(tensor: memoryview) -> None:
    for number, value in _read_fields(tensor):
        if number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and value != 0):
            raise ValueError("its weights are in another file; one file is loaded")


def _read_fields(message: memoryview) -> Iterator[Field]:
    """Yield number and value of each field of a protobuf message: an integer, or bytes."""
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _read_varint(message, at)
            yield number, value
            continue
        if kind == _BYTES:
            length, at = _read_varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError("the file is not in the ONNX format")
        if length > len(message) - at:
            raise ValueError("the file ends early, or is not in the ONNX format")
        yield number, message[at : at + length]
        at += length


def _read_varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        value, at = value | (byte & 0x7F) << shift, at + 1
        if byte < 0x80:
            return value, at
    raise ValueError("the file ends early, or is not in the ONNX format")


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("the file is not in the ONNX format")  # noqa: TRY004 - of the file's
    return value


def _text(value: int | memoryview) -> str:
    return bytes(_message(value)).decode(errors="replace")
