"""How many bytes uploads may have, and when they are removed."""

from __future__ import annotations

import io
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from api.errors import UploadsFull
from api.ingest.request import IngestRequest
from api.ingest.spool import keep_list, keep_upload
from api.ingest.uploads import (
    ABANDONED_SECONDS,
    LOOK_BYTES,
    UploadQuota,
    describe_expiry,
    find_free_bytes,
    list_uploads,
    release,
    sweep,
)
from api.jobs.json import JobAnswer
from api.worker.starting import cancel, start_ingest
from index.errors import StorageFull
from index.truth.databases.database import Database
from index.truth.jobs.job import Job, cancel_job, fail_job, get_job, pause_job
from tests.api.modelless import SPACE, queue_job

DAYS = 7.0


def start(database: Database, source: Path, corpus: str = "known") -> Job:
    request = IngestRequest(sources=[str(source)], corpus=corpus)
    return start_ingest(database, SPACE, request)


def make_old(path: Path, seconds: float = ABANDONED_SECONDS + 60) -> None:
    then = time.time() - seconds
    for each in (path, *(path.iterdir() if path.is_dir() else ())):
        os.utime(each, (then, then))


def later(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    return tmp_path / "uploads"


@pytest.fixture
def upload(uploads: Path) -> Path:
    return keep_upload(io.BytesIO(b"some bytes"), "a.tar", uploads)


def test_no_upload_is_no_error(database: Database, uploads: Path) -> None:
    assert list_uploads(database, uploads, DAYS) == []
    assert sweep(database, uploads, DAYS) == []
    release(database, queue_job(database, request={"model": "m"}), uploads)  # of another kind


def test_what_is_being_written_and_what_a_job_needs_stays(
    database: Database, uploads: Path, upload: Path
) -> None:
    waiting = keep_upload(io.BytesIO(b"more"), "b.tar", uploads)
    job = start(database, waiting)
    make_old(waiting.parent)

    assert sweep(database, uploads, DAYS, later(400)) == []

    listed = {each.path: each for each in list_uploads(database, uploads, DAYS)}
    assert (listed[upload.parent].byte_size, listed[upload.parent].job) == (10, None)
    of_job = listed[waiting.parent]
    assert of_job.job is not None
    assert (of_job.byte_size, of_job.job.id, of_job.kept_until) == (4, job.id, None)


def test_an_upload_without_a_job_is_removed_when_it_is_old(
    database: Database, uploads: Path, upload: Path
) -> None:
    leftover = uploads / ".abc.tmp"
    leftover.write_bytes(b"half")
    for path in (upload.parent, leftover):
        make_old(path)

    assert {each.path for each in sweep(database, uploads, DAYS)} == {upload.parent, leftover}
    assert list(uploads.iterdir()) == []


def test_an_upload_of_a_job_that_ended_in_a_crash_is_removed(
    database: Database, uploads: Path, upload: Path
) -> None:
    job = start(database, upload)
    with database.write() as conn:
        cancel_job(conn, job.id)  # and the process ends before it removes the upload
    make_old(upload.parent)
    assert [each.path for each in sweep(database, uploads, DAYS)] == [upload.parent]


@pytest.mark.parametrize("stop", ["failed", "paused"])
def test_a_job_that_can_be_resumed_keeps_its_upload_for_some_days(
    database: Database, uploads: Path, upload: Path, stop: str
) -> None:
    job = start(database, upload)
    with database.write() as conn:
        if stop == "failed":
            fail_job(conn, job.id, "the disk is full")
        else:
            pause_job(conn, job.id)
        answer = JobAnswer.of(get_job(conn, job.id), local=True)
    make_old(upload.parent, 30 * 24 * 3600)

    until = describe_expiry(answer, uploads, DAYS).upload_kept_until
    assert until == answer.updated_at + timedelta(days=DAYS)
    assert sweep(database, uploads, DAYS, until - timedelta(minutes=1)) == []
    assert [each.path for each in sweep(database, uploads, DAYS, later(DAYS + 0.1))] == [
        upload.parent
    ]
    assert describe_expiry(answer, uploads, DAYS).upload_kept_until is None


def test_a_job_of_files_elsewhere_has_no_expiry(
    database: Database, uploads: Path, tmp_path: Path
) -> None:
    job = start(database, tmp_path / "mine.tar")
    with database.write() as conn:
        fail_job(conn, job.id, "it is gone")
        answer = JobAnswer.of(get_job(conn, job.id), local=True)
    assert describe_expiry(answer, uploads, DAYS) == answer


def test_a_list_that_two_jobs_share_stays_until_both_have_ended(
    database: Database, uploads: Path
) -> None:
    shared = keep_list(io.BytesIO(b"/x/a.png\n"), uploads)
    one, other = start(database, shared, "one"), start(database, shared, "other")

    cancel(database, uploads, one.id)
    assert shared.exists()
    cancel(database, uploads, other.id)
    assert not shared.exists()


def test_a_list_of_a_job_that_is_about_to_begin_stays(database: Database, uploads: Path) -> None:
    shared = keep_list(io.BytesIO(b"/x/a.png\n"), uploads)
    one = start(database, shared, "one")
    again = keep_list(io.BytesIO(b"/x/a.png\n"), uploads)  # its job is not written yet

    cancel(database, uploads, one.id)

    assert again.exists()
    other = start(database, again, "other")
    cancel(database, uploads, other.id)
    assert list(uploads.iterdir()) == []


def test_uploads_together_have_a_limit(uploads: Path, upload: Path) -> None:
    quota = UploadQuota(uploads, 100, 0)
    with pytest.raises(UploadsFull, match="100 bytes"), quota.receive(91):
        pytest.fail("there is no room")
    with quota.receive(50), pytest.raises(UploadsFull), quota.receive(50):
        pytest.fail("another one takes it")
    with quota.receive(90):  # what was taken is free again
        pass


def test_an_upload_that_announces_nothing_is_refused_while_it_arrives(uploads: Path) -> None:
    quota = UploadQuota(uploads, LOOK_BYTES + 5, 0)
    with quota.receive() as arrival:
        arrival.receive(LOOK_BYTES)
        with pytest.raises(UploadsFull):
            arrival.receive(LOOK_BYTES)
    with quota.receive(LOOK_BYTES):
        pass


def test_stored_bytes_are_not_counted_twice(uploads: Path) -> None:
    content = bytes(LOOK_BYTES)
    quota = UploadQuota(uploads, LOOK_BYTES, 0)
    with quota.receive(LOOK_BYTES) as arrival:
        arrival.receive(LOOK_BYTES)
        keep_upload(io.BytesIO(content), "a.tar", uploads, arrival.store)
    with pytest.raises(UploadsFull), quota.receive(1):
        pytest.fail("the folder is full")


def test_some_room_stays_on_the_disk(uploads: Path) -> None:
    free = find_free_bytes(uploads)
    quota = UploadQuota(uploads, 2**60, free // 2)
    with pytest.raises(StorageFull, match="must stay free"), quota.receive(free):
        pytest.fail("there is no room")
    assert not uploads.exists()


def test_an_upload_that_is_refused_while_it_is_stored_leaves_nothing(uploads: Path) -> None:
    def refuse(_: int) -> None:
        raise UploadsFull(1)

    with pytest.raises(UploadsFull):
        keep_upload(io.BytesIO(b"bytes"), "a.tar", uploads, refuse)
    assert list(uploads.iterdir()) == []
