"""The members of an embedding space according to the rows, without the change log.

`changes.members_at` derives the same set from the log. `fsck` and `verify` compare the two.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, select

from index.truth.changes import Member
from index.truth.digest import EMPTY, add_members
from index.truth.entries import KEEPS_BLOBS
from index.truth.schema import embeddings, entries, images

CHUNK = 4096


def live_members(
    conn: Connection, space_id: int | None, chunk: int = CHUNK
) -> Iterator[tuple[Member, ...]]:
    """Yield every live entry with an embedding in a space, by ascending id, in chunks."""
    after = 0
    while True:
        rows = conn.execute(
            select(
                entries.c.id,
                embeddings.c.space_id,
                embeddings.c.vector,
                entries.c.corpus_id,
                embeddings.c.computation_id,
            )
            .join(embeddings, embeddings.c.image_id == entries.c.image_id)
            .where(
                entries.c.removed_at.is_(None),
                embeddings.c.space_id == (space_id or 0),
                entries.c.id > after,
            )
            .order_by(entries.c.id)
            .limit(chunk)
        )
        page = tuple(
            Member(entry_id, space, bytes(vector), *recorded)
            for entry_id, space, vector, *recorded in rows
        )
        if not page:
            return
        yield page
        after = page[-1].entry_id


def live_digest(conn: Connection, space_id: int | None) -> int:
    """Return the set digest of a space, computed from its live rows."""
    digest = EMPTY
    for page in live_members(conn, space_id):
        digest = add_members(
            digest, (member.entry_id for member in page), (member.vector for member in page)
        )
    return digest


def read_kept_images(conn: Connection, chunk: int = CHUNK) -> Iterator[tuple[str, ...]]:
    """Yield, in chunks, the sha256 of every image with a live or quarantined entry."""
    kept = select(entries.c.id).where(entries.c.image_id == images.c.id, KEEPS_BLOBS).exists()
    after = 0
    while True:
        query = (
            select(images.c.id, images.c.sha256)
            .where(kept, images.c.id > after)
            .order_by(images.c.id)
            .limit(chunk)
        )
        page = conn.execute(query).all()
        if not page:
            return
        yield tuple(sha256 for _, sha256 in page)
        after = page[-1].id
