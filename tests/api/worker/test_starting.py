"""The same request is the same job, until it has ended."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from api.calibrations.request import CalibrationRequest
from api.errors import InvalidRequest, NothingToCalibrate
from api.ingest.request import IngestRequest
from api.ingest.spool import keep_upload
from api.worker.starting import (
    cancel,
    needs_network,
    reopen,
    start_backfill,
    start_calibration,
    start_ingest,
    start_reembed,
)
from index.errors import CorpusKindConflict, JobStateConflict, UnknownJob
from index.truth.corpora import CorpusKind, Keep, get_corpus
from index.truth.databases.database import Database
from index.truth.jobs.job import JobKind, JobState, fail_job, pause_job
from tests.api.modelless import OTHER_SPACE, SPACE, corpus_names, queue_job, read_job


def request(**changed: object) -> IngestRequest:
    return IngestRequest.model_validate({"sources": ["/x"], "corpus": "known"} | changed)


def test_a_request_that_cannot_be_started_leaves_no_job_and_no_corpus(database: Database) -> None:
    with pytest.raises(InvalidRequest, match="brace"):
        start_ingest(database, SPACE, request(pattern="{a"))
    with pytest.raises(NothingToCalibrate):
        start_calibration(database, SPACE, CalibrationRequest())
    assert corpus_names(database) == []

    start_ingest(database, SPACE, request())
    with pytest.raises(CorpusKindConflict):
        start_ingest(database, SPACE, request(kind=CorpusKind.KNOWN_REAL))
    with pytest.raises(UnknownJob):
        read_job(database, 2)


def test_an_ingest_creates_its_corpus(database: Database) -> None:
    job = start_ingest(database, SPACE, request(kind=CorpusKind.KNOWN_REAL), Keep.ORIGINAL)

    assert (job.kind, job.corpus, job.state) == (JobKind.INGEST, "known", JobState.QUEUED)
    with database.read() as conn:
        corpus = get_corpus(conn, "known")
    assert (corpus.kind, corpus.keep) == (CorpusKind.KNOWN_REAL, Keep.ORIGINAL)


def test_the_same_request_is_the_same_job_and_another_is_not(database: Database) -> None:
    first = start_ingest(database, SPACE, request())

    assert start_ingest(database, SPACE, request()).id == first.id
    assert start_ingest(database, SPACE, request(label="face")).id != first.id
    assert start_ingest(database, OTHER_SPACE, request()).id != first.id
    assert start_reembed(database, SPACE, "m").id == start_reembed(database, SPACE, "m").id
    assert start_reembed(database, SPACE, "m").kind is JobKind.REEMBED


def test_a_paused_or_failed_job_is_queued_again_by_its_request(database: Database) -> None:
    job = start_ingest(database, SPACE, request())
    with database.write() as conn:
        pause_job(conn, job.id)
    again = start_ingest(database, SPACE, request())
    assert (again.id, again.state) == (job.id, JobState.QUEUED)

    with database.write() as conn:
        fail_job(conn, job.id, "the disk is full")
    again = start_ingest(database, SPACE, request())
    assert (again.id, again.state, again.error) == (job.id, JobState.QUEUED, None)


def test_a_job_that_has_ended_is_not_continued(database: Database, tmp_path: Path) -> None:
    job = start_ingest(database, SPACE, request())
    cancel(database, tmp_path, job.id)

    assert start_ingest(database, SPACE, request()).id != job.id
    with pytest.raises(JobStateConflict):
        reopen(database, job.id)


def test_an_open_job_is_reopened_as_it_is(database: Database) -> None:
    job = queue_job(database)

    assert reopen(database, job.id) == job
    with database.write() as conn:
        pause_job(conn, job.id)
    assert reopen(database, job.id).state is JobState.QUEUED
    with pytest.raises(UnknownJob):
        reopen(database, 99)


def test_only_work_on_images_needs_the_network(database: Database, tmp_path: Path) -> None:
    np.save(tmp_path / "ready.npy", np.eye(4, dtype=np.float32))
    (tmp_path / "ready.csv").write_text("sha256,logit\n" + f"{7:064x},0.5\n" * 4)
    (tmp_path / "images").mkdir()

    def needs(*sources: str) -> bool:
        paths = [str(tmp_path / source) for source in sources]
        return needs_network(start_ingest(database, SPACE, request(sources=paths)))

    assert needs("images")
    assert needs("ready.npy", "images")
    assert needs("not there any more.npy")
    assert not needs("ready.npy")
    assert needs_network(start_reembed(database, SPACE, "m"))
    assert not needs_network(start_backfill(database, OTHER_SPACE, "descriptor"))


def test_cancelling_removes_what_was_uploaded_and_nothing_else(
    database: Database, tmp_path: Path
) -> None:
    uploads = tmp_path / "uploads"
    upload, other = keep_upload(io.BytesIO(b"x"), "a.tar", uploads), tmp_path / "mine.tar"
    other.write_bytes(b"x")
    job = start_ingest(database, SPACE, request(sources=[str(upload), str(other)]))

    answer = cancel(database, uploads, job.id)

    assert answer.state is JobState.CANCELLED
    assert list(uploads.iterdir()) == []
    assert other.exists()
    with pytest.raises(JobStateConflict):
        cancel(database, uploads, job.id)
