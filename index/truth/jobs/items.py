"""Items of a job: what is recorded about those that failed, were skipped, or need a remark.

Items without a remark are only counted (`index.truth.jobs.job.JobCounts`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, func, select

from index.truth.schema import job_items
from index.truth.statements import insert_rows


class Outcome(StrEnum):
    """Result of one item of a job."""

    ADDED = "added"  # the image was new
    LINKED = "linked"  # the image was known from another corpus or an earlier entry
    EMBEDDED = "embedded"  # the entry existed; its image now also has an embedding of this model
    SKIPPED = "skipped"  # nothing changed; the reason says why
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class JobItem:
    """A recorded item: it failed, was skipped, or needs a remark.

    `position` counts from 0 in the order of the source.
    """

    position: int
    name: str
    outcome: Outcome
    reason: str
    detail: str = ""
    entry_id: int | None = None


def insert_items(conn: Connection, job_id: int, items: Sequence[JobItem]) -> None:
    """Record items of a job."""
    rows = [
        {
            "position": item.position,
            "name": escape_unstorable(item.name),
            "outcome": item.outcome.value,
            "reason": item.reason,
            "detail": escape_unstorable(item.detail),
            "entry_id": item.entry_id,
        }
        for item in items
    ]
    insert_rows(conn, job_items, rows, job_id=job_id)


def count_reasons(conn: Connection, job_id: int) -> dict[Outcome, dict[str, int]]:
    """Return the number of items by outcome and reason."""
    query = select(job_items.c.outcome, job_items.c.reason, func.count()).where(
        job_items.c.job_id == job_id
    )
    found: dict[Outcome, dict[str, int]] = {}
    for outcome, reason, count in conn.execute(
        query.group_by(job_items.c.outcome, job_items.c.reason).order_by(
            job_items.c.outcome, job_items.c.reason
        )
    ):
        found.setdefault(Outcome(outcome), {})[reason] = count
    return found


def list_items(
    conn: Connection,
    job_id: int,
    outcome: Outcome | None = None,
    after: int = -1,
    limit: int = 1000,
) -> tuple[JobItem, ...]:
    """Return recorded items in the order of the source, at most `limit` after a position."""
    query = select(job_items).where(job_items.c.job_id == job_id, job_items.c.position > after)
    if outcome is not None:
        query = query.where(job_items.c.outcome == outcome.value)
    rows = conn.execute(query.order_by(job_items.c.position).limit(limit))
    return tuple(
        JobItem(row.position, row.name, Outcome(row.outcome), row.reason, row.detail, row.entry_id)
        for row in rows
    )


def escape_unstorable(text: str) -> str:
    """Return text that both databases can store; other characters become escapes."""
    return text.replace("\x00", r"\x00").encode("utf-8", "backslashreplace").decode()
