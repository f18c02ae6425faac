"""An ingest as a job: items of the sources, hashed before anything is computed, into one corpus.

What is in the corpus is skipped, what another corpus holds is linked without embedding it again.
Thumbnails and originals are put before the entry commits: a crash in between leaves a blob without
an entry, which the next run uses.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from api.errors import SourceNotAllowed
from api.ingest.opening import open_any
from api.ingest.provenance import joined
from api.ingest.ready import ReadyChunks
from api.ingest.request import Dedup, IngestRequest
from api.ingest.single import facts_of, keep_blobs, keep_missing_blobs
from api.jobs.interpreter import set_for_rows
from api.jobs.spool import STANDARD_INPUT, is_spooled
from api.jobs.task import End, Left, Present, Taken, ToEmbed
from api.lineup import Lineup
from api.sources.item import Item, Source, Span, UnreadableItem
from api.sources.locations import name_of, require_within
from api.sources.ready import ReadySource
from embedder.errors import ImageError
from embedder.file_metadata import stated, stated_generator
from embedder.pictures.decode import DecodedImage
from index.cache.pictures import NearDuplicates
from index.errors import InvalidProvenance
from index.near_hashes import NearHashes
from index.truth.corpora import get_corpus, lock_corpus
from index.truth.entries import AddStatus, NewEntry, add_entries, jobs_of_entries, sha256s_not_kept
from index.truth.images import ImageFacts, KnownImage, find_embedding, find_known_images
from index.truth.jobs import Chunk, ChunkResult, Job, JobCounts, JobItem, Outcome
from index.truth.perceptual import PerceptualHash
from index.truth.provenance import Provenance
from index.truth.quarantine import find_quarantined_images

CHUNK_ITEMS = 64  # a crash costs some seconds of work, and SQLite syncs once for all of them
CHUNK_BYTES = (
    128 * 2**20
)  # encoded bytes in memory for one look at what is known, so that huge files do not pile up
READY_ROWS = (
    10_000  # rows of ready embeddings a chunk: 15 MB of 384 float32, written in half a second
)


@dataclass(frozen=True, slots=True, eq=False)
class Derived:
    """What an entry needs beside the embedding."""

    facts: ImageFacts
    provenance: Provenance


class IngestTask:
    """One worker's view of an ingest. Implements `api.jobs.task.Task`."""

    def __init__(self, lineup: Lineup, job: Job) -> None:
        self._lineup = lineup
        self._job = job
        self._request = IngestRequest.model_validate(job.request)
        self._corpus = self._request.corpus
        with lineup.database.read() as conn:
            self._keep = get_corpus(conn, self._corpus).keep
        self._sources: dict[int, Source | ReadySource] = {}
        self._near: NearDuplicates | None = None
        self._ready = ReadyChunks(lineup.space, self._request)
        self._left_out: list[str] = []
        self._for_rows = ExitStack()

    def spans(self) -> Iterator[Span]:
        """Where the items are, each with the number of its source."""
        for number in range(len(self._request.sources)):
            source = self._source(number)
            size = READY_ROWS if isinstance(source, ReadySource) else CHUNK_ITEMS
            for span in source.spans(size):
                yield Span(span.count, {"source": number, "where": span.where})
            self._close(number)

    def read(self, chunk: Chunk) -> Iterator[ToEmbed | End]:
        """Nothing is embedded that is known."""
        assert isinstance(chunk.span, Mapping)
        number, where = chunk.span["source"], chunk.span["where"]
        assert isinstance(number, int)
        for other in [each for each in self._sources if each != number]:
            self._close(other)
        source, span = self._source(number), Span(chunk.item_count, where)
        if isinstance(source, ReadySource):
            yield from self._ready.read(source, span, chunk.first_position)
        else:
            yield from self._read_images(source, span, chunk.first_position, self._name(number))

    def derive(self, item: ToEmbed, decoded: DecodedImage) -> Derived:
        """Perceptual hash, what the file says, and the blobs that the corpus keeps."""
        keep_blobs(self._lineup, self._keep, item.sha256, item.data, decoded)
        return Derived(facts_of(item.sha256, item.data, decoded), self._provenance(item))

    def embedded(
        self, item: ToEmbed, derived: Derived, vector: NDArray[np.float32], logit: float
    ) -> End:
        """Taken, unless something said of it cannot be stored."""
        return _taken(
            item.position, item.item, NewEntry(derived.facts, vector, logit, derived.provenance)
        )

    def write(self, conn: Connection, ends: Sequence[End]) -> ChunkResult:
        """Entries, and how every item ended."""
        taken = [end for end in ends if isinstance(end, Taken)]
        lock_corpus(conn, self._corpus)  # so that nothing goes into quarantine from here on
        quarantined = find_quarantined_images(
            conn, self._corpus, sorted({end.entry.image.sha256 for end in taken})
        )
        offered = [end for end in taken if end.entry.image.sha256 not in quarantined]
        near = self._near_duplicates(conn, offered)
        leave = near if self._request.dedup is Dedup.NEAR else {}
        taken = [end for end in offered if end.position not in leave]
        self._left_out = [end.entry.image.sha256 for end in offered if end.position in leave]
        results = add_entries(
            conn, self._corpus, self._lineup.space, [end.entry for end in taken], self._job.id
        )
        statuses = {end.position: result.status for end, result in zip(taken, results, strict=True)}
        there = {result.sha256 for result in results if result.status is AddStatus.SKIPPED}
        there |= {end.sha256 for end in ends if isinstance(end, Present)}
        present = jobs_of_entries(conn, self._corpus, sorted(there))
        return _Tally(self._job.id, present, near, statuses, quarantined).of(ends)

    def written(self) -> None:
        """Remove the blobs of what was left out, which were put before anybody could know."""
        with self._lineup.database.read() as conn:
            for blobs, keeps in self._lineup.blob_stores:
                for sha256 in sha256s_not_kept(conn, self._left_out, keeps):
                    blobs.remove(sha256)

    def completed(self) -> None:
        """Nothing comes after the last item."""

    def close(self) -> None:
        for number in list(self._sources):
            self._close(number)

    def _read_images(
        self, source: Source, span: Span, first: int, name: str
    ) -> Iterator[ToEmbed | End]:
        for some in self._slices(source.items(span), first, name):
            items = [each for each in some if isinstance(each, ToEmbed)]
            with self._lineup.database.read() as conn:
                known = find_known_images(conn, self._lineup.space, [each.sha256 for each in items])
            for each in some:
                yield each if isinstance(each, Left) else self._step(each, known.get(each.sha256))

    def _step(self, item: ToEmbed, known: KnownImage | None) -> ToEmbed | End:
        if known is None or not known.embedded:
            return item
        if self._corpus in known.corpora:
            return Present(item.position, item.item.name, item.sha256)
        return self._linked(item)

    def _linked(self, item: ToEmbed) -> End:
        """An image that another corpus holds: its stored facts and embedding serve here too."""
        with self._lineup.database.read() as conn:
            stored = find_embedding(conn, self._lineup.space, item.sha256)
        assert stored is not None  # images and embeddings are never deleted
        try:
            keep_missing_blobs(self._lineup, self._keep, item.sha256, item.data)
        except ImageError as err:
            return Left.failed(item.position, item.item.name, err.reason, str(err))
        new = NewEntry(stored.image, None, None, self._provenance(item))
        return _taken(item.position, item.item, new)

    def _slices(
        self, items: Iterator[Item], first: int, source: str
    ) -> Iterator[list[ToEmbed | Left]]:
        """Items with their bytes, so many at a time as may be in memory."""
        some: list[ToEmbed | Left] = []
        held = 0
        for position, item in enumerate(items, first):
            try:
                if item.location is not None:
                    require_within(item.location, self._request.roots)
                data = item.read(self._lineup.embedder.limits.max_image_bytes)
            except SourceNotAllowed as err:
                some.append(Left.failed(position, item.name, "not_allowed", str(err)))
            except UnreadableItem as err:
                some.append(Left.failed(position, item.name, err.reason, str(err)))
            else:
                some.append(ToEmbed(position, item, data, hashlib.sha256(data).hexdigest(), source))
                held += len(data)
            if held >= CHUNK_BYTES:
                yield some
                some, held = [], 0
        yield some

    def _provenance(self, item: ToEmbed) -> Provenance:
        says = stated(item.data)
        told = joined(
            item.item,
            self._request.told,
            self._request.parsed_pattern,
            says,
            stated_generator(says),
        )
        return told if told.source else replace(told, source=item.source)

    def _source(self, number: int) -> Source | ReadySource:
        if number not in self._sources:
            self._sources[number] = self._opened(self._request.sources[number])
        return self._sources[number]

    def _name(self, number: int) -> str:
        """What an entry's `source` is where nobody told one."""
        location = self._request.sources[number]
        spooled = is_spooled(location, self._lineup.settings.upload_dir)
        return STANDARD_INPUT if spooled else name_of(location.rstrip("/"))

    def _opened(self, location: str) -> Source | ReadySource:
        source = open_any(location, self._request, self._lineup.settings)
        if isinstance(source, ReadySource):
            try:
                self._ready.require_space(source)
            except BaseException:
                source.close()
                raise
            self._for_rows.enter_context(set_for_rows())
        return source

    def _close(self, number: int) -> None:
        self._sources.pop(number).close()
        self._for_rows.close()

    def _near_duplicates(self, conn: Connection, taken: Sequence[Taken]) -> dict[int, int | None]:
        """By position, those of the items whose picture the corpus has already, with that entry;
        None: in this chunk.

        Holds the corpus' lock, so that two workers cannot both take what is the same picture.
        """
        if not any(_is_telling(end.entry.image.perceptual_hash) for end in taken):
            return {}
        if self._near is None:
            self._near = NearDuplicates(lock_corpus(conn, self._corpus))
        else:
            lock_corpus(conn, self._corpus)
        self._near.refresh(conn)
        here = jobs_of_entries(
            conn, self._corpus, sorted({end.entry.image.sha256 for end in taken})
        )
        fresh = list({end.entry.image.sha256: end for end in reversed(taken)}.values())[::-1]
        fresh = [end for end in fresh if end.entry.image.sha256 not in here]
        near: dict[int, int | None] = {}
        kept = NearHashes()
        for end, entry_id in zip(fresh, self._near_entries(conn, fresh), strict=True):
            own = end.entry.image.perceptual_hash
            if own is None or not own.reliable:
                continue
            same = entry_id is not None or kept.find([own])[0].size > 0
            if same:
                near[end.position] = entry_id
            if not same or self._request.dedup is Dedup.EXACT:
                kept.add([end.position], [own.bits])
        if self._request.dedup is Dedup.NEAR:  # and the same bytes again are the same picture again
            left = {
                end.entry.image.sha256: near[end.position] for end in fresh if end.position in near
            }
            near |= {
                end.position: left[end.entry.image.sha256]
                for end in taken
                if end.entry.image.sha256 in left
            }
        return near

    def _near_entries(self, conn: Connection, fresh: Sequence[Taken]) -> Iterator[int | None]:
        """For each item the entry of the corpus that shows its picture; few at once, for each may
        be like many.
        """
        assert self._near is not None
        for start in range(0, len(fresh), CHUNK_ITEMS):
            some = fresh[start : start + CHUNK_ITEMS]
            yield from self._near.find(conn, [end.entry.image.perceptual_hash for end in some])


@dataclass(frozen=True, slots=True)
class _Tally:
    """How every item of a chunk ended, counted."""

    job_id: int
    entries: Mapping[str, tuple[int, int | None]]  # by sha256: entry and the job that added it
    near: Mapping[int, int | None]
    statuses: Mapping[int, AddStatus]
    quarantined: Mapping[str, int]  # by sha256: the entry in quarantine

    def of(self, ends: Sequence[End]) -> ChunkResult:
        items = [self._item(end) for end in ends]
        counts = Counter(outcome for outcome, _ in items)
        rows = [item for _, item in items if item is not None]
        reasons = Counter(item.reason for item in rows)
        return ChunkResult(
            JobCounts(
                added=counts[Outcome.ADDED],
                linked=counts[Outcome.LINKED],
                embedded=counts[Outcome.EMBEDDED],
                skipped=counts[Outcome.SKIPPED],
                failed=counts[Outcome.FAILED],
                duplicates=reasons["duplicate"],
                near_duplicates=len(self.near),
            ),
            rows,
        )

    def _item(self, end: End) -> tuple[Outcome, JobItem | None]:
        if isinstance(end, Left):
            return end.item.outcome, end.item
        if isinstance(end, Taken) and end.entry.image.sha256 in self.quarantined:
            return self._quarantined_item(end)
        if isinstance(end, Taken) and end.position in self.near:
            return self._near_item(end)
        if isinstance(end, Taken) and self.statuses[end.position] is not AddStatus.SKIPPED:
            return Outcome(self.statuses[end.position].value), None
        sha256 = end.entry.image.sha256 if isinstance(end, Taken) else end.sha256
        entry_id, job_id = self.entries.get(
            sha256, (None, None)
        )  # nothing: somebody removed it just now
        if entry_id is not None and job_id == self.job_id:
            reason, detail = "duplicate", "the same bytes came earlier in this source"
        else:
            reason, detail = "already_there", "the corpus had these bytes before"
        return Outcome.SKIPPED, JobItem(
            end.position, end.name, Outcome.SKIPPED, reason, detail, entry_id
        )

    def _quarantined_item(self, end: Taken) -> tuple[Outcome, JobItem]:
        entry_id = self.quarantined[end.entry.image.sha256]
        detail = (
            f"the corpus has these bytes in quarantine; `lineup release {entry_id}` brings "
            f"them back"
        )
        return Outcome.SKIPPED, JobItem(
            end.position, end.name, Outcome.SKIPPED, "quarantined", detail, entry_id
        )

    def _near_item(self, end: Taken) -> tuple[Outcome, JobItem]:
        """Kept or left out, it is told."""
        entry_id = self.near[end.position]
        detail = "the same picture, by perceptual hash, as " + (
            f"entry {entry_id}" if entry_id is not None else "an item shortly before it"
        )
        status = self.statuses.get(end.position)
        outcome = Outcome.SKIPPED if status is None else Outcome(status.value)
        return outcome, JobItem(end.position, end.name, outcome, "near_duplicate", detail, entry_id)


def _is_telling(hashed: PerceptualHash | None) -> bool:
    return hashed is not None and hashed.reliable


def _taken(position: int, item: Item, new: NewEntry) -> End:
    """The item with its provenance as it will be stored, or why it cannot be."""
    try:
        provenance = new.provenance.normalise()
    except InvalidProvenance as err:
        return Left.failed(position, item.name, "invalid_provenance", str(err))
    return Taken(position, item.name, replace(new, provenance=provenance))
