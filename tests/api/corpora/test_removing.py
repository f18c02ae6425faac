"""Removing corpora: small ones at once, large ones in steps that anybody can finish."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from api.corpora.catalogue import describe_corpora
from api.corpora.removing import find_unfinished, finish_removing, start_removing
from api.images import BlobStores
from api.lookups.lookup import look_up_image
from api.lookups.request import LookupQuery
from api.worker.taking import work_on_open_jobs
from index.blobs import publish_blobs
from index.errors import UnknownCorpus
from index.truth.corpora import Keep
from index.truth.databases.database import Database
from index.truth.jobs.job import Job, JobState, get_job, pause_job
from index.truth.removal import Batch
from tests.api.modelless import fill, picture_of, png, sha256_of, stores_in
from tests.api.small_lineup import encoded, open_small, picture
from tests.api.small_lineup import fill as fill_small


@pytest.fixture
def stores(tmp_path: Path) -> BlobStores:
    made = stores_in(tmp_path)
    for seed in range(5):
        publish_blobs(
            made.stage(Keep.ORIGINAL, sha256_of(png(seed)), png(seed), picture_of(png(seed)))
        )
    return made


def kept(stores: BlobStores) -> list[int]:
    return [seed for seed in range(5) if sha256_of(png(seed)) in stores.thumbnails]


def start(database: Database, stores: BlobStores) -> Job:
    job = start_removing(database, stores, "known", most_at_once=3, limit=2)
    assert isinstance(job, Job)
    return job


def test_a_small_corpus_is_removed_at_once_and_leaves_what_others_need(
    database: Database, stores: BlobStores
) -> None:
    fill(database, "known", [0, 1, 2])
    fill(database, "others", [2])
    assert start_removing(database, stores, "known") == 3
    assert [corpus.name for corpus in describe_corpora(database)] == ["others"]
    assert kept(stores) == [2, 3, 4]  # nobody asked for the last two
    with pytest.raises(UnknownCorpus):
        start_removing(database, stores, "known")


def test_a_large_corpus_is_removed_in_steps_and_its_blobs_after_each_commit(
    database: Database, stores: BlobStores
) -> None:
    fill(database, "known", [0, 1, 2, 3, 4])
    fill(database, "others", [2])
    job = start(database, stores)
    assert [corpus.name for corpus in describe_corpora(database)] == ["others"]
    assert kept(stores) == [2, 3, 4]
    batches: list[Batch] = []
    done = finish_removing(database, stores, job, batches.append, limit=2)
    assert [batch.removed for batch in batches] == [2, 1]
    assert (done.state, done.counts.removed) == (JobState.COMPLETED, 5)
    assert kept(stores) == [2]
    assert finish_removing(database, stores, done).state is JobState.COMPLETED


def test_what_is_left_is_found_by_the_name_and_goes_on(
    database: Database, stores: BlobStores
) -> None:
    fill(database, "known", [0, 1, 2, 3, 4])
    assert find_unfinished(database, "known") is None
    job = start(database, stores)
    stop = threading.Event()
    stop.set()
    assert finish_removing(database, stores, job, stop=stop).state is JobState.RUNNING
    with database.write() as conn:
        pause_job(conn, job.id)
    found = find_unfinished(database, "known")
    assert found is not None
    assert (found.id, found.state) == (job.id, JobState.QUEUED)
    assert finish_removing(database, stores, found).counts.removed == 5
    with pytest.raises(UnknownCorpus):
        find_unfinished(database, "known")
    fill(database, "known", [0])
    assert find_unfinished(database, "known") is None


def test_a_worker_finishes_it_whatever_its_model(tmp_path: Path) -> None:
    with open_small(tmp_path) as lineup:
        fill_small(lineup)
        stores = lineup.blob_stores
        job = start_removing(lineup.database, stores, "fakes", most_at_once=0, limit=2)
        assert isinstance(job, Job)
        answer = look_up_image(lineup, encoded(picture(3)), LookupQuery())
        assert answer.similarity.neighbours == []
        assert work_on_open_jobs(lineup, threading.Event(), helping=False, once=True) == 1
        with lineup.database.read() as conn:
            done = get_job(conn, job.id)
        assert (done.state, done.counts.removed, done.counts.found) == (JobState.COMPLETED, 8, 8)
        assert lineup.index.count == 4
