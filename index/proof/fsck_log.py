"""`fsck` of the change log: its numbers, its digests, and whether it leads to the members that the
rows have.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Select, and_, func, select

from index.proof.findings import Finding, FindingKind
from index.truth.changes import ChangeKind, digest_at, last_number
from index.truth.digest import EMPTY, add_member, digest_from_bytes, digest_hex, remove_member
from index.truth.membership import live_digest
from index.truth.schema import changes, embedding_spaces, embeddings, entries

CHUNK = 4096


def check_log(conn: Connection) -> Iterator[Finding]:
    """Yield the findings in the change log."""
    yield from _check_numbers(conn)
    for kind, message, query in _contradictions():
        for item in conn.execute(query).scalars():
            yield Finding(kind, f"{message.split()[0]} {item}", message)
    yield from _check_digests(conn)
    for space_id, fingerprint in conn.execute(
        select(embedding_spaces.c.id, embedding_spaces.c.fingerprint)
    ).all():
        rows, stated = live_digest(conn, space_id), digest_at(conn, space_id, last_number(conn))
        if rows != stated:
            message = (
                f"the live rows have the digest {digest_hex(rows)[:16]}, and the log states "
                f"{digest_hex(stated)[:16]}"
            )
            yield Finding(FindingKind.LIVE_DIGEST, f"space {fingerprint[:16]}", message)


def _check_numbers(conn: Connection) -> Iterator[Finding]:
    last, highest = (
        last_number(conn),
        conn.execute(select(func.max(changes.c.number))).scalar_one() or 0,
    )
    if last != highest:
        message = f"the counter is at {last}, and the last change has the number {highest}"
        yield Finding(FindingKind.COUNTER_MISMATCH, "change_counter", message)
    before = changes.alias("before")
    preceded = select(before.c.number).where(before.c.number == changes.c.number - 1).exists()
    for number in conn.execute(
        select(changes.c.number).where(changes.c.number != 1, ~preceded)
    ).scalars():
        yield Finding(
            FindingKind.CHANGE_GAP,
            f"change {number - 1}",
            "it is missing; the index stops before it",
        )


def _contradictions() -> tuple[tuple[FindingKind, str, Select[Any]], ...]:
    other = changes.alias("other")
    same_member = and_(
        other.c.entry_id == changes.c.entry_id, other.c.space_id == changes.c.space_id
    )
    is_entry = select(entries.c.id).where(entries.c.id == changes.c.entry_id)
    is_space = select(embedding_spaces.c.id).where(embedding_spaces.c.id == changes.c.space_id)
    addition = select(other.c.number).where(same_member, other.c.kind == ChangeKind.ADD)
    removal = select(other.c.number).where(same_member, other.c.kind == ChangeKind.REMOVE)
    removals = select(changes.c.number).where(changes.c.kind == ChangeKind.REMOVE)
    members = (
        select(entries.c.id)
        .join(embeddings, embeddings.c.image_id == entries.c.image_id)
        .distinct()
    )
    logged = select(changes.c.number).where(
        changes.c.entry_id == entries.c.id, changes.c.space_id == embeddings.c.space_id
    )
    logged_addition = logged.where(changes.c.kind == ChangeKind.ADD)
    logged_removal = logged.where(changes.c.kind == ChangeKind.REMOVE)
    live, removed = entries.c.removed_at.is_(None), entries.c.removed_at.is_not(None)
    return (
        (
            FindingKind.CHANGE_WITHOUT_ENTRY,
            "change refers to an entry that does not exist",
            select(changes.c.number).where(~is_entry.exists()),
        ),
        (
            FindingKind.CHANGE_UNKNOWN_SPACE,
            "change refers to an embedding space that does not exist",
            select(changes.c.number).where(~is_space.exists()),
        ),
        (
            FindingKind.REMOVE_WITHOUT_ADD,
            "change removes an entry that was never added",
            removals.where(~addition.exists()),
        ),
        (
            FindingKind.LIVE_NOT_LOGGED,
            "entry is live and embedded, but no change adds it",
            members.where(live, ~logged_addition.exists()),
        ),
        (
            FindingKind.LIVE_BUT_LOGGED_REMOVED,
            "entry is live, but a change removes it",
            members.where(live, logged_removal.exists()),
        ),
        (
            FindingKind.REMOVED_NOT_LOGGED,
            "entry is removed, but no change removes it",
            select(changes.c.entry_id)
            .join(entries, entries.c.id == changes.c.entry_id)
            .where(changes.c.kind == ChangeKind.ADD, removed, ~removal.exists())
            .distinct(),
        ),
    )


def _check_digests(conn: Connection) -> Iterator[Finding]:
    """Compute the digest of each space through the whole log, and report the first change that
    states another one.
    """
    digests: dict[int, int] = {}
    reported: set[int] = set()
    after = 0
    while True:
        page = conn.execute(
            select(changes, embeddings.c.vector)
            .join(entries, entries.c.id == changes.c.entry_id, isouter=True)
            .join(
                embeddings,
                and_(
                    embeddings.c.image_id == entries.c.image_id,
                    embeddings.c.space_id == changes.c.space_id,
                ),
                isouter=True,
            )
            .where(changes.c.number > after)
            .order_by(changes.c.number)
            .limit(CHUNK)
        ).all()
        if not page:
            return
        for row in page:
            roll = add_member if row.kind == ChangeKind.ADD else remove_member
            digest = roll(digests.get(row.space_id, EMPTY), row.entry_id, row.vector or b"")
            stated = digests[row.space_id] = digest_from_bytes(row.digest)
            if digest != stated and row.space_id not in reported:
                reported.add(row.space_id)
                message = "the digest that it states is not the digest of its members"
                yield Finding(FindingKind.CHANGE_DIGEST, f"change {row.number}", message)
        after = page[-1].number
