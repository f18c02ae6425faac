"""Multipart forms: however the body is cut, and whatever is wrong with it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.types import Message

from api.errors import InvalidRequest
from api.http.forms import IN_MEMORY_BYTES, MAX_FIELD_BYTES, open_form

HEAD = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
FIELD = b'--x\r\nContent-Disposition: form-data; name="query"\r\n\r\n'
END = b"\r\n--x--\r\n"


def read(pieces: Sequence[bytes], counted: list[int] | None = None) -> dict[str, object]:
    left = list(pieces)

    async def receive() -> Message:
        piece = left.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(left)}

    async def run() -> dict[str, object]:
        headers = [(b"content-type", b"multipart/form-data; boundary=x")]
        request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
        count = None if counted is None else counted.append
        async with open_form(request, ("image", "query"), count=count) as form:
            return {
                name: value.file.read() if isinstance(value, UploadFile) else value
                for name, value in form.multi_items()
            }

    return asyncio.run(run())


@given(
    st.binary(max_size=200) | st.sampled_from([b"\r\n--", b"\r\n--x" * 3, b"--x--"]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
    st.lists(st.integers(0, 400), max_size=6),
)
def test_a_form_is_the_same_however_it_is_cut(data: bytes, text: str, cuts: list[int]) -> None:
    if b"\r\n--x" in data:
        data = data.replace(b"\r\n--x", b"\r\n--y")
    if b"\r\n--x" in text.encode():
        return
    body = HEAD + data + b"\r\n" + FIELD + text.encode() + END
    places = [0, *sorted(min(each, len(body)) for each in cuts), len(body)]
    pieces = [body[a:b] for a, b in itertools.pairwise(places)]
    counted: list[int] = []
    assert read(pieces, counted) == {"image": data, "query": text}
    assert sum(counted) == len(body)


def test_a_file_larger_than_what_stays_in_memory_is_whole() -> None:
    data = bytes(range(256)) * (IN_MEMORY_BYTES // 256 + 1)
    assert read([HEAD, data, END])["image"] == data


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ([b""], "no end"),
        ([HEAD, b"data"], "no end"),
        ([b"nonsense"], "not a multipart form"),
        ([HEAD, b"a\r\n", HEAD, b"a", END], "more than 1 file"),
        ([FIELD, bytes(MAX_FIELD_BYTES + 1), END], "more than"),
        ([FIELD, b"\xff", END], "not UTF-8"),
        ([FIELD, b"\0", END], "U+0000"),
        ([FIELD.replace(b"query", b"other"), b"a", END], "means nothing"),
        ([b"--x\r\n\r\na", END], "no name"),
        ([FIELD + b"a\r\n"] * 20 + [END], "parts"),
    ],
)
def test_what_is_wrong_is_said(pieces: list[bytes], reason: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(pieces)
    assert reason in str(caught.value)
