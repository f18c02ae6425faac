"""Decompressed bytes at any offset, and what is said where they end or are damaged."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.sources.item import UnreadableItem, UnusableSource
from api.sources.streams import Stream
from tests.api.sources.storage import FailingStorage, disk_error, lost_connection

COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}
CONTENT = bytes(range(256)) * 500


@pytest.fixture(params=COMPRESSIONS)
def compressed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "a"
    path.write_bytes(COMPRESSIONS[request.param](CONTENT))
    return path


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, len(CONTENT) + 9), st.integers(0, 3000)), max_size=6))
def test_bytes_are_read_at_any_offset_in_any_order(
    compressed: Path, reads: list[tuple[int, int]]
) -> None:
    with closing(Stream(str(compressed))) as stream:
        for offset, size in reads:
            assert stream.read_at(offset, size) == CONTENT[offset : offset + size]


def test_a_compression_is_known_by_the_first_bytes(tmp_path: Path) -> None:
    for name, compress in COMPRESSIONS.items():
        (tmp_path / "x.txt").write_bytes(compress(CONTENT))
        with closing(Stream(str(tmp_path / "x.txt"))) as stream:
            assert stream.is_compressed is (name != "plain")


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz"])
def test_data_that_end_too_early_and_damaged_data_have_reasons_of_their_own(
    tmp_path: Path, name: str
) -> None:
    whole = COMPRESSIONS[name](CONTENT)
    for content, reason in (
        (whole[: len(whole) // 2], "truncated_archive"),
        (whole[:20] + bytes(len(whole) - 20), "corrupt_archive"),
    ):
        (tmp_path / "a").write_bytes(content)
        stream = Stream(str(tmp_path / "a"))
        with closing(stream), pytest.raises(UnreadableItem) as caught:
            stream.read_at(len(CONTENT) - 1, 1)
        assert caught.value.reason == reason


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_a_disk_that_fails_is_no_damage(failing_storage: type[FailingStorage], name: str) -> None:
    failing_storage.files["a"] = COMPRESSIONS[name](CONTENT)
    with closing(Stream("failing://a")) as stream:
        failing_storage.error = disk_error
        with pytest.raises(UnreadableItem, match="Input/output error") as caught:
            stream.read_at(0, 10)
    assert caught.value.reason == "unreadable"


@pytest.mark.parametrize("error", [disk_error, lost_connection])
def test_a_storage_that_fails_at_the_first_bytes_makes_the_source_unusable(
    failing_storage: type[FailingStorage], error: Callable[[], Exception]
) -> None:
    failing_storage.files["a"] = CONTENT
    failing_storage.error = error
    with pytest.raises(UnusableSource, match=r"failing://a: (Input/output error|connection lost)$"):
        Stream("failing://a")
    assert all(file.closed for file in failing_storage.opened)
