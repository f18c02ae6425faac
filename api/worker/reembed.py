"""Another model's embeddings, beside the old ones, for every entry whose image can still be read: a
durable job.

No lookup is disturbed: a vector of one space is never compared with one of another, and which space
lookups use is switched by `api.operations.activating.activate` when this is done.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from api.corpora.originals import bytes_of
from api.ingest.single import facts_of
from api.jobs.task import End, Left, Taken, ToEmbed
from api.lineup import Lineup
from api.sources.item import Item, Span
from embedder.pictures.decode import DecodedImage
from index.truth.coverage import image_sources, images_to_embed
from index.truth.entries import NewEntry, add_embeddings
from index.truth.images import ImageFacts
from index.truth.jobs import Chunk, ChunkResult, JobCounts, JobItem, Outcome

CHUNK_IMAGES = 64


class ReembedTask:
    """One worker's view of a re-embedding. Implements `api.jobs.task.Task`."""

    def __init__(self, lineup: Lineup) -> None:
        self._lineup = lineup

    def spans(self) -> Iterator[Span]:
        """The images that are not in the model's space yet."""
        after = 0
        while True:
            with self._lineup.database.read() as conn:
                some = images_to_embed(conn, self._lineup.space, after, CHUNK_IMAGES)
            if not some:
                return
            yield Span(len(some), {"images": list(some)})
            after = some[-1]

    def read(self, chunk: Chunk) -> Iterator[ToEmbed | End]:
        """From the originals, else from where the images came from; only the very same bytes will
        do.
        """
        assert isinstance(chunk.span, Mapping)
        image_ids = chunk.span["images"]
        assert isinstance(image_ids, list)
        with self._lineup.database.read() as conn:
            sources = image_sources(conn, image_ids)
        for position, source in enumerate(sources, chunk.first_position):
            name = source.locations[0] if source.locations else source.image.sha256
            data, why = bytes_of(self._lineup, source)
            if data is None:
                yield Left.failed(position, name, "image_gone", why)
            else:
                yield ToEmbed(position, Item(name, lambda _: b""), data, source.image.sha256)

    def derive(self, item: ToEmbed, decoded: DecodedImage) -> ImageFacts:
        """The facts, which images of older releases lack in part."""
        return facts_of(item.sha256, item.data, decoded)

    def embedded(
        self, item: ToEmbed, derived: ImageFacts, vector: NDArray[np.float32], logit: float
    ) -> End:
        return Taken(item.position, item.item.name, NewEntry(derived, vector, logit))

    def write(self, conn: Connection, ends: Sequence[End]) -> ChunkResult:
        """Embeddings; an image that somebody else embedded meanwhile is skipped."""
        taken = [end for end in ends if isinstance(end, Taken)]
        new = (
            add_embeddings(conn, self._lineup.space, [end.entry for end in taken])
            if taken
            else frozenset()
        )
        rows = [end.item for end in ends if isinstance(end, Left)]
        rows += [
            JobItem(
                end.position,
                end.name,
                Outcome.SKIPPED,
                "already_there",
                "it was embedded meanwhile",
            )
            for end in taken
            if end.entry.image.sha256 not in new
        ]
        skipped = sum(row.outcome is Outcome.SKIPPED for row in rows)
        return ChunkResult(
            JobCounts(embedded=len(new), skipped=skipped, failed=len(rows) - skipped), rows
        )

    def written(self) -> None:
        """Nothing is kept beside the database."""

    def completed(self) -> None:
        """Nothing comes after the last image."""

    def close(self) -> None:
        """Nothing is open between two chunks."""
