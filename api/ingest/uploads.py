"""The lives of uploads: how many bytes they may have, and when they are removed.

An upload waits in the upload folder for its job. It is removed when the job is completed or
cancelled, and some days after the job failed or was paused, for such a job can be resumed. Files
without a job are of a request or a process that broke off: they are removed when they are old
enough not to be in the making. `api.ingest.spool` writes the files.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from api.errors import UploadsFull
from api.ingest.spool import find_kept
from api.jobs.json import JobAnswer
from index.errors import StorageFull
from index.truth.databases.database import Database
from index.truth.jobs.job import RESUMABLE_STATES, Job, JobKind, list_unfinished_jobs

# The row of a job follows its upload within seconds, and a source on standard input within the time
# that a model takes to load. An upload of gigabytes that is being copied has a young file.
ABANDONED_SECONDS = 3600.0
# Room and quota are looked at again whenever so many bytes have arrived.
LOOK_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Upload:
    """Files in the upload folder, and the unfinished job that needs them."""

    path: Path
    byte_size: int
    age_seconds: float
    job: Job | None
    kept_until: datetime | None  # None: as long as its job is open, or until it is found abandoned

    def has_expired(self, now: datetime) -> bool:
        """Whether nobody needs the files any more."""
        if self.job is None:
            return self.age_seconds > ABANDONED_SECONDS
        return self.kept_until is not None and self.kept_until < now


def list_uploads(database: Database, upload_dir: Path, failed_days: float) -> list[Upload]:
    """Return what is in the upload folder, in the order of the names. Raises `DatabaseError`."""
    # Files first: a job that begins in between has its file in the list, or is not needed for it.
    found = sorted(upload_dir.absolute().iterdir()) if upload_dir.is_dir() else []
    measured = {path: _measure(path) for path in found}
    needs = find_needs_of_uploads(database, upload_dir)
    return [
        Upload(path, size, age, job, None if job is None else keep_until(job, failed_days))
        for path, (size, age) in measured.items()
        for job in (needs.get(path),)
    ]


def find_needs_of_uploads(
    database: Database, upload_dir: Path, *, but: int | None = None
) -> Mapping[Path, Job]:
    """Return the unfinished job that needs each upload or list; of several, an open or later one.

    `but` is the id of a job that does not count.
    """
    with database.read() as conn:
        jobs = list_unfinished_jobs(conn, JobKind.INGEST)
    jobs = tuple(sorted(jobs, key=lambda job: (job.state not in RESUMABLE_STATES, job.updated_at)))
    return {
        path: job
        for job in jobs
        if job.id != but
        for path in find_kept(map(str, job.request.get("sources", ())), upload_dir)
    }


def keep_until(job: Job, failed_days: float) -> datetime | None:
    """Return when the uploads of a failed or paused job are removed; None for an open job."""
    return job.updated_at + timedelta(days=failed_days) if job.state in RESUMABLE_STATES else None


def describe_expiry(answer: JobAnswer, upload_dir: Path, failed_days: float) -> JobAnswer:
    """Say in a job's answer until when its upload is kept."""
    stops = answer.state in RESUMABLE_STATES and answer.kind is JobKind.INGEST
    sources = answer.request.get("sources", ()) if stops else ()
    if not any(path.exists() for path in find_kept(map(str, sources), upload_dir)):
        return answer
    until = answer.updated_at + timedelta(days=failed_days)
    return answer.model_copy(update={"upload_kept_until": until})


def release(database: Database, job: Job, upload_dir: Path) -> None:
    """Remove the uploads and lists of a job that has ended, unless another job needs them.

    A list has the name of its content, so that two jobs can share it.
    """
    if job.kind is not JobKind.INGEST:
        return
    kept = find_kept(map(str, job.request.get("sources", ())), upload_dir)
    if not kept:
        return
    needed = find_needs_of_uploads(database, upload_dir, but=job.id).keys()
    for path in kept - needed:
        # A list that was written again since the job began is that of a job that is about to begin.
        if path.is_dir() or _written_at(path) <= job.created_at.timestamp():
            _remove(path)


def sweep(
    database: Database, upload_dir: Path, failed_days: float, now: datetime | None = None
) -> list[Upload]:
    """Remove the uploads that nobody needs any more, and return them. Raises `DatabaseError`."""
    moment = now or datetime.now(UTC)
    uploads = list_uploads(database, upload_dir, failed_days)
    expired = [upload for upload in uploads if upload.has_expired(moment)]
    return [upload for upload in expired if _remove_unless_written(upload)]


class UploadQuota:
    """The bytes that uploads may have: in all, and so that the disk keeps some room.

    Counts what is in the upload folder, of any process, and what this process is receiving.
    Thread-safe.
    """

    def __init__(self, upload_dir: Path, max_bytes: int, free_bytes: int) -> None:
        """Count the files of `upload_dir`; `free_bytes` are to stay free on its disk."""
        self._upload_dir = upload_dir
        self._max_bytes = max_bytes
        self._free_bytes = free_bytes
        self._lock = threading.Lock()
        self._expected = 0  # bytes that will be written into the folder

    @contextmanager
    def receive(self, announced_bytes: int = 0) -> Iterator[Arrival]:
        """Take room for an upload while the block runs.

        Raises `UploadsFull`, `StorageFull` at once if the announced bytes do not fit.
        """
        arrival = Arrival(self)
        try:
            arrival.expect(announced_bytes)
            yield arrival
        finally:
            arrival.end()

    def change(self, expected_bytes: int) -> None:
        """Expect more bytes, or less if the number is negative."""
        with self._lock:
            self._expected += expected_bytes

    def require_room(self) -> None:
        """Raise `UploadsFull` or `StorageFull` unless everything that is expected fits."""
        with self._lock:
            expected = self._expected
        if (
            sum(_measure(path)[0] for path in _entries(self._upload_dir)) + expected
            > self._max_bytes
        ):
            raise UploadsFull(self._max_bytes)
        if find_free_bytes(self._upload_dir) - expected < self._free_bytes:
            raise StorageFull(
                "the upload", f"{self._free_bytes:,} bytes must stay free on the disk"
            )


class Arrival:
    """One upload that is arriving: first it is received, then it is stored in the folder."""

    def __init__(self, quota: UploadQuota) -> None:
        """Use `UploadQuota.receive`."""
        self._quota = quota
        self._expected = self._received = self._unlooked = 0

    def expect(self, more_bytes: int) -> None:
        """Take room for more bytes, and look whether there is any."""
        self._change(more_bytes)
        self._quota.require_room()

    def receive(self, count: int) -> None:
        """Count received bytes; look at the room again now and then."""
        self._received += count
        self._change(max(0, self._received - self._expected))
        self._look(count)

    def store(self, count: int) -> None:
        """Count bytes that are being written into the folder, where the quota sees them."""
        self._change(-min(count, self._expected))
        self._look(count)

    def end(self) -> None:
        """Give back what is still expected."""
        self._change(-self._expected)

    def _change(self, more_bytes: int) -> None:
        self._expected += more_bytes
        self._quota.change(more_bytes)

    def _look(self, count: int) -> None:
        self._unlooked += count
        if self._unlooked >= LOOK_BYTES:
            self._unlooked = 0
            self._quota.require_room()


def find_free_bytes(folder: Path) -> int:
    """Return how many bytes a process may still write on the disk of a folder, or of its parent."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []


def _measure(path: Path) -> tuple[int, float]:
    """Return the bytes of a file or of a folder's files, and the seconds since the last write."""
    size, written = 0, 0.0
    for each in (path, *(_entries(path) if path.is_dir() else ())):
        try:
            status = each.stat()
        except FileNotFoundError:
            continue  # its job has ended meanwhile
        size += 0 if each.is_dir() else status.st_size
        written = max(written, status.st_mtime)
    return size, time.time() - written


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _remove_unless_written(upload: Upload) -> bool:
    """Remove expired files; leave a list that was written again since it was listed."""
    if upload.job is None and _measure(upload.path)[1] < ABANDONED_SECONDS:
        return False
    _remove(upload.path)
    return True


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
