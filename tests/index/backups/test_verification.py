"""Verification: an archive is read whole, and what differs is named."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from index.backups.archive import ArchiveReader, ArchiveWriter, Member, open_archive
from index.backups.manifest import TABLES, read_backup_manifest
from index.backups.verification import (
    check_members,
    extract,
    open_verified_tables,
    read_pack,
    temporary_folder,
    verify_backup,
)
from index.errors import BackupCorrupt, BackupUnreadable, RestoreUnwritable
from index.truth.changes import last_number

PATH = Path("some.tar")
Edit = Callable[[Any], Any]
# An archive is the same kind of file, wherever its rows are from.
ON_SQLITE = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


def archive_of(**members: bytes) -> ArchiveReader:
    file = BytesIO()
    writer = ArchiveWriter(file)
    for name, content in members.items():
        writer.add_bytes(name, content)
    writer.finish()
    return ArchiveReader(file, PATH)


def member(name: str, content: bytes) -> Member:
    return Member(name, len(content), hashlib.sha256(content).hexdigest())


def packed(names: list[str]) -> bytes:
    file = BytesIO()
    writer = ArchiveWriter(file)
    for name in names:
        writer.add_bytes(name, name.encode())
    writer.finish()
    return file.getvalue()


def test_a_whole_archive_is_verified_and_left_as_it_is(stock: Any) -> None:
    report = stock.back_up()
    before = stock.archive.read_bytes()
    assert verify_backup(stock.archive) == report.manifest
    assert stock.archive.read_bytes() == before


@ON_SQLITE
def test_nothing_is_left_in_the_temporary_folder(
    stock: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock.back_up()
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    verify_backup(stock.archive)
    content = bytearray(stock.archive.read_bytes())
    content[content.index(b"SQLite format 3") + 200] ^= 1
    stock.archive.write_bytes(content)
    with pytest.raises(BackupCorrupt):
        verify_backup(stock.archive)
    assert list(folder.iterdir()) == []


def test_a_temporary_folder_that_cannot_be_created_is_a_typed_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(RestoreUnwritable, match="missing"), temporary_folder():
        pass


def test_a_missing_archive_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BackupUnreadable, match="No such file"):
        verify_backup(tmp_path / "missing.tar")


def test_verified_tables_are_those_of_the_archive(stock: Any, tmp_path: Path, dump: Any) -> None:
    report = stock.back_up()
    tables = tmp_path / "tables"
    with (
        open_archive(stock.archive) as reader,
        open_verified_tables(reader, stock.archive, tables) as (manifest, container),
    ):
        assert manifest == report.manifest
        assert dump(container) == dump(stock.database)
        with container.read() as conn:
            assert last_number(conn) == manifest.generation


@ON_SQLITE
def test_tables_are_not_extracted_over_another_file(stock: Any, tmp_path: Path) -> None:
    stock.back_up()
    tables = tmp_path / "tables"
    tables.write_text("precious")
    with (
        open_archive(stock.archive) as reader,
        pytest.raises(RestoreUnwritable, match="File exists"),
        open_verified_tables(reader, stock.archive, tables),
    ):
        pass
    assert tables.read_text() == "precious"


@ON_SQLITE
@pytest.mark.parametrize(
    ("edit", "name"),
    [
        (lambda m: replace(m, thumbnails=m.thumbnails + 1), "thumbnails/"),
        (lambda m: replace(m, thumbnails=None), "thumbnails/"),
        (
            lambda m: replace(
                m,
                members=tuple(
                    replace(each, sha256="0" * 64) if each.name == TABLES else each
                    for each in m.members
                ),
            ),
            TABLES,
        ),
        (
            lambda m: replace(
                m,
                members=tuple(
                    replace(each, sha256="0" * 64) if each.name.startswith("thumb") else each
                    for each in m.members
                ),
            ),
            "thumbnails/000000.tar",
        ),
    ],
)
def test_members_that_differ_from_their_manifest_are_named(
    stock: Any, edit: Edit, name: str
) -> None:
    stock.back_up()
    with open_archive(stock.archive) as reader:
        manifest = read_backup_manifest(reader, stock.archive)
        check_members(reader, manifest, stock.archive)
        with pytest.raises(BackupCorrupt) as caught:
            check_members(reader, edit(manifest), stock.archive)
    assert caught.value.member == name


@ON_SQLITE
def test_one_member_can_be_left_for_its_extraction(stock: Any) -> None:
    stock.back_up()
    with open_archive(stock.archive) as reader:
        manifest = read_backup_manifest(reader, stock.archive)
        wrong = tuple(
            replace(each, sha256="0" * 64) if each.name == TABLES else each
            for each in manifest.members
        )
        check_members(reader, replace(manifest, members=wrong), stock.archive, apart_from=TABLES)


def test_an_extracted_member_is_the_stated_one(tmp_path: Path) -> None:
    reader = archive_of(a=b"content")
    extract(reader, member("a", b"content"), PATH, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"content"
    with pytest.raises(BackupCorrupt, match="sha256 differs"):
        extract(reader, member("a", b"another"), PATH, tmp_path / "b")


def test_a_target_that_cannot_be_written_is_not_called_a_damaged_archive(tmp_path: Path) -> None:
    reader = archive_of(a=b"content")
    for target in (tmp_path / "missing" / "a", tmp_path):
        with pytest.raises(RestoreUnwritable):
            extract(reader, member("a", b"content"), PATH, target)


def test_a_full_disk_is_not_called_a_damaged_archive() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    reader = archive_of(a=b"content" * 10_000)
    descriptor = os.open(full, os.O_WRONLY)
    with (
        os.fdopen(descriptor, "wb", buffering=0) as file,
        pytest.raises(OSError, match="No space left"),
    ):
        reader.copy("a", file)


def test_a_pack_gives_each_thumbnail_with_its_image() -> None:
    names = [f"{character * 64}.webp" for character in "a0f"]
    content = packed(names)
    found = dict(read_pack(archive_of(pack=content), member("pack", content), PATH))
    assert found == {name.removesuffix(".webp"): name.encode() for name in names}


@pytest.mark.parametrize(
    "name",
    ["a.webp", "a" * 64, "a" * 64 + ".png", "A" * 64 + ".webp", "../" + "a" * 61 + ".webp"],
)
def test_a_pack_with_anything_else_is_corrupt(name: str) -> None:
    content = packed([name])
    with pytest.raises(BackupCorrupt, match="not a thumbnail") as caught:
        list(read_pack(archive_of(pack=content), member("pack", content), PATH))
    assert caught.value.member == f"pack:{name}"


def test_a_pack_is_verified_before_anything_of_it_is_given() -> None:
    content = packed(["a" * 64 + ".webp"])
    pack = read_pack(archive_of(pack=content), member("pack", content[:-1] + b"\1"), PATH)
    with pytest.raises(BackupCorrupt, match="sha256 differs"):
        next(pack)


def test_a_pack_that_is_far_too_large_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.backups.verification.MAX_PACK_BYTES", 100)
    content = packed(["a" * 64 + ".webp"])
    with pytest.raises(BackupCorrupt, match="too large for a pack"):
        next(read_pack(archive_of(pack=content), member("pack", content), PATH))
