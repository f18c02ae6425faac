"""Entries: the membership of an image in a corpus, with its provenance.

Every addition and removal is also written to the change log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, bindparam, or_, select, update

from index.errors import InvalidFilter, InvalidVector, UnknownCorpus, UnknownEntry
from index.failpoints import Failpoint, reach
from index.jsontext import JSON
from index.truth.changes import Member, record_additions, record_removals
from index.truth.corpora import CorpusKind, Keep, find_corpus_ids, lock_corpus
from index.truth.images import ImageFacts, ensure_embeddings, ensure_images, find_embedded_images
from index.truth.perceptual import PerceptualHash
from index.truth.provenance import Provenance
from index.truth.schema import LARGEST_ID, corpora, entries, images
from index.truth.spaces import Space, ensure_space_id
from index.truth.statements import enlarge_cache, insert_missing, is_any, slices
from index.truth.vectors import STORED, check_logit, check_vectors, to_bytes


class AddStatus(StrEnum):
    """Result of adding one image."""

    ADDED = "added"  # image and entry are new
    LINKED = "linked"  # the image was known from another corpus or an earlier entry
    EMBEDDED = "embedded"  # the entry existed; its image now also has an embedding in this space
    SKIPPED = "skipped"  # the entry existed; nothing changed


@dataclass(frozen=True, slots=True, eq=False)
class NewEntry:
    """An entry to add.

    `vector` (d,) is float32 of norm 1. Vector and logit may be None if the image already has an
    embedding in the space.
    """

    image: ImageFacts
    vector: NDArray[np.float32] | None
    logit: float | None
    provenance: Provenance = field(default_factory=Provenance)


@dataclass(frozen=True, slots=True)
class AddResult:
    """The entry of an image in the corpus, and whether this call created it.

    If `quarantined`, the entry is in quarantine: the image was skipped and appears in no answer.
    """

    entry_id: int
    sha256: str
    status: AddStatus
    quarantined: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry with the facts of its image.

    `provenance` is the free JSON beside the named columns.
    """

    id: int
    corpus: str
    kind: CorpusKind
    keep: Keep
    image: ImageFacts
    generator: str | None
    label: str | None
    licence: str | None
    source: str | None
    acquired_at: datetime | None
    provenance: Mapping[str, JSON]
    created_at: datetime
    job_id: int | None

    @property
    def sha256(self) -> str:
        return self.image.sha256


# Built once, because composing the statement takes longer than fetching ten rows. The columns have
# the order of `entry_from_row`.
ENTRIES = (
    select(
        entries.c.id,
        corpora.c.name,
        corpora.c.kind,
        corpora.c.keep,
        images.c.sha256,
        images.c.byte_size,
        images.c.width,
        images.c.height,
        images.c.format,
        images.c.pdq_hash,
        images.c.pdq_quality,
        images.c.seen,
        entries.c.generator,
        entries.c.label,
        entries.c.licence,
        entries.c.source,
        entries.c.acquired_at,
        entries.c.provenance,
        entries.c.created_at,
        entries.c.job_id,
    )
    .join(corpora, corpora.c.id == entries.c.corpus_id)
    .join(images, images.c.id == entries.c.image_id)
)
_LIVE_ENTRIES = ENTRIES.where(entries.c.removed_at.is_(None))
# The image files of these entries stay. An entry in quarantine can be released
# (`index.truth.quarantine`).
KEEPS_BLOBS = or_(entries.c.removed_at.is_(None), entries.c.removal_reason.is_not(None))
_KEEPING_ENTRIES = ENTRIES.where(KEEPS_BLOBS, corpora.c.removed_at.is_(None))
_LIVE_ENTRIES_BY_ID = _LIVE_ENTRIES.where(entries.c.id.in_(bindparam("ids", expanding=True)))


def add_entries(
    conn: Connection, corpus: str, space: Space, new: Sequence[NewEntry], job_id: int | None = None
) -> tuple[AddResult, ...]:
    """Add entries to a corpus; return the results in the given order. The caller commits.

    An image that is already in the corpus is skipped: its stored provenance and vector stay. An
    image whose entry is in quarantine is skipped too. Call this once in a transaction, because it
    ends with the lock of the change log. `job_id` is stored with new entries.

    Raises:
        UnknownCorpus: no live corpus has this name.
        ForeignSpace: the space is registered with other weights, preprocessing or dimension.
        InvalidProvenance: the databases cannot store a text, or a date has no time zone.
        InvalidImageFacts: a sha256 is malformed, or a size is below one.
        InvalidVector: a vector has a wrong shape or norm, or is missing although its image has no
            embedding in this space.

    """
    embeddings = _check_embeddings(new, space)
    provenances = [entry.provenance.normalise() for entry in new]
    corpus_id = lock_corpus(conn, corpus)
    if not new:
        return ()
    space_id = ensure_space_id(conn, space)
    with enlarge_cache(conn, len(new)):
        ids, new_images = ensure_images(conn, [entry.image for entry in new])
        image_ids = [ids[entry.image.sha256] for entry in new]
        vectors = {
            image_id: stored
            for image_id, stored in zip(image_ids, embeddings, strict=True)
            if stored
        }
        _require_embeddings(conn, space_id, frozenset(image_ids), frozenset(vectors))
        reach(Failpoint.IMAGES_WRITTEN)
        newly_embedded = ensure_embeddings(conn, space_id, vectors)
        reach(Failpoint.EMBEDDINGS_WRITTEN)
        quarantined = _find_quarantined(
            conn, corpus_id, sorted(i for sha256, i in ids.items() if sha256 not in new_images)
        )
        # If an image is given twice, its first provenance counts.
        first = dict(zip(reversed(image_ids), reversed(provenances), strict=True))
        wanted = {i: first[i] for i in dict.fromkeys(image_ids) if i not in quarantined}
        inserted = insert_entries(conn, corpus_id, wanted, job_id)
        reach(Failpoint.ENTRIES_WRITTEN)
        new_ids = [ids[sha256] for sha256 in new_images]
        own = {i: Member(inserted[i], space_id, vectors[i][0]) for i in new_ids}
        record_additions(conn, sorted(first), own)

    existing = sorted(wanted.keys() - inserted.keys())
    entry_ids = {**inserted, **_live_entry_ids(conn, corpus_id, existing), **quarantined}
    statuses = (
        dict.fromkeys(newly_embedded - quarantined.keys(), AddStatus.EMBEDDED)
        | dict.fromkeys(inserted, AddStatus.LINKED)
        | dict.fromkeys(new_ids, AddStatus.ADDED)
    )
    return tuple(
        # An image that is given twice is skipped the second time.
        AddResult(
            entry_ids[image_id],
            entry.image.sha256,
            statuses.pop(image_id, AddStatus.SKIPPED),
            image_id in quarantined,
        )
        for entry, image_id in zip(new, image_ids, strict=True)
    )


def add_embeddings(conn: Connection, space: Space, new: Sequence[NewEntry]) -> frozenset[str]:
    """Store embeddings of images in a space; return the sha256s of those that had none there.

    Every live entry of the images becomes a member of the space. The caller commits.

    Raises:
        ForeignSpace: the space is registered with other weights, preprocessing or dimension.
        InvalidVector: a vector or logit has a wrong shape, norm or value.
        InvalidImageFacts: a sha256 is malformed, or a size is below one.

    """
    embeddings = _check_embeddings(new, space)
    space_id = ensure_space_id(conn, space)
    image_ids, _ = ensure_images(conn, [entry.image for entry in new])
    vectors = {
        image_ids[entry.image.sha256]: stored
        for entry, stored in zip(new, embeddings, strict=True)
        if stored
    }
    newly_embedded = ensure_embeddings(conn, space_id, vectors)
    record_additions(conn, sorted(image_ids.values()))
    return frozenset(sha256 for sha256, image_id in image_ids.items() if image_id in newly_embedded)


def remove_entry(conn: Connection, entry_id: int, reason: str | None = None) -> Entry:
    """Remove an entry and return it; its image stays in other corpora.

    Takes the lock of the corpus, so that a writer who adds the same image cannot find the entry and
    then lose it. Two writers could deadlock if they remove from several corpora in one transaction.
    A reason puts the entry into quarantine; `index.truth.quarantine.quarantine_entry` checks the
    reason first.

    Raises:
        UnknownEntry: no live entry has this id.

    """
    entry = get_entry(conn, entry_id)
    try:
        lock_corpus(conn, entry.corpus)
    except UnknownCorpus as err:
        raise UnknownEntry(entry_id) from err
    marked = conn.execute(
        update(entries)
        .where(entries.c.id == entry_id, entries.c.removed_at.is_(None))
        .values(removed_at=datetime.now(UTC), removal_reason=reason)
        .returning(entries.c.id)
    ).scalar_one_or_none()
    if marked is None:
        raise UnknownEntry(entry_id)
    reach(Failpoint.ENTRY_MARKED)
    record_removals(conn, [entry_id])
    return entry


def get_entry(conn: Connection, entry_id: int) -> Entry:
    """Return a live entry.

    Raises:
        UnknownEntry: no live entry has this id.

    """
    query = _LIVE_ENTRIES.where(entries.c.id == entry_id)
    row = conn.execute(query).one_or_none() if 0 < entry_id <= LARGEST_ID else None
    if row is None:
        raise UnknownEntry(entry_id)
    return entry_from_row(row)


def find_entries(conn: Connection, entry_ids: Sequence[int]) -> dict[int, Entry]:
    """Return those of these entries that are live, by id."""
    found: dict[int, Entry] = {}
    for some in slices(entry_ids):
        found |= {
            row.id: entry_from_row(row) for row in conn.execute(_LIVE_ENTRIES_BY_ID, {"ids": some})
        }
    return found


def find_entries_ever(conn: Connection, entry_ids: Sequence[int]) -> dict[int, Entry]:
    """Return these entries by id, also removed ones, which earlier answers still name."""
    found: dict[int, Entry] = {}
    for some in slices(entry_ids):
        found |= {
            row.id: entry_from_row(row)
            for row in conn.execute(ENTRIES.where(is_any(conn, entries.c.id, some)))
        }
    return found


def list_entries(
    conn: Connection, corpus: str | None = None, after: int | None = None, limit: int = 100
) -> tuple[Entry, ...]:
    """Return at most `limit` live entries with ids above `after`, ascending.

    Raises:
        UnknownCorpus: no live corpus has this name.
        InvalidFilter: the limit is below one.

    """
    if limit < 1:
        raise InvalidFilter("limit must be at least 1")
    query = (
        _LIVE_ENTRIES.where(entries.c.id > min(after or 0, LARGEST_ID))
        .order_by(entries.c.id)
        .limit(limit)
    )
    if corpus is not None:
        query = query.where(entries.c.corpus_id.in_(find_corpus_ids(conn, frozenset([corpus]))))
    return tuple(entry_from_row(row) for row in conn.execute(query))


def entries_of_image(conn: Connection, sha256: str) -> tuple[Entry, ...]:
    """Return the live entries of an image in all corpora by ascending id."""
    query = _LIVE_ENTRIES.where(images.c.sha256 == sha256).order_by(entries.c.id)
    return tuple(entry_from_row(row) for row in conn.execute(query))


def corpus_sha256s(conn: Connection, corpus: str) -> tuple[str, ...]:
    """Return the sha256 of every image of a corpus, also of those in quarantine, ascending.

    Raises:
        UnknownCorpus: no live corpus has this name.

    """
    query = _KEEPING_ENTRIES.where(
        entries.c.corpus_id.in_(find_corpus_ids(conn, frozenset([corpus])))
    )
    return tuple(
        conn.execute(query.with_only_columns(images.c.sha256).order_by(images.c.sha256)).scalars()
    )


def sha256s_not_kept(
    conn: Connection, sha256s: Sequence[str], keeps: Sequence[Keep]
) -> frozenset[str]:
    """Return those of these images whose files can be deleted.

    A live or quarantined entry keeps the file if its corpus has one of the settings `keeps`.
    """
    needed: set[str] = set()
    for some in slices(sha256s):
        query = _KEEPING_ENTRIES.where(
            is_any(conn, images.c.sha256, some), corpora.c.keep.in_(keeps)
        )
        needed.update(conn.execute(query.with_only_columns(images.c.sha256)).scalars())
    return frozenset(sha256s) - needed


def jobs_of_entries(
    conn: Connection, corpus: str, sha256s: Sequence[str]
) -> dict[str, tuple[int, int | None]]:
    """Return the entry id and job id of those of these images that are in a corpus.

    Two queries by key replace a join, for which SQLite would read the whole corpus.

    Raises:
        UnknownCorpus: no live corpus has this name.

    """
    (corpus_id,) = find_corpus_ids(conn, frozenset([corpus]))
    found: dict[str, tuple[int, int | None]] = {}
    for some in slices(sha256s):
        rows = conn.execute(
            select(images.c.id, images.c.sha256).where(is_any(conn, images.c.sha256, some))
        )
        sha256_of = {row.id: row.sha256 for row in rows}
        query = select(entries.c.image_id, entries.c.id, entries.c.job_id).where(
            is_any(conn, entries.c.image_id, list(sha256_of)),
            entries.c.corpus_id == corpus_id,
            entries.c.removed_at.is_(None),
        )
        found |= {
            sha256_of[image_id]: (entry_id, job_id)
            for image_id, entry_id, job_id in conn.execute(query)
        }
    return found


def _check_embeddings(new: Sequence[NewEntry], space: Space) -> list[tuple[bytes, float] | None]:
    """Return stored vector and logit of each entry, or None for an entry without them."""
    for entry in new:
        entry.image.check()
        if (entry.vector is None) is not (entry.logit is None):
            raise InvalidVector("an embedding and its logit must be given together")
    rows = check_vectors(
        [entry.vector for entry in new if entry.vector is not None], space.dimension
    )  # (n, d)
    stored, size = to_bytes(rows), STORED.itemsize * space.dimension
    vectors = (stored[start : start + size] for start in range(0, len(stored), size))
    return [
        None if entry.logit is None else (next(vectors), check_logit(entry.logit)) for entry in new
    ]


def _require_embeddings(
    conn: Connection, space_id: int, wanted: frozenset[int], given: frozenset[int]
) -> None:
    missing = wanted - given
    if missing - find_embedded_images(conn, space_id, sorted(missing)):
        raise InvalidVector(
            "an image has no embedding in this space, so its entry needs a vector and a logit"
        )


def insert_entries(
    conn: Connection, corpus_id: int, provenances: Mapping[int, Provenance], job_id: int | None
) -> dict[int, int]:
    """Insert an entry for each image id that is not in the corpus; return entry ids by image id.

    The provenance must be normalised. The caller holds the lock of the corpus and logs the
    additions.
    """
    given = list(provenances.values())
    columns: dict[str, list[Any]] = {
        "image_id": list(provenances),
        "generator": [provenance.generator for provenance in given],
        "label": [provenance.label for provenance in given],
        "licence": [provenance.licence for provenance in given],
        "source": [provenance.source for provenance in given],
        "acquired_at": [provenance.acquired_at for provenance in given],
        "provenance": [provenance.stored for provenance in given],
    }
    common = {"corpus_id": corpus_id, "created_at": datetime.now(UTC), "job_id": job_id}
    new = insert_missing(conn, entries, columns, entries.c.image_id, entries.c.id, **common)
    return dict(new)


def _find_quarantined(conn: Connection, corpus_id: int, image_ids: Sequence[int]) -> dict[int, int]:
    """Return the entry ids of those of these images that are in quarantine in a corpus."""
    found: dict[int, int] = {}
    for some in slices(image_ids):
        query = select(entries.c.image_id, entries.c.id).where(
            is_any(conn, entries.c.image_id, some),
            entries.c.corpus_id == corpus_id,
            entries.c.removal_reason.is_not(None),
        )
        found |= {row.image_id: row.id for row in conn.execute(query)}
    return found


def _live_entry_ids(conn: Connection, corpus_id: int, image_ids: Sequence[int]) -> dict[int, int]:
    found: dict[int, int] = {}
    for some in slices(image_ids):
        query = select(entries.c.image_id, entries.c.id).where(
            entries.c.corpus_id == corpus_id,
            is_any(conn, entries.c.image_id, some),
            entries.c.removed_at.is_(None),
        )
        found |= {row.image_id: row.id for row in conn.execute(query)}
    return found


def entry_from_row(row: Sequence[Any]) -> Entry:
    """Return the entry in a row of the query `ENTRIES`."""
    (
        entry_id,
        corpus,
        kind,
        keep,
        sha256,
        byte_size,
        width,
        height,
        image_format,
        bits,
        quality,
        seen,
        *provenance_columns,
    ) = row
    hashed = None if bits is None else PerceptualHash(bytes(bits), quality)
    image = ImageFacts(
        sha256, byte_size or None, width or None, height or None, image_format or None, hashed, seen
    )
    return Entry(entry_id, corpus, CorpusKind(kind), Keep(keep), image, *provenance_columns)
