"""Uploads and lists are kept until their job has ended, and nothing else is ever removed."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from api.ingest.spool import PIECE_BYTES, forget, is_kept_list, keep_list, keep_upload
from api.server_paths import LIST_SUFFIX


class BrokenFile(io.BytesIO):
    """Gives one piece, then breaks off."""

    def read(self, size: int | None = -1) -> bytes:
        piece = super().read(size)
        if not piece:
            raise OSError("the pipe is broken")
        return piece


def test_the_same_list_is_the_same_file_and_another_is_not(tmp_path: Path) -> None:
    lines = b"/x/a.png\n" * (PIECE_BYTES // 4)  # several pieces

    first = keep_list(io.BytesIO(lines), tmp_path / "uploads")
    again = keep_list(io.BytesIO(lines), tmp_path / "uploads")
    other = keep_list(io.BytesIO(lines + b"/x/b.png\n"), tmp_path / "uploads")

    assert first == again
    assert first != other
    assert first.read_bytes() == lines
    assert sorted((tmp_path / "uploads").iterdir()) == sorted([first, other])


def test_only_a_list_in_the_folder_is_a_kept_list(tmp_path: Path) -> None:
    kept = keep_list(io.BytesIO(b"a"), tmp_path)

    assert is_kept_list(str(kept), tmp_path)
    assert not is_kept_list(str(kept), tmp_path / "elsewhere")
    assert not is_kept_list(str(tmp_path / "a.csv"), tmp_path)
    assert not is_kept_list(str(tmp_path / "sub" / f"a{LIST_SUFFIX}"), tmp_path)
    assert not is_kept_list("https://host/a.paths", tmp_path)


def test_two_uploads_of_one_name_do_not_meet(tmp_path: Path) -> None:
    one = keep_upload(io.BytesIO(b"1"), "a.tar", tmp_path)
    other = keep_upload(io.BytesIO(b"2"), "a.tar", tmp_path)

    assert (one.name, one.read_bytes()) == ("a.tar", b"1")
    assert (other.name, other.read_bytes()) == ("a.tar", b"2")


def test_an_upload_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="the pipe is broken"):
        keep_upload(BrokenFile(b"some"), "a.tar", tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_forgetting_removes_what_is_kept_here_and_nothing_else(tmp_path: Path) -> None:
    uploads = tmp_path / "uploads"
    upload = keep_upload(io.BytesIO(b"1"), "a.tar", uploads)
    kept = keep_list(io.BytesIO(b"a"), uploads)
    stays = keep_list(io.BytesIO(b"b"), uploads)
    mine = tmp_path / "mine.tar"
    mine.write_bytes(b"x")

    forget([str(upload), str(kept), str(mine), str(uploads), "https://host/a.tar"], uploads)
    forget([str(upload), str(kept)], uploads)  # again, after a crash in between

    assert list(uploads.iterdir()) == [stays]
    assert mine.exists()
