"""Removing a large corpus: its entries leave every answer at once, and the rows batch by batch.

A removal of 100,000 entries in one transaction holds the change log for some ten seconds, and every
writer waits. So the first transaction marks the corpus and removes the first batch; from its commit
on, searches leave the corpus out. Later transactions remove the rest, by whoever works on the job,
as often as it takes. The mark keeps the number of the first change of the removal, so that a search
of an earlier generation still has the entries, and one of a later generation never does, whichever
batches it saw.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Connection, false, func, select, update

from index.errors import UnknownCorpus
from index.failpoints import Failpoint, reach
from index.truth.changes import (
    last_number,
    lock_changes,
    record_amendment,
    record_removals,
)
from index.truth.corpora import lock_corpus
from index.truth.jobs.job import (
    OPEN_STATES,
    Job,
    JobKind,
    complete_job,
    count_removed,
    create_job,
    get_job,
    list_unfinished_jobs,
)
from index.truth.schema import corpora, entries, images
from index.truth.spaces import Space
from index.truth.statements import is_any

# A batch takes PostgreSQL about a tenth of a second (a removal of 100,000 took 12.7 s in one
# transaction, 2026-11-30), for which other writers wait.
BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Batch:
    """What a transaction removed: how many entries, the images of which may be in no corpus now.

    `job` is the job as it then stands.
    """

    removed: int
    sha256s: tuple[str, ...]
    job: Job


def count_entries(conn: Connection, corpus_id: int) -> int:
    """Return how many live entries a corpus has, whether it was removed or not."""
    query = select(func.count()).select_from(entries)
    return int(conn.execute(query.where(*_left(corpus_id))).scalar_one())


def begin_removal(conn: Connection, name: str, space: Space, limit: int = BATCH) -> Batch:
    """Mark a corpus as removed, remove its first entries, and queue the job that removes the rest.

    `space` is any embedding space, for the job.

    Raises:
        UnknownCorpus: no live corpus has this name.

    """
    corpus_id = lock_corpus(conn, name)
    lock_changes(conn)
    conn.execute(
        update(corpora)
        .where(corpora.c.id == corpus_id)
        .values(removed_at=datetime.now(UTC), removed_from=last_number(conn) + 1, emptying=True)
    )
    record_amendment(conn)  # without entries, no change says that the corpus is gone
    job = create_job(conn, JobKind.REMOVE, corpus_id, space, {"corpus": name, "id": corpus_id})
    count_removed(conn, job.id, found=count_entries(conn, corpus_id))
    reach(Failpoint.CORPUS_MARKED)
    return _remove_batch(conn, corpus_id, job.id, limit)


def continue_removal(conn: Connection, job: Job, limit: int = BATCH) -> Batch:
    """Remove the next entries of a corpus; without any left, complete the job.

    Several workers can do so side by side. Does nothing for a job that is not open.
    """
    corpus_id = int(job.request["id"])
    conn.execute(select(corpora.c.id).where(corpora.c.id == corpus_id).with_for_update())
    now = get_job(conn, job.id)
    if now.state not in OPEN_STATES:
        return Batch(0, (), now)
    return _remove_batch(conn, corpus_id, job.id, limit)


def find_removal(conn: Connection, name: str) -> Job:
    """Return the removal of a corpus of this name that has not ended.

    Raises:
        UnknownCorpus: there is none.

    """
    for job in list_unfinished_jobs(conn, JobKind.REMOVE):
        if job.corpus == name:
            return job
    raise UnknownCorpus(name)


def find_emptying_ids(conn: Connection) -> tuple[int, ...]:
    """Return the row ids of removed corpora that still have entries, ascending."""
    # Every search asks this. The driver's statement takes half the time of `execute`.
    return tuple(row[0] for row in conn.exec_driver_sql(_EMPTYING))


_EMPTYING = "SELECT id FROM corpora WHERE emptying ORDER BY id"


def find_ids_removed_before(conn: Connection, generation: int) -> frozenset[int]:
    """Return the corpora of whose entries no search of a generation has any, though the change log
    removed some of them later.
    """
    query = select(corpora.c.id).where(corpora.c.removed_from <= generation)
    return frozenset(conn.execute(query).scalars())


def _remove_batch(conn: Connection, corpus_id: int, job_id: int, limit: int) -> Batch:
    """Remove entries of a marked corpus. The caller has locked its row."""
    query = select(entries.c.id, images.c.sha256).join(images, images.c.id == entries.c.image_id)
    found = conn.execute(query.where(*_left(corpus_id)).order_by(entries.c.id).limit(limit)).all()
    ids = [row.id for row in found]
    sha256s = [row.sha256 for row in found]
    if ids:
        now = datetime.now(UTC)
        some = is_any(conn, entries.c.id, ids)
        conn.execute(update(entries).where(some).values(removed_at=now))
        record_removals(conn, ids)
        count_removed(conn, job_id, removed=len(ids))
    if len(ids) < limit:
        conn.execute(update(corpora).where(corpora.c.id == corpus_id).values(emptying=false()))
        complete_job(conn, job_id)
        sha256s += _find_quarantined(conn, corpus_id)
    return Batch(len(ids), tuple(sha256s), get_job(conn, job_id))


def _find_quarantined(conn: Connection, corpus_id: int) -> list[str]:
    """Return the images of entries in quarantine, whose files are kept as long as the corpus is."""
    query = select(images.c.sha256).join(entries, entries.c.image_id == images.c.id)
    quarantined = (entries.c.corpus_id == corpus_id, entries.c.removal_reason.is_not(None))
    return list(conn.execute(query.where(*quarantined)).scalars())


def _left(corpus_id: int) -> tuple[ColumnElement[bool], ...]:
    return entries.c.corpus_id == corpus_id, entries.c.removed_at.is_(None)
