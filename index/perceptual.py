"""Near duplicates: the same picture by perceptual hash (PDQ), whatever was done to its file.

Owns the two constants and the search among the hashes of a corpus. Hashes are computed by `embedder.perceptual`.
Source: "The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm", Facebook, 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import faiss
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from index.errors import InvalidImageFacts
from index.schema import entries, images
from index.statements import is_any, slices

HASH_BYTES = 32
# "Confident match" of the paper's section on thresholds, and the default of ThreatExchange's PDQ signal.
MAX_HAMMING_DISTANCE = 31
# The paper advises to discard hashes of lower quality: flat pictures hash to noise that is like any other noise.
MIN_QUALITY = 50
MAX_QUALITY = 100
PAGE = 100_000


@dataclass(frozen=True, slots=True)
class PerceptualHash:
    """A PDQ hash: 256 bits, `bits.hex()` as others print it, and its quality from 0 (flat) to 100."""

    bits: bytes
    quality: int

    @property
    def reliable(self) -> bool:
        """Whether the picture has enough structure for its hash to mean anything."""
        return self.quality >= MIN_QUALITY

    def check(self) -> None:
        """Raise InvalidImageFacts on what cannot be one."""
        if len(self.bits) != HASH_BYTES or not 0 <= self.quality <= MAX_QUALITY:
            raise InvalidImageFacts("a PDQ hash has 32 bytes and a quality from 0 to 100")


def hamming_distance(one: PerceptualHash, other: PerceptualHash) -> int:
    """Return how many of the 256 bits differ."""
    return (int.from_bytes(one.bits) ^ int.from_bytes(other.bits)).bit_count()


def near_duplicate(one: PerceptualHash | None, other: PerceptualHash | None) -> bool | None:
    """Return whether two hashes are of the same picture; None where one is missing or of too low quality to tell."""
    if one is None or other is None or not one.reliable or not other.reliable:
        return None
    return hamming_distance(one, other) <= MAX_HAMMING_DISTANCE


class NearHashes:
    """A growing set of hashes, 32 bytes each. Every one is compared: 1,000,000 take 0.4 ms a probe, 64 at once."""

    def __init__(self) -> None:
        self._hashes = faiss.IndexBinaryFlat(HASH_BYTES * 8)

    def __len__(self) -> int:
        return int(self._hashes.ntotal)

    def add(self, hashes: NDArray[np.uint8]) -> None:
        """Add hashes (n, 32)."""
        self._hashes.add(hashes)

    def find(self, probes: NDArray[np.uint8]) -> list[NDArray[np.int64]]:
        """Return, for each of the probes (m, 32), the places of the hashes of the same picture, in order of adding."""
        # faiss gives what is nearer than the radius, not what is at it.
        limits, _, places = self._hashes.range_search(probes, MAX_HAMMING_DISTANCE + 1)
        return [np.sort(places[int(start) : int(end)]) for start, end in pairwise(limits)]


class NearDuplicates:
    """The reliable hashes of a corpus' entries, kept in step with SQL by `refresh`. For one thread."""

    def __init__(self, corpus_id: int) -> None:
        self._corpus_id = corpus_id
        self._hashes = NearHashes()
        self._entry_ids: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
        self._last_id = 0

    def refresh(self, conn: Connection) -> None:
        """Read the entries that came since. The caller holds the corpus' lock, so that none comes unseen."""
        while True:
            query = (
                select(entries.c.id, images.c.pdq_hash, images.c.pdq_quality)
                .join(images, images.c.id == entries.c.image_id)
                .where(entries.c.corpus_id == self._corpus_id, entries.c.removed_at.is_(None))
                .where(entries.c.id > self._last_id)
                .order_by(entries.c.id)
                .limit(PAGE)
            )
            page = conn.execute(query).all()
            if page:
                self._last_id = page[-1].id
                self._add([(i, bits) for i, bits, quality in page if bits is not None and quality >= MIN_QUALITY])
            if len(page) < PAGE:
                return

    def find(self, conn: Connection, hashes: Sequence[PerceptualHash | None]) -> list[int | None]:
        """Return, for each hash, the live entry with the lowest id that shows the same picture, None for none."""
        probes = [(number, each.bits) for number, each in enumerate(hashes) if each is not None and each.reliable]
        found: list[int | None] = [None] * len(hashes)
        if not probes or not len(self._hashes):
            return found
        near = self._hashes.find(np.stack([np.frombuffer(bits, np.uint8) for _, bits in probes]))
        ids = self._all_ids()
        live = _live(conn, np.unique(ids[np.concatenate(near)]).tolist())
        for (number, _), places in zip(probes, near, strict=True):
            found[number] = min((i for i in ids[places].tolist() if i in live), default=None)
        return found

    def _add(self, rows: Sequence[tuple[int, bytes]]) -> None:
        if rows:
            self._entry_ids.append(np.array([entry_id for entry_id, _ in rows], np.int64))
            self._hashes.add(np.frombuffer(b"".join(bits for _, bits in rows), np.uint8).reshape(-1, HASH_BYTES))

    def _all_ids(self) -> NDArray[np.int64]:
        if len(self._entry_ids) > 1:
            self._entry_ids = [np.concatenate(self._entry_ids)]
        return self._entry_ids[0]


def _live(conn: Connection, entry_ids: Sequence[int]) -> frozenset[int]:
    found: set[int] = set()
    for some in slices(entry_ids):
        query = select(entries.c.id).where(is_any(conn, entries.c.id, some), entries.c.removed_at.is_(None))
        found.update(conn.execute(query).scalars())
    return frozenset(found)
