"""The archive's format: every byte that was written is accounted for when it is read."""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.backups.archive import BLOCK, ArchiveReader, ArchiveWriter, open_archive
from index.errors import BackupCorrupt, BackupUnreadable, NotABackup

PATH = Path("some.tar")
NAMES = st.text("abc/._-0", min_size=1, max_size=90)
CONTENTS = st.dictionaries(NAMES, st.binary(max_size=1200), max_size=4)


def written(members: Mapping[str, bytes]) -> bytes:
    file = BytesIO()
    writer = ArchiveWriter(file)
    for name, content in members.items():
        writer.add_bytes(name, content)
    writer.finish()
    return file.getvalue()


def read(content: bytes) -> dict[str, bytes]:
    reader = ArchiveReader(BytesIO(content), PATH)
    return {name: reader.read(name) for name in reader.sizes}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data(), CONTENTS.filter(bool))
def test_a_changed_byte_is_an_error_or_in_the_bytes_of_a_member(
    data: st.DataObject, members: dict[str, bytes]
) -> None:
    content = bytearray(written(members))
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    try:
        found = read(bytes(content))
    except (BackupCorrupt, NotABackup):
        return
    assert found.keys() == members.keys()
    assert found != members


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data(), CONTENTS)
def test_an_archive_that_is_cut_short_anywhere_is_refused(
    data: st.DataObject, members: dict[str, bytes]
) -> None:
    content = written(members)
    with pytest.raises((BackupCorrupt, NotABackup)):
        read(content[: data.draw(st.integers(0, len(content) - 1))])


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_what_is_no_plain_file_is_refused(kind: bytes) -> None:
    info = tarfile.TarInfo("a")
    info.type, info.linkname = kind, "/etc/passwd"
    with pytest.raises(BackupCorrupt, match="not a plain file"):
        read(written({"b": b"1"})[: 2 * BLOCK] + info.tobuf(tarfile.GNU_FORMAT) + bytes(2 * BLOCK))


def test_a_name_that_is_there_twice_is_refused() -> None:
    one = written({"a": b"1"})
    with pytest.raises(BackupCorrupt, match="twice"):
        read(one[: 2 * BLOCK] + one)


def test_what_follows_the_end_is_refused() -> None:
    with pytest.raises(BackupCorrupt, match="the end of the archive does not follow"):
        read(written({"a": b"1"}) + b"more")


@pytest.mark.parametrize(
    "content", [b"", b"not a tar", b"\x1f\x8b\x08" * 1000, b"SQLite format 3\0" * 100]
)
def test_what_is_no_tar_file_is_no_backup(content: bytes) -> None:
    with pytest.raises(NotABackup):
        read(content)


def test_a_file_that_is_not_there_or_is_a_folder_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.tar", tmp_path):
        with pytest.raises(BackupUnreadable), open_archive(path):
            pass


def test_it_is_a_tar_file_to_everybody_else(tmp_path: Path) -> None:
    members = {"manifest.json": b"{}", "index/ab/1.faiss": bytes(range(256)) * 5, "empty": b""}
    path = tmp_path / "a.tar"
    path.write_bytes(written(members))
    with tarfile.open(path) as tar:
        found = {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]
    listed = subprocess.run(["tar", "tf", path], capture_output=True, text=True, check=True)
    assert found == members
    assert (listed.stdout.split(), listed.stderr) == (list(members), "")


def test_a_member_larger_than_eight_gigabytes_has_one_header() -> None:
    info = tarfile.TarInfo("tables.sqlite3")
    info.size = (8 << 30) + 5
    header = info.tobuf(tarfile.GNU_FORMAT)
    assert len(header) == BLOCK
    with pytest.raises(BackupCorrupt, match="ends within it") as caught:
        read(header + b"12345" + bytes(BLOCK))
    assert caught.value.member == "tables.sqlite3"


@settings(max_examples=60, deadline=None, derandomize=True)
@given(CONTENTS)
def test_what_was_written_is_read(members: dict[str, bytes]) -> None:
    assert read(written(members)) == members
