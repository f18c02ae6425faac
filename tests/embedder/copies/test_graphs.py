"""What an ONNX file may contain: everything else is refused before ONNX Runtime sees it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.copies.graphs import check_graph
from tests.onnx_files import (
    FLOAT,
    field,
    float_network,
    integer,
    model,
    node,
    pixel_network,
    tensor,
    value,
)

INPUTS = [value("image", FLOAT, ["n", 3, 8, 8])]
OUTPUTS = [value("out", FLOAT, ["n", 3])]
ONE = bytes(4)
ELSEWHERE = field(13, field(1, "location") + field(2, "../../etc/passwd"))


def network(*nodes: bytes, weights: tuple[bytes, ...] = (), further: bytes = b"") -> bytes:
    return model(nodes, INPUTS, OUTPUTS, weights, further=further)


POOL = node("GlobalAveragePool", ["image"], "out")
WITHIN = field(6, field(1, POOL))  # an attribute that is a graph

REFUSED = {
    "weights in another file": (network(POOL, weights=(tensor("w", ONE, further=ELSEWHERE),)),),
    "weights that say that they are elsewhere": (
        network(POOL, weights=(tensor("w", ONE, further=field(14, 1)),)),
    ),
    "weights in another file, as a constant": (
        network(
            node("Constant", [], "w", [field(1, "value") + field(5, tensor("w", ONE) + ELSEWHERE)])
        ),
    ),
    "weights in another file, in a list of them": (
        network(node("Add", ["image"], "out", [field(1, "x") + field(10, ELSEWHERE)])),
    ),
    "sparse weights": (network(POOL, further=field(15, field(1, tensor("w", ONE)))),),
    "a loop": (network(node("Loop", ["image"], "out", [field(1, "body") + WITHIN])),),
    "a branch": (network(node("If", ["image"], "out", [field(1, "a") + field(11, b"")])),),
    "an operator of somebody": (network(node("Shell", ["image"], "out", domain="org.example")),),
    "an unusual operator of the runtime": (
        network(node("BeamSearch", ["image"], "out", domain="com.microsoft")),
    ),
    "functions": (network(POOL) + field(25, field(1, "f")),),
    "a part for training": (network(POOL) + field(20, b""),),
    "no operators": (network(),),
    "no graph": (field(1, 8),),
    "two graphs": (network(POOL) + network(POOL),),
    "nothing": (b"",),
    "text": (b"<html>not a network</html>",),
    "safetensors": (b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ",),
}


@pytest.mark.parametrize("data", [each[0] for each in REFUSED.values()], ids=list(REFUSED))
def test_what_no_plain_network_in_one_file_has_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"operator|graph|weights|functions|ONNX|file"):
        check_graph(data)


@given(st.integers(1, 400))
def test_a_file_that_ends_early_is_refused(length: int) -> None:
    whole = network(POOL, node("Relu", ["out"], "out"), weights=(tensor("w", bytes(400)),))
    start = whole[: min(length, len(whole) - 12)]  # behind it stands the version alone
    with pytest.raises(ValueError, match=r"ends early|ONNX"):
        check_graph(start)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_by_the_one_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"operator|graph|weights|functions|ONNX|file"):
        check_graph(data)


def test_plain_networks_and_quantised_operators_are_accepted() -> None:
    check_graph(pixel_network())
    check_graph(float_network())
    check_graph(
        network(
            node("QLinearAdd", ["image"], "sum", domain="com.microsoft"),
            node("Relu", ["sum"], "out", [integer("x", 1)]),
            weights=(tensor("w", ONE),),
        )
    )
