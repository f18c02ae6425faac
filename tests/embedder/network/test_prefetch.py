from __future__ import annotations

from collections.abc import Iterator

import pytest

from embedder.network.prefetch import take_ahead


def test_what_lies_behind_is_handed_on_before_the_exception_of_the_source() -> None:
    def source() -> Iterator[int]:
        yield from range(3)
        raise OSError("the disk is gone")

    for count in range(5):
        items = take_ahead(source(), count)
        assert [next(items) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(OSError, match="the disk is gone"):
            next(items)


def test_an_item_is_handed_on_once_so_many_more_were_taken() -> None:
    for count in range(5):
        taken: list[int] = []
        seen = [
            len(taken) for _ in take_ahead(map(lambda n, t=taken: t.append(n), range(6)), count)
        ]  # type: ignore[misc]
        assert seen == [min(6, n + 1 + count) for n in range(6)]


def test_nothing_is_behind_nothing() -> None:
    assert list(take_ahead(iter(()), 2)) == []
