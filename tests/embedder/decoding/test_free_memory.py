"""Giving freed memory back: on every platform there is something to call."""

from __future__ import annotations

import ctypes

import pytest

from embedder.decoding.free_memory import find_trim


def test_glibc_answers_whether_it_gave_memory_back() -> None:
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("another C library")
    assert find_trim()() in (0, 1)


def test_nothing_is_done_where_the_library_has_no_such_function(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert find_trim()() is None
