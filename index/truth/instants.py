"""Instants that Python, SQLite and PostgreSQL all hold: the years 1 to 9999 in UTC.

Every instant from outside goes through `in_utc` before anything is done with it: those of requests
through `api.fields.Instant`, those of sources through `api.ingest.provenance`, and once more all
that are stored, through `Provenance.normalise`. .NET, for example, writes "no date" as
`0001-01-01T00:00:00+01:00`, which is an hour before the year 1.
"""

from __future__ import annotations

from datetime import UTC, datetime


def in_utc(instant: datetime) -> datetime:
    """Convert a time to UTC. A time without a zone is UTC.

    Raises ValueError for a time outside of the years 1 to 9999 in UTC.
    """
    try:
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except OverflowError as err:
        raise ValueError("is not in the years 1 to 9999 in UTC") from err
