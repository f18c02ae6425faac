"""The change log: each addition of an entry to an embedding space, and each removal.

Changes are numbered without gaps in the order of their commits. A generation is the number of the
last change in a view. A transaction takes its numbers from one counter row as its last step. The
row stays locked until the commit, so the numbers follow the order of the commits, and a rollback
returns them. A reader still stops before a missing number, because other programs can write the
log. See `docs/decisions/0001-generation-is-the-last-change.md`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, and_, case, func, select, update

from index.failpoints import Failpoint, reach
from index.truth.computations import record_in_corpora
from index.truth.digest import EMPTY, add_member, digest_bytes, digest_from_bytes, remove_member
from index.truth.schema import change_counter, changes, embeddings, entries
from index.truth.statements import fetch_rows, insert_rows, is_any, slices


class ChangeKind(StrEnum):
    ADD = "add"
    REMOVE = "remove"


class Change(NamedTuple):
    """One row of the log.

    `row` is set for an addition to the requested space, if the database has its vector.
    """

    number: int
    kind: ChangeKind
    entry_id: int
    space_id: int
    digest: int
    row: MemberRow | None


class Member(NamedTuple):
    """An entry in an embedding space, with the stored bytes of its vector.

    `computation_id` is the row of what computed the vector, None if that is not known.
    """

    entry_id: int
    space_id: int
    vector: bytes
    corpus_id: int
    computation_id: int | None


class MemberRow(NamedTuple):  # not a dataclass: building an index creates a million of them
    """An entry with its vector's stored bytes in one space, and the facts that the index keeps."""

    entry_id: int
    vector: bytes
    corpus_id: int
    generator: str | None
    label: str | None
    acquired_at: datetime | None


_entry_id = attrgetter("entry_id")


def record_additions(
    conn: Connection, image_ids: Sequence[int], own: Sequence[Mapping[int, Member]] = ()
) -> None:
    """Log the live entries of these images in every space of their embeddings, unless logged.

    Record also what computed these embeddings, for the corpora of the entries.

    Call it after the rows are written. It reads the pairs of entry and embedding while it holds the
    lock. So if one writer adds an entry and another an embedding of the same image, one of the two
    finds the pair.

    `own` maps an image id to its member in one space, for each space in ascending order, for images
    that this transaction inserted together with their entry and embeddings. No other transaction
    sees such an image before the commit, so nothing needs to be read for it.
    """
    lock_changes(conn)
    first_numbers: dict[tuple[int, int, int | None], int] = {}
    inserted = frozenset().union(*own)
    for some in slices(image_ids):
        new = [of_space[image_id] for of_space in own for image_id in some if image_id in of_space]
        if others := [image_id for image_id in some if image_id not in inserted]:
            new += _find_unlogged(conn, others)
        # The sort is stable, so the changes of one entry stay in ascending order of space.
        members = sorted(new, key=_entry_id)
        first = _append(conn, ChangeKind.ADD, members)
        for number, member in enumerate(members, first):
            kind = (member.corpus_id, member.space_id, member.computation_id)
            first_numbers.setdefault(kind, number)
    record_in_corpora(conn, first_numbers)


def _find_unlogged(conn: Connection, image_ids: Sequence[int]) -> list[Member]:
    """Return the live entries of these images in the spaces that have not logged them yet."""
    members = _members(
        conn, is_any(conn, entries.c.image_id, image_ids), entries.c.removed_at.is_(None)
    )
    logged = _find_logged(conn, [member.entry_id for member in members])
    return [
        member
        for member in members
        if ChangeKind.ADD not in logged.get((member.entry_id, member.space_id), ())
    ]


def record_removals(conn: Connection, entry_ids: Sequence[int]) -> None:
    """Log that these entries, already marked as removed, have left each of their spaces."""
    lock_changes(conn)
    for some in slices(entry_ids):
        members = _members(conn, is_any(conn, entries.c.id, some))
        logged = _find_logged(conn, some)
        removed = [
            member
            for member in members
            if logged.get((member.entry_id, member.space_id)) == {ChangeKind.ADD}
        ]
        _append(conn, ChangeKind.REMOVE, removed)


def record_amendment(conn: Connection) -> None:
    """Record that this transaction changes what answers show, though no entry may be added or
    removed: the setting `keep` of a corpus, its removal, facts of an image that were not known, a
    calibration, or the check of a precision.

    Who holds any of that in memory reads it again after the commit. Call it last, like all that
    takes the lock of the change log. The number of an amendment is its time in microseconds, or one
    more than the number before: a database that was restored does not come to it again.
    """
    following, now = change_counter.c.amendments + 1, time.time_ns() // 1000
    number = case((following > now, following), else_=now)
    conn.execute(update(change_counter).values(amendments=number))


class Head(NamedTuple):
    """The newest state that a transaction sees: the number of the last change, 0 before the first
    one, and its time in the driver's type; the number of the last amendment; whether a removed
    corpus still has entries; and how many corpora there ever were, because an empty one comes
    without a change.

    Between two equal heads, every entry that is a member of a space stays one, answers show the
    same of it, and calibrations and corpora are the same. The times tell a database from another
    one that was put in its place.
    """

    last: int
    changed_at: datetime | str | None
    amendments: int
    is_emptying: bool
    corpora: int


# Every search asks this. The columns are those of `head_from_row`.
HEAD_COLUMNS = (
    "last, (SELECT at FROM changes WHERE number = last), amendments, "
    "EXISTS (SELECT 1 FROM corpora WHERE emptying), (SELECT count(*) FROM corpora)"
)
HEAD = f"SELECT {HEAD_COLUMNS} FROM change_counter"  # noqa: S608  # nosec B608 # constants


def head_from_row(row: Sequence[Any]) -> Head:
    """Return the head in a row that begins with `HEAD_COLUMNS`."""
    last, changed_at, amendments, is_emptying, corpora, *_ = row
    return Head(last, changed_at, amendments, bool(is_emptying), corpora)


def read_head(conn: Connection) -> Head:
    """Return the head of the change log."""
    (row,) = fetch_rows(conn, HEAD)
    return head_from_row(row)


def continues(conn: Connection, head: Head) -> bool:
    """Return whether the log still has the last change of an earlier head, and not another one of
    the same number.
    """
    mark = "%s" if conn.dialect.name == "postgresql" else "?"
    query = f"SELECT at FROM changes WHERE number = {mark}"  # noqa: S608  # nosec B608 # a constant
    return not head.last or fetch_rows(conn, query, (head.last,)) == [(head.changed_at,)]


def last_number(conn: Connection) -> int:
    """Return the number of the last change, 0 before the first one."""
    return read_head(conn).last


def read_changes(
    conn: Connection, space_id: int | None, after: int, limit: int
) -> tuple[Change, ...]:
    """Return at most `limit` changes of all spaces after a number, up to the first gap.

    Only additions to the space `space_id` have a `row`.
    """
    rows = conn.execute(
        select(
            changes.c.number,
            changes.c.kind,
            changes.c.space_id,
            changes.c.digest,
            changes.c.entry_id,
            *_MEMBER_COLUMNS,
        )
        .join(entries, entries.c.id == changes.c.entry_id, isouter=True)
        .join(
            embeddings,
            and_(
                _embedding_of_change(),
                changes.c.space_id == (space_id or 0),
                changes.c.kind == ChangeKind.ADD,
            ),
            isouter=True,
        )
        .where(changes.c.number > after)
        .order_by(changes.c.number)
        .limit(limit)
    )
    found: list[Change] = []
    for number, kind, of_space, digest, entry_id, vector, *facts in rows:
        if number != after + len(found) + 1:
            break
        member = None if vector is None else MemberRow(entry_id, vector, *facts)
        found.append(
            Change(number, _KINDS[kind], entry_id, of_space, digest_from_bytes(digest), member)
        )
    return tuple(found)


_KINDS = {kind.value: kind for kind in ChangeKind}


def last_before_gap(conn: Connection) -> int:
    """Return the last number that a reader may use: every number from 1 to it exists."""
    lowest, highest, count = conn.execute(
        select(func.min(changes.c.number), func.max(changes.c.number), func.count())
    ).one()
    if not count or lowest != 1:
        return 0
    if highest == count:
        return int(highest)
    following = changes.alias("following")
    followed = select(following.c.number).where(following.c.number == changes.c.number + 1)
    return int(
        conn.execute(select(func.min(changes.c.number)).where(~followed.exists())).scalar_one()
    )


def digest_at(conn: Connection, space_id: int | None, number: int) -> int:
    """Return the set digest of a space at a generation, as stored in the log."""
    stored = conn.execute(
        select(changes.c.digest)
        .where(changes.c.space_id == (space_id or 0), changes.c.number <= number)
        .order_by(changes.c.number.desc())
        .limit(1)
    ).scalar_one_or_none()
    return EMPTY if stored is None else digest_from_bytes(stored)


def find_time(conn: Connection, number: int) -> datetime | None:
    """Return when a change was logged, to the microsecond; None if there is no such change.

    Two databases whose logs have equal digests differ in it, unless one is a copy of the other.
    """
    query = select(changes.c.at).where(changes.c.number == number)
    return conn.execute(query).scalar_one_or_none()


def count_members(conn: Connection, space_id: int | None) -> int:
    """Return the current number of members of a space, according to the log."""
    of_space = changes.c.space_id == (space_id or 0)
    additions, all_changes = conn.execute(
        select(func.count().filter(changes.c.kind == ChangeKind.ADD), func.count()).where(of_space)
    ).one()
    return int(2 * additions - all_changes)


def members_at(
    conn: Connection, space_id: int | None, number: int, chunk: int
) -> Iterator[tuple[MemberRow, ...]]:
    """Yield the members of a space at a generation in order of addition, in chunks of `chunk`.

    The chunks bound the memory.
    """
    removal = changes.alias("removal")
    removals = select(removal.c.number).where(
        removal.c.entry_id == changes.c.entry_id,
        removal.c.space_id == changes.c.space_id,
        removal.c.kind == ChangeKind.REMOVE,
        removal.c.number <= number,
    )
    after = 0
    while True:
        rows = conn.execute(
            select(changes.c.number, changes.c.entry_id, *_MEMBER_COLUMNS)
            .join(entries, entries.c.id == changes.c.entry_id)
            .join(embeddings, _embedding_of_change())
            .where(
                changes.c.space_id == (space_id or 0),
                changes.c.kind == ChangeKind.ADD,
                changes.c.number <= number,
                changes.c.number > after,
                ~removals.exists(),
            )
            .order_by(changes.c.number)
            .limit(chunk)
        ).all()
        if not rows:
            return
        yield tuple([MemberRow(*member) for _number, *member in rows])
        after = rows[-1].number


# The fields of a MemberRow after the id, in its order.
_MEMBER_COLUMNS = (
    embeddings.c.vector,
    entries.c.corpus_id,
    entries.c.generator,
    entries.c.label,
    entries.c.acquired_at,
)


def _embedding_of_change() -> ColumnElement[bool]:
    return and_(
        embeddings.c.image_id == entries.c.image_id, embeddings.c.space_id == changes.c.space_id
    )


def lock_changes(conn: Connection) -> None:
    """Wait until every other writer of the log has committed.

    On SQLite a write transaction is the only writer already.
    """
    conn.execute(select(change_counter.c.last).with_for_update()).scalar_one()


def _members(conn: Connection, *criteria: ColumnElement[bool]) -> list[Member]:
    """Return the entries that match, in every space of their embeddings, by entry and space.

    Two queries by key replace a join: PostgreSQL has no statistics of a table that is being filled,
    and then its plan for the join reads the whole table for each slice.
    """
    query = select(entries.c.id, entries.c.image_id, entries.c.corpus_id).where(*criteria)
    matching = conn.execute(query.order_by(entries.c.id)).all()
    found: dict[int, list[Row[*tuple[Any, ...]]]] = {}
    for some in slices(sorted({row.image_id for row in matching})):
        embedded = select(
            embeddings.c.image_id,
            embeddings.c.space_id,
            embeddings.c.vector,
            embeddings.c.computation_id,
        ).where(is_any(conn, embeddings.c.image_id, some))
        for row in conn.execute(embedded.order_by(embeddings.c.space_id)):
            found.setdefault(row.image_id, []).append(row)
    return [
        Member(entry.id, row.space_id, bytes(row.vector), entry.corpus_id, row.computation_id)
        for entry in matching
        for row in found.get(entry.image_id, ())
    ]


def _find_logged(conn: Connection, entry_ids: Sequence[int]) -> dict[tuple[int, int], set[str]]:
    """Return the logged kinds of change of these entries, by entry and space."""
    logged: dict[tuple[int, int], set[str]] = {}
    for some in slices(sorted(set(entry_ids))):
        query = select(changes.c.entry_id, changes.c.space_id, changes.c.kind)
        for entry_id, space_id, kind in conn.execute(
            query.where(is_any(conn, changes.c.entry_id, some))
        ).all():
            logged.setdefault((entry_id, space_id), set()).add(kind)
    return logged


def _append(conn: Connection, kind: ChangeKind, members: Sequence[Member]) -> int:
    """Log changes and return the number of the first of them, 0 if there is none."""
    if not members:
        return 0
    last: int = conn.execute(
        update(change_counter)
        .values(last=change_counter.c.last + len(members))
        .returning(change_counter.c.last)
    ).scalar_one()
    first = last - len(members) + 1
    reach(Failpoint.NUMBERS_TAKEN)
    roll = add_member if kind is ChangeKind.ADD else remove_member
    digests = {
        space_id: digest_at(conn, space_id, first) for space_id in {m.space_id for m in members}
    }
    stored = []
    for entry_id, space_id, vector, *_ in members:
        digests[space_id] = roll(digests[space_id], entry_id, vector)
        stored.append(digest_bytes(digests[space_id]))
    columns = {
        "number": range(first, last + 1),
        "entry_id": [member.entry_id for member in members],
        "space_id": [member.space_id for member in members],
        "digest": stored,
    }
    insert_rows(conn, changes, columns, kind=kind, at=datetime.now(UTC))
    reach(Failpoint.CHANGES_WRITTEN)
    return first
