"""A re-embedding as a job: embeddings by another model, stored beside the existing ones.

It covers every image of an entry whose bytes can still be read. No look-up is disturbed: vectors of
different spaces are never compared. `api.operations.activating.activate` switches the space that
look-ups use once this job is done.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from api.corpora.originals import find_bytes
from api.images import describe_image
from api.jobs.task import Added, ItemResult, NotTaken, ToEmbed
from api.sources.item import Span
from embedder.decoding.picture import Picture, PictureOrder
from index.blobs import BlobStore
from index.jsontext import JSON
from index.truth.adding import NewEntry, add_embeddings
from index.truth.computations import Computation
from index.truth.coverage import image_sources, images_to_embed
from index.truth.databases.database import Database
from index.truth.jobs.chunks import Chunk, ChunkResult
from index.truth.jobs.items import JobItem, Outcome
from index.truth.jobs.job import JobCounts
from index.truth.spaces import Space

CHUNK_IMAGES = 64


class ReembedTask:
    """One worker's part of a re-embedding. Implements `api.jobs.task.Task`."""

    def __init__(
        self,
        database: Database,
        space: Space,
        originals: BlobStore,
        order: PictureOrder,
        computation: Computation,
    ) -> None:
        self._database = database
        self._space = space
        self._computation = computation
        self._originals = originals
        self._order = replace(order, perceptual_hash=True)

    def spans(self) -> Iterator[Span]:
        """List the images that have no embedding in the model's space."""
        after = 0
        while True:
            with self._database.read(unlimited=True) as conn:
                some = images_to_embed(conn, self._space, after, CHUNK_IMAGES)
            if not some:
                return
            yield Span(len(some), {"images": list(some)})
            after = some[-1]

    def read(self, chunk: Chunk) -> Iterator[ToEmbed[None] | ItemResult[NewEntry]]:
        """Yield the images of a chunk, with exactly the bytes that were ingested."""
        assert isinstance(chunk.span, Mapping)
        image_ids = chunk.span["images"]
        assert isinstance(image_ids, list)
        with self._database.read() as conn:
            sources = image_sources(conn, image_ids)
        for position, source in enumerate(sources, chunk.first_position):
            name = source.locations[0] if source.locations else source.image.sha256
            data, reason = find_bytes(source, self._originals, self._order.limits.max_image_bytes)
            if data is None:
                yield NotTaken.failed(position, name, "image_gone", reason)
            else:
                yield ToEmbed(position, name, data, source.image.sha256, None, self._order)

    def narrow(self, chunk: Chunk, first: int, count: int) -> JSON:
        """Return the span of some images of a chunk."""
        assert isinstance(chunk.span, Mapping)
        image_ids = chunk.span["images"]
        assert isinstance(image_ids, list)
        return {"images": image_ids[first : first + count]}

    def finish(
        self, item: ToEmbed[None], picture: Picture, vector: NDArray[np.float32], logit: float
    ) -> ItemResult[NewEntry]:
        """Return the embedding to add, with the facts, some of which images of older releases
        lack.
        """
        facts = describe_image(item.sha256, item.data, picture)
        new = NewEntry(facts, vector, logit, computation=self._computation)
        return Added(item.position, item.name, new)

    def store(self, results: Sequence[ItemResult[NewEntry]]) -> None:
        """Nothing is kept outside the database."""

    def write(self, conn: Connection, results: Sequence[ItemResult[NewEntry]]) -> ChunkResult:
        """Add the embeddings; an image that was embedded in the meantime is skipped."""
        items = [result for result in results if isinstance(result, Added)]
        new = (
            add_embeddings(conn, self._space, [item.content for item in items])
            if items
            else frozenset()
        )
        return count_embedded(results, new, "another job embedded it in the meantime")

    def clean_up(self) -> None:
        """Nothing is kept outside the database."""

    def complete(self) -> None:
        """Nothing follows the last image."""

    def close(self) -> None:
        """Nothing is open between two chunks."""


def count_embedded(
    results: Sequence[ItemResult[NewEntry]], new: Collection[str], already_there: str
) -> ChunkResult:
    """Count a chunk of images whose vectors were to be added.

    `new` has the sha256 of those that got one; `already_there` says why the others did not.
    """
    items = [result for result in results if isinstance(result, Added)]
    rows = [result.item for result in results if isinstance(result, NotTaken)]
    rows += [
        JobItem(item.position, item.name, Outcome.SKIPPED, "already_there", already_there)
        for item in items
        if item.content.image.sha256 not in new
    ]
    skipped = sum(row.outcome is Outcome.SKIPPED for row in rows)
    return ChunkResult(
        JobCounts(embedded=len(new), skipped=skipped, failed=len(rows) - skipped), rows
    )
