"""Which files describe which image, and what they declare."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.sources.item import UnreadableItem
from api.sources.sidecars import (
    MAX_SAMPLE_FILES,
    MAX_SIDECAR_BYTES,
    Listed,
    group_samples,
    read_sidecars,
    sample_key,
)
from index.jsontext import JSON
from tests.work import count_calls


def paired(*names: str) -> list[tuple[str, list[str]]]:
    found = group_samples(Listed(name, place) for place, name in enumerate(names))
    return [(sample.file.name, [sidecar.name for sidecar in sample.sidecars]) for sample in found]


def declared(files: Mapping[str, bytes]) -> dict[str, JSON]:
    return read_sidecars(
        (name, lambda max_bytes, content=content: content[: max_bytes + 1])
        for name, content in files.items()
    )


def test_a_sidecar_without_an_image_is_an_item() -> None:
    assert paired("a.json") == [("a.json", [])]
    assert paired("a.json", "b.png", "b/a.png") == [("a.json", []), ("b.png", []), ("b/a.png", [])]
    assert paired("a.json", "a.txt") == [("a.json", []), ("a.txt", [])]


def test_a_sidecar_says_nothing_of_an_image_that_its_name_contradicts() -> None:
    assert paired("f.1.json", "f.2.png", "f.2.txt") == [("f.1.json", []), ("f.2.png", ["f.2.txt"])]
    assert paired("f.1.2.json", "f.1.png", "f.png") == [("f.1.png", ["f.1.2.json"]), ("f.png", [])]
    assert paired("a.jpg", "a.jpg.json", "a.png") == [("a.jpg", ["a.jpg.json"]), ("a.png", [])]


def test_a_sidecar_is_told_of_all_images_that_go_on_from_its_name() -> None:
    assert paired("f.1.png", "f.2.png", "f.json") == [
        ("f.1.png", ["f.json"]),
        ("f.2.png", ["f.json"]),
    ]
    assert paired("x/a.JPG", "x/a.cls", "x/a.png", "x/a.TXT") == [
        ("x/a.JPG", ["x/a.cls", "x/a.TXT"]),
        ("x/a.png", ["x/a.cls", "x/a.TXT"]),
    ]


def test_a_longer_sidecar_is_told_of_the_image_before_its_suffixes() -> None:
    assert paired("a.jpg", "a.meta.json") == [("a.jpg", ["a.meta.json"])]


def test_only_neighbours_are_taken_together() -> None:
    assert paired("a.png", "b.png", "a.json") == [("a.png", []), ("b.png", []), ("a.json", [])]


def test_names_without_suffixes_and_with_odd_dots_are_taken_as_they_are() -> None:
    assert paired("a", "a.json") == [("a", ["a.json"])]
    assert paired("json", "b") == [("json", []), ("b", [])]
    assert paired("a.", "a..png", "a.txt") == [("a.", ["a.txt"]), ("a..png", ["a.txt"])]
    assert paired("v1.0/a.png", "v1.0/a.json", "v1.0/b.json") == [
        ("v1.0/a.png", ["v1.0/a.json"]),
        ("v1.0/b.json", []),
    ]


def test_a_sample_of_any_length_is_held_in_parts_that_keep_names_together() -> None:
    names = [f"frame.{number:06d}.{suffix}" for number in range(5000) for suffix in ("json", "png")]
    pulled = 0

    def pull() -> list[Listed[int]]:
        nonlocal pulled
        for name in names:
            pulled += 1
            yield Listed(name, 0)

    found = group_samples(pull())
    first = next(found)
    assert (first.file.name, pulled) == ("frame.000000.png", MAX_SAMPLE_FILES + 1)
    rest = list(found)
    assert len(rest) == 4999
    assert all(
        [sidecar.name for sidecar in sample.sidecars] == [sample.file.name[:-3] + "json"]
        for sample in rest
    )


def test_names_of_nothing_but_dots_cost_no_more_than_a_few_steps_each() -> None:
    names = ["a" + "." * 4000 + f"{number}.png" for number in range(2000)]
    with count_calls() as work:
        assert len(paired(*names)) == 2000
    assert work.calls < 200 * len(names)


FILES = st.lists(
    st.tuples(
        st.sampled_from(["a", "a.b", "b", "d/a", "a.b.c"]),
        st.sampled_from(["", ".png", ".json", ".txt", ".x.cls"]),
    )
)


@given(FILES)
def test_every_file_is_an_item_or_told_of_one_in_its_order(files: list[tuple[str, str]]) -> None:
    listed = [Listed(stem + suffix, place) for place, (stem, suffix) in enumerate(files)]
    found = list(group_samples(listed))
    items = [sample.file.place for sample in found]
    beside = {sidecar.place for sample in found for sidecar in sample.sidecars}
    assert items == sorted(items)
    assert sorted([*items, *beside]) == list(range(len(listed)))
    for sample in found:
        assert {sample_key(sidecar.name) for sidecar in sample.sidecars} <= {
            sample_key(sample.file.name)
        }


def test_a_sidecar_that_cannot_be_read_is_told_as_an_error() -> None:
    def gone(max_bytes: int) -> bytes:
        raise UnreadableItem("not_found", "no such file")

    assert read_sidecars([("x/a.json", gone)]) == {
        "sidecar_error": "a.json: not_found: no such file"
    }


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("a.json", b'{"a": "\xff"}', "a.json: not UTF-8 text at byte 7"),
        ("a.txt", "text".encode("utf-16"), "a.txt: not UTF-8 text at byte 0"),
        ("a.txt", b"a\0b", "a.txt: contains a NUL character, which cannot be stored"),
        ("a.json", b'{"a": "\\u0000"}', "a.json: contains a NUL character, which cannot be stored"),
    ],
)
def test_what_is_no_text_is_told_as_an_error(name: str, content: bytes, error: str) -> None:
    assert declared({name: content}) == {"sidecar_error": error}


@pytest.mark.parametrize(
    "text",
    [
        "[1, 2]",
        "3",
        "null",
        "",
        '{"a": ',
        '{"a": NaN}',
        '{"a": 1e999}',
        '{"a": "\\ud800"}',
        "[" * 100_000,
        '{"a": ' + "9" * 5000 + "}",
    ],
)
def test_json_that_is_no_object_or_cannot_be_stored_is_told_as_text(text: str) -> None:
    assert declared({"a.json": text.encode()}) == {"json": text}


def test_of_a_huge_sidecar_the_beginning_is_told_in_whole_characters() -> None:
    error = f"only its first {MAX_SIDECAR_BYTES:,} bytes are kept"
    content = ("x" + "ü" * MAX_SIDECAR_BYTES).encode()
    assert declared({"a.txt": content}) == {
        "caption": content[: MAX_SIDECAR_BYTES - 1].decode(),
        "sidecar_error": f"a.txt: {error}",
    }
    huge = declared({"a.json": json.dumps({"key": "v" * MAX_SIDECAR_BYTES}).encode()})
    assert (sorted(huge), huge["sidecar_error"]) == (["json", "sidecar_error"], f"a.json: {error}")


def test_two_sidecars_that_disagree_are_both_told() -> None:
    files = {
        "x/a.txt": b"a cat",
        "x/a.json": b'{"caption": "a dog", "n": 1}',
        "x/a.b.json": b'{"n": 1, "m": 2}',
    }
    assert declared(files) == {"caption": "a dog", "n": 1, "m": 2, "a.txt:caption": "a cat"}
    assert declared({"a.txt": b"same", "a.json": b'{"caption": "same"}'}) == {"caption": "same"}


def test_sidecars_are_told_by_their_kinds() -> None:
    assert declared({"a.json": b'\xef\xbb\xbf{"n": [1.5, {"k": null}], "t": true}'}) == {
        "n": [1.5, {"k": None}],
        "t": True,
    }
    assert declared({"a.TXT": "ein Bär\n".encode()}) == {"caption": "ein Bär\n"}
    assert [
        declared({"a.cls": text})["class"]
        for text in (b"7\n", b" 007", b"-1", b"cat ", b"\xc2\xb2", b"9" * 30)
    ] == [
        7,
        7,
        "-1",
        "cat",
        "²",
        "9" * 30,
    ]
