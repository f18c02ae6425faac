"""What holds of every source: its items do not depend on how the listing was cut and in which
process it is read.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import NamedTuple

import fsspec
import pytest

from api.sources.item import Item, Source, Span, UnreadableItem
from index.jsontext import JSON, canonical_json
from tests.api.sources.storage import FailingStorage

MAX_BYTES = 1000
SIZES = (1, 2, 3, 7, 1000)


class Seen(NamedTuple):
    """An item after it was read; `content` is the reason where it could not be."""

    name: str
    content: bytes | str
    declared: Mapping[str, JSON]
    location: str | None


ReadWhole = Callable[[Callable[[], Source]], list[Seen]]


def seen(item: Item) -> Seen:
    content: bytes | str
    try:
        content = item.read(MAX_BYTES)
    except UnreadableItem as err:
        content = err.reason
    return Seen(item.name, content, item.declared, item.location)


def listed(source: Source, size: int) -> list[Span]:
    """The spans as another process has them: through the JSON that a database keeps."""
    with closing(source):
        spans = list(source.spans(size))
    assert all(span.count == size for span in spans[:-1])
    assert all(1 <= span.count <= size for span in spans[-1:])
    kept = [canonical_json(span.where) for span in spans]
    assert not any("\x00" in text.encode().decode() or "\\u0000" in text for text in kept)
    return [Span(span.count, json.loads(text)) for span, text in zip(spans, kept, strict=True)]


def read_spans(source: Source, spans: list[Span]) -> list[list[Seen]]:
    with closing(source):
        read = [[seen(item) for item in source.items(span)] for span in spans]
    assert [len(items) for items in read] == [span.count for span in spans]
    return read


def read_narrowed(source: Source, spans: list[Span]) -> list[list[Seen]]:
    """The items of spans, each span divided in two and then each half into items."""
    with closing(source):
        read = []
        for span in spans:
            half = span.count // 2
            halves = [(0, half)] if half else []
            parts = [
                (source.narrow(span, first, count), count)
                for first, count in [*halves, (half, span.count - half)]
            ]
            read.append(
                [
                    seen(item)
                    for part, count in parts
                    for place in range(count)
                    for item in source.items(source.narrow(part, place, 1))
                ]
            )
    return read


@pytest.fixture
def read_whole() -> ReadWhole:
    """Every item of a source, after checking that spans of any size, in any order, from any place
    give the same.
    """

    def read(open_source: Callable[[], Source]) -> list[Seen]:
        whole: list[Seen] | None = None
        for size in SIZES:
            spans = listed(open_source(), size)
            read = read_spans(open_source(), spans)
            if whole is None:
                whole = [item for items in read for item in items]
            assert [item for items in read for item in items] == whole
            half = len(spans) // 2
            assert read_spans(open_source(), spans[half:]) == read[half:]
            assert read_narrowed(open_source(), spans) == read
            shuffled = random.Random(size).sample(range(len(spans)), len(spans))
            assert read_spans(open_source(), [spans[place] for place in shuffled]) == [
                read[place] for place in shuffled
            ]
        assert whole is not None
        assert not any("\x00" in item.name or not item.name.encode() for item in whole)
        return whole

    return read


@pytest.fixture
def memory_files() -> Iterator[Callable[[str, bytes], str]]:
    """Puts files behind `memory://` URLs, gone after the test."""
    filesystem = fsspec.filesystem("memory")

    def put(url: str, content: bytes) -> str:
        filesystem.pipe(url, content)
        return url

    yield put
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]


@pytest.fixture
def failing_storage() -> Iterator[type[FailingStorage]]:
    """The storage behind `failing://` URLs: empty, and reading until the test sets its `error`."""
    fsspec.register_implementation("failing", FailingStorage, clobber=True)
    FailingStorage.files, FailingStorage.opened = {}, []
    FailingStorage.error, FailingStorage.is_seekable = None, True
    yield FailingStorage
    FailingStorage.error, FailingStorage.is_seekable = None, True
