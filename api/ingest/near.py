"""Which items of a chunk show a picture that the corpus already holds, by perceptual hash."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import Connection

from api.ingest.request import Dedup
from api.jobs.task import Added
from index.cache.searching.pictures import NearDuplicates
from index.near_hashes import NearHashes
from index.truth.adding import NewEntry
from index.truth.corpora import lock_corpus
from index.truth.entries import jobs_of_entries
from index.truth.perceptual import PerceptualHash

# Items compared at once: each may be near many entries.
COMPARED_ITEMS = 64


class NearItems:
    """Finds near duplicates for one ingest; for one thread."""

    def __init__(self, corpus: str, dedup: Dedup) -> None:
        self._corpus = corpus
        self._dedup = dedup
        self._stored: NearDuplicates | None = None

    def find(self, conn: Connection, items: Sequence[Added[NewEntry]]) -> Mapping[int, int | None]:
        """Return the near duplicates among items by position, each with the entry it repeats.

        The entry is None where the picture came earlier in this chunk. This locks the corpus, so
        that two workers cannot both add the same picture.
        """
        if not any(_is_reliable(item.content.image.perceptual_hash) for item in items):
            return {}
        corpus_id = lock_corpus(conn, self._corpus)
        if self._stored is None:
            self._stored = NearDuplicates(corpus_id)
        self._stored.refresh(conn)
        fresh = self._not_in_corpus(conn, items)
        near: dict[int, int | None] = {}
        kept = NearHashes()
        for item, entry_id in zip(fresh, self._entries(conn, fresh), strict=True):
            own = item.content.image.perceptual_hash
            if own is None or not own.reliable:
                continue
            is_near = entry_id is not None or kept.find([own])[0].size > 0
            if is_near:
                near[item.position] = entry_id
            if not is_near or self._dedup is Dedup.EXACT:
                kept.add([item.position], [own.bits])
        if self._dedup is Dedup.NEAR:
            near |= _repetitions(items, fresh, near)
        return near

    def _not_in_corpus(
        self, conn: Connection, items: Sequence[Added[NewEntry]]
    ) -> list[Added[NewEntry]]:
        """Return the first item of each image that the corpus does not hold, in their order."""
        first = {item.content.image.sha256: item for item in reversed(items)}
        held = jobs_of_entries(conn, self._corpus, sorted(first))
        return [item for sha256, item in reversed(first.items()) if sha256 not in held]

    def _entries(self, conn: Connection, fresh: Sequence[Added[NewEntry]]) -> Iterator[int | None]:
        """Yield for each item the entry of the corpus that shows the same picture."""
        assert self._stored is not None
        for start in range(0, len(fresh), COMPARED_ITEMS):
            some = fresh[start : start + COMPARED_ITEMS]
            yield from self._stored.find(
                conn, [item.content.image.perceptual_hash for item in some]
            )


def _repetitions(
    items: Sequence[Added[NewEntry]],
    fresh: Sequence[Added[NewEntry]],
    near: Mapping[int, int | None],
) -> dict[int, int | None]:
    """Return the items with the same bytes as a near duplicate: they repeat the same entry."""
    by_sha256 = {
        item.content.image.sha256: near[item.position] for item in fresh if item.position in near
    }
    return {
        item.position: by_sha256[item.content.image.sha256]
        for item in items
        if item.content.image.sha256 in by_sha256
    }


def _is_reliable(hashed: PerceptualHash | None) -> bool:
    return hashed is not None and hashed.reliable
