"""Images into a corpus: the shared function behind `lineup ingest` and the route (DESIGN section 6, second flow).

Bytes are hashed before any compute; what is already in the corpus is skipped, what another corpus holds is linked
without embedding it again. Every batch is one transaction: kill -9 anywhere loses at most the batch in flight, and
running the same command again goes on. A file that cannot be taken is a row with a reason, never the end of the run.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from time import perf_counter

from api.answers import AddedEntry, EntryAnswer, FailedItem, IngestAnswer
from api.files import Item, UnreadableItem
from api.lineup import Lineup
from embedder import DecodedImage, Failed, ImageError, decode, thumbnail
from index import (
    AddResult,
    AddStatus,
    CorpusKind,
    ImageFacts,
    NewEntry,
    Provenance,
    add_entries,
    ensure_corpus,
    get_corpus,
    get_entry,
    known_images,
    stored_embedding,
)

COMMIT_IMAGES = 64  # entries a transaction: a crash costs some seconds of work, and SQLite syncs once for all of them
CHUNK_BYTES = 128 * 2**20  # encoded bytes in memory for one look at what is known, so that huge files do not pile up


@dataclass(slots=True)
class Progress:
    """Counts of a running ingest; handed to the callback whenever some items have ended."""

    found: int = 0
    added: int = 0
    linked: int = 0
    embedded: int = 0
    skipped: int = 0
    failures: list[FailedItem] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Items that ended, in whichever way."""
        return self.added + self.linked + self.embedded + self.skipped + len(self.failures)

    def count(self, results: Iterable[AddResult]) -> None:
        """Add what one transaction did."""
        for result in results:
            match result.status:
                case AddStatus.ADDED:
                    self.added += 1
                case AddStatus.LINKED:
                    self.linked += 1
                case AddStatus.EMBEDDED:
                    self.embedded += 1
                case AddStatus.SKIPPED:
                    self.skipped += 1


@dataclass(frozen=True, slots=True, eq=False)
class ReadItem:
    """An item whose bytes are in memory."""

    name: str
    data: bytes
    sha256: str

    @classmethod
    def of(cls, name: str, data: bytes) -> ReadItem:
        """Hash the bytes."""
        return cls(name, data, hashlib.sha256(data).hexdigest())


def ingest(
    lineup: Lineup,
    items: Iterable[Item],
    corpus: str,
    kind: CorpusKind,
    provenance: Provenance,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> IngestAnswer:
    """Take every item into `corpus`, which is created when it does not exist.

    Each entry's provenance is `provenance` plus the item's name under ``path``. Raises `index.CorpusKindConflict`,
    `index.InvalidCorpusName` and `UnreadableItem` of the source itself; an item's own failure is in the answer.
    """
    started = perf_counter()
    with lineup.database.write() as connection:
        ensure_corpus(connection, corpus, kind)
    run = _Run(lineup, corpus, provenance, on_progress)
    run.take(items)
    lineup.index.refresh()
    seconds = perf_counter() - started
    progress = run.progress
    return IngestAnswer(
        corpus=corpus,
        kind=kind,
        found=progress.found,
        added=progress.added,
        linked=progress.linked,
        embedded=progress.embedded,
        skipped=progress.skipped,
        failed=len(progress.failures),
        failures=progress.failures,
        generation=lineup.index.generation,
        seconds=round(seconds, 3),
        images_per_second=round((progress.added + progress.embedded) / seconds, 2),
    )


def add_image(lineup: Lineup, data: bytes, corpus: str, provenance: Provenance) -> AddedEntry:
    """Add one image to an existing corpus, sharing forwards with other requests.

    Raises `embedder.ImageError`, `index.UnknownCorpus`, `Overloaded`.
    """
    read = ReadItem.of("", data)
    with lineup.database.read() as connection:
        get_corpus(connection, corpus)
        stored = stored_embedding(connection, lineup.space, read.sha256)
    if stored:
        _keep_missing_thumbnail(lineup, read)
        new = NewEntry(stored.image, None, None, provenance)
    else:
        decoded = decode(data, lineup.embedder.limits)
        vector, logit = lineup.batcher.embed(lineup.embedder.preprocess(decoded))
        _keep_thumbnail(lineup, read.sha256, decoded)
        new = NewEntry(_facts(read, decoded), vector, logit, provenance)
    with lineup.database.write() as connection:
        (result,) = add_entries(connection, corpus, lineup.space, [new])
        entry = get_entry(connection, result.entry_id)
    return AddedEntry(status=result.status, entry=EntryAnswer.of(entry))


class _Run:
    """One ingest: what waits for the next transaction, and the counts so far."""

    def __init__(
        self, lineup: Lineup, corpus: str, provenance: Provenance, on_progress: Callable[[Progress], None]
    ) -> None:
        self.progress = Progress()
        self._lineup = lineup
        self._corpus = corpus
        self._provenance = provenance
        self._on_progress = on_progress
        self._pending: deque[NewEntry] = deque()  # appended while items are read, drained by commits

    def take(self, items: Iterable[Item]) -> None:
        """Every item, a transaction for each `COMMIT_IMAGES` of them."""
        for outcome in self._lineup.embedder.embed_stream(self._unknown(items)):
            if isinstance(outcome, Failed):
                self._fail(outcome.key.name, outcome.error.reason, str(outcome.error))
            else:
                _keep_thumbnail(self._lineup, outcome.key.sha256, outcome.decoded)
                facts = _facts(outcome.key, outcome.decoded)
                self._pending.append(NewEntry(facts, outcome.vector, outcome.logit, self._told(outcome.key)))
            if len(self._pending) >= COMMIT_IMAGES:
                self._commit()
        self._commit()

    def _unknown(self, items: Iterable[Item]) -> Iterator[tuple[ReadItem, bytes]]:
        """The items that must be embedded; the others end here, as skipped, linked or unreadable."""
        for chunk in self._chunks(items):
            with self._lineup.database.read() as connection:
                known = known_images(connection, self._lineup.space, [read.sha256 for read in chunk])
            for read in chunk:
                image = known.get(read.sha256)
                if image is None or not image.embedded:
                    yield read, read.data
                elif self._corpus in image.corpora:
                    self.progress.skipped += 1
                else:
                    self._link(read)
            self._on_progress(self.progress)

    def _link(self, read: ReadItem) -> None:
        """An image that another corpus holds: its stored facts and embedding serve here too."""
        with self._lineup.database.read() as connection:
            stored = stored_embedding(connection, self._lineup.space, read.sha256)
        assert stored is not None  # images and embeddings are never deleted
        try:
            _keep_missing_thumbnail(self._lineup, read)
        except ImageError as err:
            self._fail(read.name, err.reason, str(err))
            return
        self._pending.append(NewEntry(stored.image, None, None, self._told(read)))

    def _chunks(self, items: Iterable[Item]) -> Iterator[list[ReadItem]]:
        """Items with their bytes, so many at a time as one question to the database is worth."""
        chunk: list[ReadItem] = []
        for item in items:
            self.progress.found += 1
            try:
                chunk.append(ReadItem.of(item.name, item.read(self._lineup.embedder.limits.max_image_bytes)))
            except UnreadableItem as err:
                self._fail(item.name, err.reason, str(err))
            if len(chunk) >= COMMIT_IMAGES or sum(len(read.data) for read in chunk) >= CHUNK_BYTES:
                yield chunk
                chunk = []
        yield chunk

    def _commit(self) -> None:
        batch = [self._pending.popleft() for _ in range(len(self._pending))]
        if batch:
            with self._lineup.database.write() as connection:
                results = add_entries(connection, self._corpus, self._lineup.space, batch)
            self.progress.count(results)
        self._on_progress(self.progress)

    def _fail(self, name: str, reason: str, detail: str) -> None:
        self.progress.failures.append(FailedItem(name=name, reason=reason, detail=detail))

    def _told(self, read: ReadItem) -> Provenance:
        return replace(self._provenance, extra={**self._provenance.extra, "path": read.name})


def _facts(read: ReadItem, decoded: DecodedImage) -> ImageFacts:
    return ImageFacts(read.sha256, len(read.data), decoded.width, decoded.height, decoded.format)


def _keep_thumbnail(lineup: Lineup, sha256: str, decoded: DecodedImage) -> None:
    """Before the commit: a crash in between leaves a thumbnail without an entry, which fsck names and removes."""
    lineup.thumbnails.put(sha256, thumbnail(decoded.image))


def _keep_missing_thumbnail(lineup: Lineup, read: ReadItem) -> None:
    """A known image lost its thumbnail when its last entry was removed. Raises `embedder.ImageError`."""
    if read.sha256 not in lineup.thumbnails:
        _keep_thumbnail(lineup, read.sha256, decode(read.data, lineup.embedder.limits))
