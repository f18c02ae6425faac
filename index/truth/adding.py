"""Adding: images, embeddings and entries enter the database together, and are logged.

Owns what a caller gives and gets. The rows of images and embeddings are written by
`index.truth.images`, the change log by `index.truth.changes`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from index.errors import InvalidVector
from index.failpoints import Failpoint, reach
from index.truth.changes import Member, record_additions, record_amendment
from index.truth.computations import Computation, ensure_computation_ids
from index.truth.corpora import lock_corpus
from index.truth.images import (
    EmbeddingRow,
    ImageFacts,
    ensure_embeddings,
    ensure_images,
    find_embedded_images,
)
from index.truth.provenance import Provenance
from index.truth.schema import entries, images
from index.truth.spaces import Space, SpaceKind, ensure_space_id
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
    embedding in the space. `computation` is what computed them, None if that is not known.
    `copy_vector` (c,) float32 of norm 1 is the vector of the copy descriptor, and
    `copy_computation` what computed it; None without one.
    """

    image: ImageFacts
    vector: NDArray[np.float32] | None
    logit: float | None
    provenance: Provenance = field(default_factory=Provenance)
    computation: Computation | None = None
    copy_vector: NDArray[np.float32] | None = None
    copy_computation: Computation | None = None


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
class _StoredImages:
    """The images of a call, after they and their embeddings are written.

    `ids` are the image ids in the order of the given entries. `new_ids` are those of images that
    were unknown, `newly_embedded` those of images that had no embedding in the space. `embeddings`
    are the rows by space, ascending, and then by image; the copy space is among them. `completed`:
    a known image got facts that its row lacked.
    """

    ids: Sequence[int]
    new_ids: frozenset[int]
    newly_embedded: frozenset[int]
    embeddings: Mapping[int, Mapping[int, EmbeddingRow]]
    completed: bool

    def known_ids(self) -> list[int]:
        """Return the ids of the images that were known before, ascending."""
        return sorted(frozenset(self.ids) - self.new_ids)

    def new_members(self, corpus_id: int, entry_ids: Mapping[int, int]) -> list[dict[int, Member]]:
        """Return the members of the new images, by image id, in each space; `entry_ids` is by
        image id.
        """
        members: list[dict[int, Member]] = []
        for space_id, rows in self.embeddings.items():
            own: dict[int, Member] = {}
            for image_id in self.new_ids:
                if (row := rows.get(image_id)) is not None:  # it may lack a copy vector
                    vector, _, computation_id = row
                    own[image_id] = Member(
                        entry_ids[image_id], space_id, vector, corpus_id, computation_id
                    )
            members.append(own)
        return members


def add_entries(
    conn: Connection,
    corpus: str,
    space: Space,
    new: Sequence[NewEntry],
    job_id: int | None = None,
    *,
    copy_space: Space | None = None,
) -> tuple[AddResult, ...]:
    """Add entries to a corpus; return the results in the given order. The caller commits.

    Vectors of a copy descriptor are stored in `copy_space` by the same transaction, and both are in
    the change log. An entry without one is added all the same.

    An image that is already in the corpus is skipped: its stored provenance and vector stay. An
    image whose entry is in quarantine is skipped too. Call this once in a transaction, because it
    ends with the lock of the change log. `job_id` is stored with new entries.

    Raises:
        UnknownCorpus: no live corpus has this name.
        ForeignSpace: a space is registered with other weights, preprocessing, dimension or kind.
        InvalidProvenance: the databases cannot store a text, or a date has no time zone.
        InvalidImageFacts: a sha256 is malformed, or a size is below one.
        InvalidVector: a vector has a wrong shape or norm, or is missing although its image has no
            embedding in this space; or there is a copy vector and no copy space.
        InvalidComputation: the name of a device or of a precision is none.

    """
    embeddings = _check_embeddings(new, space)
    copies = _check_copy_vectors(new, copy_space)
    provenances = [entry.provenance.normalise() for entry in new]
    corpus_id = lock_corpus(conn, corpus)
    if not new:
        return ()
    space_id = ensure_space_id(conn, space)
    with enlarge_cache(conn, len(new)):
        stored = _store_images(conn, space_id, new, embeddings, copy_space, copies)
        quarantined = _find_quarantined(conn, corpus_id, stored.known_ids())
        # If an image is given twice, its first provenance counts.
        first = dict(zip(reversed(stored.ids), reversed(provenances), strict=True))
        wanted = {i: first[i] for i in dict.fromkeys(stored.ids) if i not in quarantined}
        inserted = insert_entries(conn, corpus_id, wanted, job_id)
        reach(Failpoint.ENTRIES_WRITTEN)
        record_additions(conn, sorted(first), stored.new_members(corpus_id, inserted))
        if stored.completed:
            record_amendment(conn)
    existing = _live_entry_ids(conn, corpus_id, sorted(wanted.keys() - inserted.keys()))
    return _results(new, stored, inserted, existing, quarantined)


def _store_images(
    conn: Connection,
    space_id: int,
    new: Sequence[NewEntry],
    embeddings: Sequence[tuple[bytes, float] | None],
    copy_space: Space | None,
    copies: Sequence[bytes | None],
) -> _StoredImages:
    """Write the images of entries and their embeddings, where they are missing.

    Raises:
        InvalidVector: an image has no embedding in the space, neither stored nor given.

    """
    ids, new_images, completed = ensure_images(conn, [entry.image for entry in new])
    image_ids = [ids[entry.image.sha256] for entry in new]
    computation_ids = ensure_computation_ids(conn, space_id, {each.computation for each in new})
    rows = {
        image_id: (*stored, computation_ids[entry.computation])
        for image_id, entry, stored in zip(image_ids, new, embeddings, strict=True)
        if stored
    }
    _require_embeddings(conn, space_id, frozenset(image_ids), frozenset(rows))
    reach(Failpoint.IMAGES_WRITTEN)
    newly_embedded = ensure_embeddings(conn, space_id, rows)
    by_space: dict[int, Mapping[int, EmbeddingRow]] = {space_id: rows}
    if copy_space is not None and any(copies):
        copy_id, described = _describe(conn, copy_space, new, image_ids, copies)
        ensure_embeddings(conn, copy_id, described)
        by_space[copy_id] = described
    reach(Failpoint.EMBEDDINGS_WRITTEN)
    new_ids = frozenset(ids[sha256] for sha256 in new_images)
    return _StoredImages(
        image_ids, new_ids, newly_embedded, dict(sorted(by_space.items())), completed
    )


def _describe(
    conn: Connection,
    copy_space: Space,
    new: Sequence[NewEntry],
    image_ids: Sequence[int],
    copies: Sequence[bytes | None],
) -> tuple[int, dict[int, EmbeddingRow]]:
    """Return the id of the copy space, and the rows of the given copy vectors by image id."""
    space_id = ensure_space_id(conn, copy_space)
    given = {entry.copy_computation for entry in new if entry.copy_vector is not None}
    computation_ids = ensure_computation_ids(conn, space_id, given)
    return space_id, {
        image_id: (stored, None, computation_ids[entry.copy_computation])
        for image_id, entry, stored in zip(image_ids, new, copies, strict=True)
        if stored is not None
    }


def _results(
    new: Sequence[NewEntry],
    stored: _StoredImages,
    inserted: Mapping[int, int],
    existing: Mapping[int, int],
    quarantined: Mapping[int, int],
) -> tuple[AddResult, ...]:
    """Return the result for each given entry; the mappings hold entry ids by image id."""
    entry_ids = {**inserted, **existing, **quarantined}
    statuses = (
        dict.fromkeys(stored.newly_embedded - quarantined.keys(), AddStatus.EMBEDDED)
        | dict.fromkeys(inserted, AddStatus.LINKED)
        | dict.fromkeys(stored.new_ids, AddStatus.ADDED)
    )
    return tuple(
        # An image that is given twice is skipped the second time.
        AddResult(
            entry_ids[image_id],
            entry.image.sha256,
            statuses.pop(image_id, AddStatus.SKIPPED),
            image_id in quarantined,
        )
        for entry, image_id in zip(new, stored.ids, strict=True)
    )


def add_embeddings(conn: Connection, space: Space, new: Sequence[NewEntry]) -> frozenset[str]:
    """Store embeddings of images in a space; return the sha256s of those that had none there.

    Every live entry of the images becomes a member of the space. The caller commits.

    Raises:
        ForeignSpace: the space is registered with other weights, preprocessing or dimension.
        InvalidVector: a vector or logit has a wrong shape, norm or value.
        InvalidComputation: the name of a device or of a precision is none.
        InvalidImageFacts: a sha256 is malformed, or a size is below one.

    """
    embeddings = _check_embeddings(new, space)
    space_id = ensure_space_id(conn, space)
    image_ids, _, completed = ensure_images(conn, [entry.image for entry in new])
    computation_ids = ensure_computation_ids(conn, space_id, {each.computation for each in new})
    rows = {
        image_ids[entry.image.sha256]: (*stored, computation_ids[entry.computation])
        for entry, stored in zip(new, embeddings, strict=True)
        if stored
    }
    newly_embedded = ensure_embeddings(conn, space_id, rows)
    record_additions(conn, sorted(image_ids.values()))
    if completed:
        record_amendment(conn)
    return frozenset(sha256 for sha256, image_id in image_ids.items() if image_id in newly_embedded)


def add_copy_vectors(
    conn: Connection, copy_space: Space, new: Sequence[NewEntry]
) -> frozenset[str]:
    """Store the copy vectors of images that are in the database; return the sha256s of those that
    had none in the space. The caller commits.

    Every live entry of the images becomes a member of the copy space. An image that is not in the
    database (any more) is left out.

    Raises:
        ForeignSpace, InvalidVector, InvalidComputation: as `add_entries`.

    """
    copies = _check_copy_vectors(new, copy_space)
    ids: dict[str, int] = {}
    for some in slices([entry.image.sha256 for entry in new]):
        query = select(images.c.sha256, images.c.id).where(is_any(conn, images.c.sha256, some))
        ids |= dict(conn.execute(query).all())
    known = [
        (entry, vector)
        for entry, vector in zip(new, copies, strict=True)
        if entry.image.sha256 in ids
    ]
    image_ids = [ids[entry.image.sha256] for entry, _ in known]
    space_id, rows = _describe(
        conn, copy_space, [entry for entry, _ in known], image_ids, [vector for _, vector in known]
    )
    described = ensure_embeddings(conn, space_id, rows)
    record_additions(conn, sorted(rows))
    return frozenset(sha256 for sha256, image_id in ids.items() if image_id in described)


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


def _check_embeddings(new: Sequence[NewEntry], space: Space) -> list[tuple[bytes, float] | None]:
    """Return stored vector and logit of each entry, or None for an entry without them."""
    if space.kind is not SpaceKind.FORENSIC:
        raise InvalidVector("a copy space has no logits; its vectors come beside an embedding")
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


def _check_copy_vectors(new: Sequence[NewEntry], copy_space: Space | None) -> list[bytes | None]:
    """Return the stored copy vector of each entry, or None for an entry without one."""
    given = [entry.copy_vector for entry in new if entry.copy_vector is not None]
    if not given:
        return [None] * len(new)
    if copy_space is None or copy_space.kind is not SpaceKind.COPY:
        raise InvalidVector("the vector of a copy descriptor needs the copy space that it is in")
    rows = check_vectors(given, copy_space.dimension)  # (n, c)
    vectors = (to_bytes(row, copy_space.form) for row in rows)
    return [None if entry.copy_vector is None else next(vectors) for entry in new]


def _require_embeddings(
    conn: Connection, space_id: int, wanted: frozenset[int], given: frozenset[int]
) -> None:
    missing = wanted - given
    if missing - find_embedded_images(conn, space_id, sorted(missing)):
        raise InvalidVector(
            "an image has no embedding in this space, so its entry needs a vector and a logit"
        )


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
