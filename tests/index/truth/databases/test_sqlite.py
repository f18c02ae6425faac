"""How a file of SQLite is opened. Folders that cannot be written are in
`tests/functional/test_small_disk.py`, for the administrator can write everywhere else.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from index.errors import NoData
from index.truth.databases.sqlite import Access, FileStamp, choose_access, companion


def test_a_missing_file_is_created_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "lineup.db"
    assert choose_access(path, create=True, read_only=False) is Access.CREATE
    with pytest.raises(NoData):
        choose_access(path, create=False, read_only=False)


@pytest.mark.parametrize(
    ("create", "read_only", "access"),
    [
        (False, False, Access.WRITE),
        (True, False, Access.CREATE),
        (False, True, Access.READ),
        (True, True, Access.READ),
    ],
)
def test_a_file_that_can_be_written_is_written_unless_the_operator_says_otherwise(
    tmp_path: Path, create: bool, read_only: bool, access: Access
) -> None:
    path = tmp_path / "lineup.db"
    path.write_bytes(b"x")
    assert choose_access(path, create=create, read_only=read_only) is access
    assert access.writes is not read_only


def test_a_stamp_shows_every_change(tmp_path: Path) -> None:
    path = tmp_path / "lineup.db"
    path.write_bytes(b"x")
    stamp = FileStamp.of(path)
    assert FileStamp.of(path) == stamp
    companion(path, "-wal").write_bytes(b"")
    assert FileStamp.of(path) == stamp
    companion(path, "-wal").write_bytes(b"changes")
    assert FileStamp.of(path) != stamp
