"""An ingest as a job: items of sources, hashed before anything is computed, into one corpus.

An image that the corpus holds is skipped; one that another corpus holds is linked without embedding
it again. Thumbnails and originals are written to temporary files as their images come; those of a
chunk are synced and renamed together before its entries commit. A crash in between leaves temporary
files or blobs without an entry, never an entry without its blobs.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from api.copies.spaces import Describer, no_describer
from api.images import BlobStores, describe_image, order_for_entry
from api.ingest.near import NearItems
from api.ingest.opening import open_any
from api.ingest.provenance import join_provenance
from api.ingest.ready import ReadyChunks
from api.ingest.request import Dedup, IngestRequest
from api.ingest.spool import is_kept_list
from api.ingest.tally import Tally
from api.jobs.task import Added, AlreadyThere, ItemResult, NotTaken, ToEmbed
from api.server_paths import STANDARD_INPUT
from api.sources.item import Item, Source, Span, UnreadableItem
from api.sources.locations import name_of
from api.sources.ready import ReadySource
from embedder.decoding.picture import Decoders, Picture, PictureOrder
from embedder.errors import ImageError
from index.blobs import publish_blobs
from index.durable import StagedFile
from index.errors import InvalidProvenance
from index.jsontext import JSON
from index.truth.adding import AddStatus, NewEntry, add_entries
from index.truth.computations import Computation
from index.truth.corpora import get_corpus, lock_corpus
from index.truth.databases.database import Database
from index.truth.entries import jobs_of_entries
from index.truth.images import KnownImage, find_embedding, find_known_images
from index.truth.jobs.chunks import Chunk, ChunkResult
from index.truth.jobs.job import Job
from index.truth.provenance import Provenance
from index.truth.quarantine import find_quarantined_images
from index.truth.spaces import Space

CHUNK_ITEMS = 64  # a crash costs some seconds of work, and SQLite syncs once for all of them
# Encoded bytes in memory between two queries for known images, so that huge files do not pile up.
SLICE_BYTES = 128 * 2**20
# Rows of ready embeddings a chunk: 15 MB of 384 float32, written in half a second.
READY_ROWS = 10_000
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Offered:
    """What is needed of an item after its embedding: where it came from and what came with it."""

    source: str  # the name of its source
    declared: Mapping[str, JSON]
    location: str | None


class IngestTask:
    """One worker's part of an ingest. Implements `api.jobs.task.Task`."""

    def __init__(
        self,
        database: Database,
        space: Space,
        stores: BlobStores,
        decoders: Decoders,
        order: PictureOrder,
        upload_dir: Path,
        job: Job,
        find_computation: Callable[[], Computation],
        find_describer: Callable[[], Describer | None] = no_describer,
    ) -> None:
        """`find_computation` returns what computes the embeddings of pictures, and `find_describer`
        what makes the vectors of copies; they are asked when pictures are there.
        """
        self._database = database
        self._space = space
        self._find_computation = find_computation
        self._stores = stores
        self._decoders = decoders
        self._limits = order.limits
        self._upload_dir = upload_dir
        self._job_id = job.id
        self._request = IngestRequest.read(job.request)
        self._corpus = self._request.corpus
        with database.read() as conn:
            corpus = get_corpus(conn, self._corpus)
        self._keep, self._features = corpus.keep, corpus.features
        self._order = order_for_entry(order, self._keep, features=self._features)
        self._staged: dict[int, list[StagedFile]] = {}  # by position
        self._find_describer = find_describer
        self._describer: Describer | None = None
        self._to_describe: dict[int, NDArray[np.uint8]] = {}  # pixels by position
        self._copy_vectors: dict[int, NDArray[np.float32]] = {}  # of the chunk that is written
        self._sources: dict[int, Source | ReadySource] = {}
        self._near = NearItems(self._corpus, self._request.dedup)
        self._ready = ReadyChunks(space, self._request)
        self._left_out: list[str] = []

    def spans(self) -> Iterator[Span]:
        """List where the items are, each span with the number of its source."""
        for number in range(len(self._request.sources)):
            source = self._source(number)
            size = READY_ROWS if isinstance(source, ReadySource) else CHUNK_ITEMS
            for span in source.spans(size):
                yield Span(span.count, {"source": number, "where": span.where})
            self._close(number)

    def read(self, chunk: Chunk) -> Iterator[ToEmbed[Offered] | ItemResult[NewEntry]]:
        """Yield the items of a chunk; only images that are not known are to be embedded."""
        number, span = self._locate(chunk)
        for other in [each for each in self._sources if each != number]:
            self._close(other)
        source = self._source(number)
        if isinstance(source, ReadySource):
            yield from self._ready.read(source, span, chunk.first_position)
        else:
            yield from self._read_images(source, span, chunk.first_position, self._name(number))

    def narrow(self, chunk: Chunk, first: int, count: int) -> JSON:
        """Return the span of some items of a chunk, as its source narrows it."""
        number, span = self._locate(chunk)
        narrowed = self._source(number).narrow(span, first, count)
        return {"source": number, "where": narrowed.where}

    def finish(
        self, item: ToEmbed[Offered], picture: Picture, vector: NDArray[np.float32], logit: float
    ) -> ItemResult[NewEntry]:
        """Stage the blobs that the corpus keeps; return the entry to add, or why its provenance
        cannot be stored.
        """
        facts = describe_image(item.sha256, item.data, picture)
        provenance = self._provenance(item, picture)
        result = _to_add(item, NewEntry(facts, vector, logit, provenance, self._find_computation()))
        if isinstance(result, Added):
            self._stage(
                item.position, self._stores.stage(self._keep, item.sha256, item.data, picture)
            )
            self._keep_pixels(item.position, picture)
        return result

    def store(self, results: Sequence[ItemResult[NewEntry]]) -> None:
        """Store the blobs of a chunk, and describe its pictures: the model goes on meanwhile."""
        publish_blobs([file for each in results for file in self._staged.pop(each.position, ())])
        self._copy_vectors = self._describe([each.position for each in results])

    def write(self, conn: Connection, results: Sequence[ItemResult[NewEntry]]) -> ChunkResult:
        """Add the entries of a chunk and count its items."""
        items = [result for result in results if isinstance(result, Added)]
        lock_corpus(conn, self._corpus)  # nothing goes into quarantine from here on
        quarantined = find_quarantined_images(
            conn, self._corpus, sorted({item.content.image.sha256 for item in items})
        )
        items = [item for item in items if item.content.image.sha256 not in quarantined]
        near = self._near.find(conn, items)
        left_out = near if self._request.dedup is Dedup.NEAR else {}
        added = [item for item in items if item.position not in left_out]
        self._left_out = [item.content.image.sha256 for item in items if item.position in left_out]
        entries = add_entries(
            conn,
            self._corpus,
            self._space,
            [self._with_copy_vector(item) for item in added],
            self._job_id,
            copy_space=None if self._describer is None else self._describer.space,
        )
        statuses = {item.position: entry.status for item, entry in zip(added, entries, strict=True)}
        present = {entry.sha256 for entry in entries if entry.status is AddStatus.SKIPPED}
        present |= {result.sha256 for result in results if isinstance(result, AlreadyThere)}
        held = jobs_of_entries(conn, self._corpus, sorted(present))
        return Tally(self._job_id, held, near, statuses, quarantined).count(results)

    def clean_up(self) -> None:
        """Remove the blobs of near duplicates, which were stored before the comparison."""
        self._stores.remove_unneeded(self._database, self._left_out)

    def complete(self) -> None:
        """Nothing follows the last item."""

    def close(self) -> None:
        """Close the sources, and remove what was staged for chunks that are not finished."""
        for number in list(self._sources):
            self._close(number)
        for position in list(self._staged):
            self._stage(position, [])
        self._to_describe.clear()

    def _open_describer(self) -> None:
        """Order what the copy descriptor reads from now on, if there is one."""
        if self._describer is None:
            self._describer = self._find_describer()
            if self._describer is not None:
                self._order = replace(self._order, descriptor=self._describer.input)

    def _keep_pixels(self, position: int, picture: Picture) -> None:
        """Keep what the copy descriptor reads, in the place of what an earlier attempt kept."""
        self._to_describe.pop(position, None)
        if picture.descriptor_pixels is not None:
            self._to_describe[position] = picture.descriptor_pixels

    def _describe(self, positions: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """Return the vectors of copies by position.

        Where a descriptor fails, the entry has none, and a back-fill can add it: it never fails an
        ingest, nor takes the vectors of other pictures with it.
        """
        pixels = {
            position: self._to_describe.pop(position)
            for position in positions
            if position in self._to_describe
        }
        if not pixels or self._describer is None:
            return {}
        vectors, error = dict[int, NDArray[np.float32]](), None
        for position, each in pixels.items():
            try:
                (vectors[position],) = self._describer.describe(each[np.newaxis])  # (1, c)
            except Exception as err:  # a boundary: the log and `lineup fsck` say what is missing
                error = err
        if error is not None:
            missing = len(pixels) - len(vectors)
            log.error("%d pictures are added without the vector of a copy", missing, exc_info=error)
        return vectors

    def _with_copy_vector(self, item: Added[NewEntry]) -> NewEntry:
        vector = self._copy_vectors.get(item.position)
        if vector is None or self._describer is None:
            return item.content
        return replace(
            item.content, copy_vector=vector, copy_computation=self._describer.computation
        )

    def _read_images(
        self, source: Source, span: Span, first: int, source_name: str
    ) -> Iterator[ToEmbed[Offered] | ItemResult[NewEntry]]:
        self._open_describer()
        copy_space = None if self._describer is None else self._describer.space
        for some in self._slices(source.items(span), first, source_name):
            sha256s = [each.sha256 for each in some if isinstance(each, ToEmbed)]
            with self._database.read() as conn:
                known = find_known_images(conn, self._space, sha256s, copy_space)
            linked = {
                each.position: self._submit_known(each, known[each.sha256])
                for each in some
                if isinstance(each, ToEmbed) and self._is_linked(known.get(each.sha256))
            }
            for each in some:
                if not isinstance(each, ToEmbed):
                    yield each
                elif each.position in linked:
                    yield self._link(each, linked.pop(each.position))
                elif _is_embedded(known.get(each.sha256)):
                    yield AlreadyThere(each.position, each.name, each.sha256)
                else:
                    yield each

    def _is_linked(self, known: KnownImage | None) -> bool:
        return known is not None and known.embedded and self._corpus not in known.corpora

    def _submit_known(self, item: ToEmbed[Offered], known: KnownImage) -> Future[Picture]:
        order = self._stores.order_missing(
            self._keep, item.sha256, self._limits, features=self._features
        )
        if self._describer is not None and not known.described:
            order = replace(order, descriptor=self._describer.input)
        return self._decoders.submit(item.data, order)

    def _link(self, item: ToEmbed[Offered], future: Future[Picture]) -> ItemResult[NewEntry]:
        """Return an entry for a known image, with its stored facts and embedding."""
        with self._database.read() as conn:
            stored = find_embedding(conn, self._space, item.sha256)
        assert stored is not None  # images and embeddings are never deleted
        try:
            picture = future.result()
        except ImageError as err:
            return NotTaken.failed(item.position, item.name, err.reason, str(err))
        provenance = self._provenance(item, picture)
        result = _to_add(item, NewEntry(stored.image, None, None, provenance))
        if isinstance(result, Added):
            self._stage(
                item.position,
                self._stores.stage_missing(self._keep, item.sha256, item.data, picture),
            )
            self._keep_pixels(item.position, picture)
        return result

    def _stage(self, position: int, files: list[StagedFile]) -> None:
        """Keep what was staged for an item, in the place of what an earlier attempt staged."""
        for file in self._staged.pop(position, ()):
            file.discard()
        if files:
            self._staged[position] = files

    def _slices(
        self, items: Iterator[Item], first: int, source_name: str
    ) -> Iterator[list[ToEmbed[Offered] | NotTaken]]:
        """Read items, as many at a time as may be in memory."""
        some: list[ToEmbed[Offered] | NotTaken] = []
        held_bytes = 0
        for position, item in enumerate(items, first):
            each = self._read(position, item, source_name)
            some.append(each)
            held_bytes += len(each.data) if isinstance(each, ToEmbed) else 0
            if held_bytes >= SLICE_BYTES:
                yield some
                some, held_bytes = [], 0
        yield some

    def _read(self, position: int, item: Item, source_name: str) -> ToEmbed[Offered] | NotTaken:
        try:
            data = item.read(self._limits.max_image_bytes)
        except UnreadableItem as err:
            return NotTaken.failed(position, item.name, err.reason, str(err))
        offered = Offered(source_name, item.declared, item.location)
        sha256 = hashlib.sha256(data).hexdigest()
        return ToEmbed(position, item.name, data, sha256, offered, self._order)

    def _provenance(self, item: ToEmbed[Offered], picture: Picture) -> Provenance:
        joined = join_provenance(
            item.name,
            item.payload.declared,
            self._request.for_all,
            pattern=self._request.parsed_pattern,
            location=item.payload.location,
            file_fields=picture.file_metadata or {},
            file_generator=picture.file_generator,
        )
        return joined if joined.source else replace(joined, source=item.payload.source)

    @staticmethod
    def _locate(chunk: Chunk) -> tuple[int, Span]:
        """Return the number of the chunk's source, and where its items are in it."""
        assert isinstance(chunk.span, Mapping)
        number = chunk.span["source"]
        assert isinstance(number, int)
        return number, Span(chunk.item_count, chunk.span["where"])

    def _source(self, number: int) -> Source | ReadySource:
        if number not in self._sources:
            source = open_any(self._request.sources[number], self._request, self._upload_dir)
            if isinstance(source, ReadySource):
                self._require_space(source)
            self._sources[number] = source
        return self._sources[number]

    def _require_space(self, source: ReadySource) -> None:
        try:
            self._ready.require_space(source)
        except BaseException:
            source.close()
            raise

    def _name(self, number: int) -> str:
        """Return the `source` of an entry where nothing states one."""
        location = self._request.sources[number]
        if is_kept_list(location, self._upload_dir):
            return STANDARD_INPUT
        return name_of(location.rstrip("/"))

    def _close(self, number: int) -> None:
        self._sources.pop(number).close()


def _is_embedded(known: KnownImage | None) -> bool:
    return known is not None and known.embedded


def _to_add(item: ToEmbed[Offered], new: NewEntry) -> ItemResult[NewEntry]:
    """Return the entry with its provenance as it will be stored, or why it cannot be."""
    try:
        provenance = new.provenance.normalise()
    except InvalidProvenance as err:
        return NotTaken.failed(item.position, item.name, "invalid_provenance", str(err))
    return Added(item.position, item.name, replace(new, provenance=provenance))
