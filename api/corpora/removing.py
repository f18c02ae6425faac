"""Remove a corpus: a small one at once, a large one as a job that anybody can finish."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from api.images import BlobStores
from index.errors import UnknownCorpus
from index.truth.corpora import get_corpus, remove_corpus
from index.truth.databases.database import Database
from index.truth.entries import corpus_sha256s
from index.truth.jobs.job import OPEN_STATES, Job, resume_job
from index.truth.removal import BATCH, Batch, begin_removal, continue_removal, find_removal
from index.truth.spaces import SpaceKind, list_spaces

# One transaction: a quarter of a second on PostgreSQL.
MOST_AT_ONCE = 2 * BATCH


def start_removing(
    database: Database,
    stores: BlobStores,
    name: str,
    *,
    most_at_once: int = MOST_AT_ONCE,
    limit: int = BATCH,
) -> Job | int:
    """Remove a corpus. When this returns, no new answer has an entry of it.

    Returns the number of its entries if all of them are removed, otherwise the job that removes the
    rest. Raises `UnknownCorpus`.
    """
    with database.write() as conn:
        spaces = list_spaces(conn, SpaceKind.FORENSIC)
        if get_corpus(conn, name).entries <= most_at_once or not spaces:
            held = corpus_sha256s(conn, name)
            count, batch = remove_corpus(conn, name), None
        else:
            count, batch = 0, begin_removal(conn, name, spaces[0], limit)
    if batch is None:
        stores.remove_unneeded(database, held)
        return count
    stores.remove_unneeded(database, batch.sha256s)
    return batch.job


def find_unfinished(database: Database, name: str) -> Job | None:
    """Return the removal of a corpus that is to be finished, None if a live corpus has its name.

    A paused one is resumed. Raises `UnknownCorpus` if there is neither.
    """
    with database.read() as conn:
        with suppress(UnknownCorpus):
            get_corpus(conn, name)
            return None
        job = find_removal(conn, name)
    if job.state in OPEN_STATES or database.read_only:
        return job
    with database.write() as conn:
        return resume_job(conn, job.id)


def finish_removing(
    database: Database,
    stores: BlobStores,
    job: Job,
    on_batch: Callable[[Batch], object] = lambda _: None,
    stop: threading.Event | None = None,
    *,
    limit: int = BATCH,
) -> Job:
    """Work on a removal until it has ended or is paused, or until `stop` is set.

    Each transaction removes up to `limit` entries. Returns the job as it then stands. Raises
    `DatabaseError`; then it can be continued.
    """
    while job.state in OPEN_STATES and not (stop and stop.is_set()):
        with database.write() as conn:
            batch = continue_removal(conn, job, limit)
        stores.remove_unneeded(database, batch.sha256s)
        job = batch.job
        on_batch(batch)
    return job
