"""Whatever is opened beneath a folder lies in it, also when a link is planted in between."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import SourceNotAllowed
from api.sources.access import Access
from api.sources.beneath import (
    OutsideFolder,
    find_folder,
    list_beneath,
    open_beneath,
    stat_beneath,
)
from api.sources.item import UnreadableItem, UnusableSource

INSIDE, OUTSIDE = b"inside", b"outside"


def plant(tmp_path: Path) -> Path:
    """A folder `in` beside `out`, with links that stay in it and links that leave it."""
    root = tmp_path / "in"
    for name in ("in/a", "in/deep/b", "out/a", "out/deep/b", "in-too/a"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(INSIDE if name.startswith("in/") else OUTSIDE)
    for name, target in {
        "leave": "../out",
        "leave-file": "../out/a",
        "stay": "deep",
        "stay-file": "deep/b",
        "deep/up": "..",
        "round": "round",
        "hop": "leave",
        "absolute": str(tmp_path / "out" / "a"),
        "itself": str(root),
    }.items():
        (root / name).symlink_to(target)
    return root


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant(tmp_path_factory.mktemp("planted"))


NAMES = ("a", "b", "deep", "up", "leave", "leave-file", "stay", "stay-file", "hop", "absolute")
PARTS = (*NAMES, "itself", "round", "..", ".", "", "in", "out", "in-too", "%2e%2e", "\\..")


@given(path=st.lists(st.sampled_from(PARTS), max_size=6).map("/".join))
def test_whatever_may_be_read_lies_inside(planted: Path, path: str) -> None:
    access = Access([str(planted)])
    for location in (f"{planted}/{path}", f"file://{planted}/{path}"):
        try:
            content = access.read_bytes(location, 100)
        except UnreadableItem:
            continue
        assert content == INSIDE
        assert access.kind_of(location) == "file"
        with access.open_binary(location) as file:
            assert file.read() == INSIDE


@pytest.mark.parametrize("path", ["leave/a", "leave-file", "hop/a", "absolute", "../in-too/a"])
def test_a_link_that_leaves_is_not_followed(planted: Path, path: str) -> None:
    access = Access([str(planted)])
    location = str(planted / path)
    with pytest.raises(UnreadableItem) as caught:
        access.read_bytes(location, 100)
    assert caught.value.reason == "not_allowed"
    for refuse in (access.require, access.kind_of, access.open_binary):
        with pytest.raises(SourceNotAllowed):
            refuse(location)


def test_a_folder_that_is_left_by_a_link_is_not_listed(planted: Path) -> None:
    access = Access([str(planted)])
    for name in ("leave", "hop", ".."):
        with pytest.raises(SourceNotAllowed):
            list(access.walk(str(planted / name)))
    names = [name for name, _ in access.walk(str(planted))]
    assert names == ["a", "absolute", "leave-file", "round", "stay-file", "deep/b"]
    assert [name for name, _ in access.walk(str(planted / "stay"))] == ["b"]


def test_links_that_stay_and_a_root_that_is_a_link_are_followed(
    planted: Path, tmp_path: Path
) -> None:
    (tmp_path / "root").symlink_to(planted)
    for root in (planted, tmp_path / "root"):
        access = Access([str(root)])
        for name in ("stay/b", "stay-file", "deep/up/a", "itself/a"):
            assert access.read_bytes(str(root / name), 100) == INSIDE


def test_a_root_can_be_one_file(planted: Path) -> None:
    access = Access([str(planted / "a")])
    assert access.read_bytes(str(planted / "a"), 100) == INSIDE
    assert access.kind_of(str(planted / "a")) == "file"
    with pytest.raises(SourceNotAllowed):
        access.kind_of(str(planted / "deep" / "b"))


def test_a_file_url_names_this_machine_alone(planted: Path) -> None:
    access = Access([f"file://localhost{planted}"])
    for location in (f"file://{planted}/a", f"FILE://LocalHost{planted}/a", str(planted / "a")):
        assert access.read_bytes(location, 100) == INSIDE
    for location in (f"file://other{planted}/a", f"local://{planted}/a"):
        with pytest.raises(SourceNotAllowed):
            access.require(location)


def test_what_is_missing_or_no_file_says_so_within_the_root(planted: Path) -> None:
    access = Access([str(planted)])
    os.mkfifo(planted / "pipe")
    reasons = {}
    for name in ("missing", "a/below", "deep", "pipe", "round", "n" * 5000, "a\0"):
        with pytest.raises(UnreadableItem) as caught:
            access.read_bytes(str(planted / name), 100)
        reasons[name[:7]] = caught.value.reason
    (planted / "pipe").unlink()
    assert reasons == {
        "missing": "not_found",
        "a/below": "not_found",
        "deep": "not_a_file",
        "pipe": "not_a_file",
        "round": "not_a_file",
        "nnnnnnn": "unreadable",
        "a\0": "unreadable",
    }
    assert access.kind_of(str(planted / "missing")) is None
    assert access.kind_of(str(planted)) == "folder"
    with pytest.raises(UnusableSource):
        list(access.walk(str(planted / "missing")))


@pytest.fixture
def swapping(tmp_path: Path) -> Iterator[Path]:
    """A folder in which `swap` is a folder of its own and a link that leaves, many times a second,
    and `file` a file and a link.
    """
    root = plant(tmp_path)
    (root / "kept").mkdir()
    (root / "kept" / "a").write_bytes(INSIDE)
    stopped = threading.Event()

    def swap() -> None:
        while not stopped.is_set():
            for name, real, elsewhere in (("swap", "kept", "../out"), ("file", "a", "../out/a")):
                for target in (real, elsewhere):
                    (root / f".{name}").symlink_to(target)
                    (root / f".{name}").replace(root / name)
            with suppress(OSError):  # a folder in the place of the link, and back
                (root / "swap").unlink()
                (root / "kept").rename(root / "swap")
                (root / "swap").rename(root / "kept")

    swapper = threading.Thread(target=swap)
    swapper.start()
    yield root
    stopped.set()
    swapper.join()


def test_a_link_that_is_swapped_in_after_the_check_opens_nothing_outside(swapping: Path) -> None:
    seen = set()
    for _ in range(1500):
        for path in (swapping / "swap" / "a", swapping / "file"):
            try:
                with open_beneath(path, [swapping]) as file:
                    seen.add(file.read())
                stat_beneath(path, [swapping])
            except OutsideFolder:
                seen.add(b"refused")
            except OSError:
                seen.add(b"gone")
        with suppress(OutsideFolder, OSError):
            names = {entry.name for entry in list_beneath(swapping / "swap", [swapping])}
            assert "deep" not in names  # `out` has it, `kept` does not
    assert INSIDE in seen
    assert b"refused" in seen
    assert OUTSIDE not in seen


def test_the_folder_that_holds_a_path(planted: Path) -> None:
    assert find_folder(planted / "stay" / "b", [Path("/nowhere"), planted]) == (
        str(planted.resolve()),
        str(Path("deep", "b")),
    )
    assert find_folder(planted, [planted])[1] == ""
    with pytest.raises(OutsideFolder):
        find_folder(planted, [planted / "deep"])
