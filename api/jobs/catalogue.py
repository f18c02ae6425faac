"""List, describe, pause and resume jobs: what `lineup jobs` and the routes call."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import TextIO

from api.jobs.json import JobAnswer, JobItemAnswer, JobItemPage, JobPage
from api.paging import page, read_number
from api.server_paths import hider_of
from api.visible import csv_cell
from index.truth.databases.database import Database
from index.truth.jobs.chunks import count_tried_again, count_workers
from index.truth.jobs.items import JobItem, Outcome, count_reasons, list_items
from index.truth.jobs.job import OPEN_STATES, get_job, list_jobs, pause_job, resume_job

PAGE = 1000
SHOWN_FAILURES = 20
CSV_COLUMNS = ("position", "name", "outcome", "reason", "detail", "entry_id")


def describe_job(database: Database, job_id: int, *, local: bool = False) -> JobAnswer:
    """Describe a job, with its reasons and workers counted. Raises `UnknownJob`.

    `local`, here and below: for somebody on this machine, with its paths.
    """
    with database.read() as conn:
        return JobAnswer.of(
            get_job(conn, job_id),
            count_reasons(conn, job_id),
            count_workers(conn, job_id),
            tried_again=count_tried_again(conn, job_id),
            local=local,
        )


def glance_at_job(database: Database, job_id: int) -> JobAnswer:
    """Describe a job cheaply: nothing is counted while it is queued or running.

    Raises `UnknownJob`.
    """
    with database.read() as conn:
        job = get_job(conn, job_id)
    return JobAnswer.of(job) if job.state in OPEN_STATES else describe_job(database, job_id)


def page_jobs(
    database: Database, cursor: str | None, limit: int, *, local: bool = False
) -> JobPage:
    """Return a page of jobs, the newest first. Raises `InvalidRequest` for a foreign cursor."""
    with database.read() as conn:
        found = list_jobs(conn, read_number(cursor), limit + 1)
    jobs, next_cursor = page(found, limit, lambda job: job.id)
    return JobPage(jobs=[JobAnswer.of(job, local=local) for job in jobs], next_cursor=next_cursor)


def page_items(
    database: Database,
    job_id: int,
    outcome: Outcome | None,
    cursor: str | None,
    limit: int,
    *,
    local: bool = False,
) -> JobItemPage:
    """Return a page of the items that did not simply succeed.

    Raises `UnknownJob`, `InvalidRequest` for a foreign cursor.
    """
    after = read_number(cursor)
    with database.read() as conn:
        job = get_job(conn, job_id)
        found = list_items(conn, job_id, outcome, -1 if after is None else after, limit + 1)
    items, next_cursor = page(found, limit, lambda item: item.position)
    hider = None if local else hider_of(job.request)
    return JobItemPage(
        items=[JobItemAnswer.of(item, hider) for item in items], next_cursor=next_cursor
    )


def list_first_failures(database: Database, job_id: int) -> list[JobItemAnswer]:
    """Return the first failures of a job, as many as a person on this machine reads."""
    return page_items(database, job_id, Outcome.FAILED, None, SHOWN_FAILURES, local=True).items


def iterate_items(database: Database, job_id: int, outcome: Outcome | None) -> Iterator[JobItem]:
    """Yield every such item; they are read page by page. Raises `UnknownJob`."""
    with database.read() as conn:
        get_job(conn, job_id)
    after = -1
    while True:
        with database.read() as conn:
            items = list_items(conn, job_id, outcome, after, PAGE)
        yield from items
        if len(items) < PAGE:
            return
        after = items[-1].position


def write_csv(items: Iterator[JobItem], file: TextIO) -> None:
    """Write items as CSV with a header (RFC 4180, UTF-8), one line an item.

    `api.visible.csv_cell` writes the cells, so that no spreadsheet interprets them.
    """
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(CSV_COLUMNS)
    for item in items:
        row = (
            item.position,
            item.name,
            item.outcome.value,
            item.reason,
            item.detail,
            item.entry_id,
        )
        writer.writerow(map(csv_cell, row))


def pause(database: Database, job_id: int) -> JobAnswer:
    """Pause an open job; items in work are finished. Raises `UnknownJob`, `JobStateConflict`."""
    with database.write() as conn:
        return JobAnswer.of(pause_job(conn, job_id))


def resume(database: Database, job_id: int) -> JobAnswer:
    """Queue a paused or failed job again. Raises `UnknownJob`, `JobStateConflict`."""
    with database.write() as conn:
        return JobAnswer.of(resume_job(conn, job_id))
