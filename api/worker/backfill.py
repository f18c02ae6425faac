"""A back-fill as a job: the vectors of a copy descriptor, for the images that have none.

It covers every image with an entry. The bytes are those of the kept original, else of the file that
the image came from if that has the same digest, else of the thumbnail. What a vector was computed
from is stored with it: `FROM_THUMBNAIL` marks those of thumbnails. No look-up is disturbed.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from api.copies.spaces import Describer
from api.corpora.originals import find_bytes
from api.images import BlobStores
from api.jobs.task import Added, ItemResult, NotTaken, ToEmbed
from api.sources.item import Span
from api.worker.reembed import count_embedded
from embedder.decoding.ahead import make_pictures_ahead
from embedder.decoding.picture import Decoders, Picture, PictureOrder
from embedder.errors import CorruptImage, CorruptWeights, ImageError
from embedder.network.results import Embedded, Failed
from embedder.pictures.limits import ImageLimits
from index.errors import BlobCorrupt
from index.jsontext import JSON
from index.truth.adding import NewEntry, add_copy_vectors
from index.truth.computations import Computation
from index.truth.coverage import ImageSource, image_sources, images_to_embed
from index.truth.databases.database import Database
from index.truth.images import ImageFacts
from index.truth.jobs.chunks import Chunk, ChunkResult

CHUNK_IMAGES = 64
# Added to the precision that a vector names, where it was computed from the thumbnail.
FROM_THUMBNAIL = ".thumbnail"
AHEAD = 8  # pictures that the decoders make while one is described
AHEAD_BYTES = 64 * 2**20
K = TypeVar("K")


class DescriptorStream:
    """Describes the pictures of a stream one after another. Implements
    `api.jobs.working.StreamEmbedder`: the vectors are those of the descriptor, and the logits 0.
    """

    def __init__(self, decoders: Decoders, describer: Describer) -> None:
        self._decoders = decoders
        self._describer = describer

    def embed_stream(
        self, items: Iterable[tuple[K, bytes, PictureOrder]]
    ) -> Generator[Embedded[K] | Failed[K], None, None]:
        """Yield, in order, each item's vector, or its ImageError.

        A picture of which the network makes no vector fails alone: it must not end a back-fill
        again and again.
        """
        pictures = make_pictures_ahead(self._decoders, items, ahead=AHEAD, max_bytes=AHEAD_BYTES)
        with closing(pictures):
            for key, future in pictures:
                try:
                    picture = future.result()
                except ImageError as err:
                    yield Failed(key, err)
                    continue
                assert picture.descriptor_pixels is not None
                try:
                    (vector,) = self._describer.describe(picture.descriptor_pixels[np.newaxis])
                except CorruptWeights as err:  # of this picture: the others have vectors
                    yield Failed(key, CorruptImage(picture.format, str(err)))
                    continue
                yield Embedded(key, Picture(picture.format), vector, 0.0)


class BackfillTask:
    """One worker's part of a back-fill. Implements `api.jobs.task.Task`; the payload of an item
    says whether its bytes are those of the thumbnail.
    """

    def __init__(
        self, database: Database, describer: Describer, stores: BlobStores, limits: ImageLimits
    ) -> None:
        self._database = database
        self._describer = describer
        self._stores = stores
        # The thumbnail of a long strip is narrower than what a model reads.
        self._order = PictureOrder(replace(limits, min_image_side=1), descriptor=describer.input)

    def spans(self) -> Iterator[Span]:
        """List the images that have no vector in the copy space."""
        after = 0
        while True:
            with self._database.read(unlimited=True) as conn:
                some = images_to_embed(conn, self._describer.space, after, CHUNK_IMAGES)
            if not some:
                return
            yield Span(len(some), {"images": list(some)})
            after = some[-1]

    def read(self, chunk: Chunk) -> Iterator[ToEmbed[bool] | ItemResult[NewEntry]]:
        """Yield the images of a chunk, with the best bytes that there are."""
        with self._database.read() as conn:
            sources = image_sources(conn, _image_ids(chunk))
        for position, source in enumerate(sources, chunk.first_position):
            name = source.locations[0] if source.locations else source.image.sha256
            data, reason = self._find_bytes(source)
            is_thumbnail = data is None
            if data is None:
                data, why = self._find_thumbnail(source.image.sha256)
                reason = f"{reason}; {why}"
            if data is None:
                yield NotTaken.failed(position, name, "image_gone", reason)
            else:
                sha256 = source.image.sha256
                yield ToEmbed(position, name, data, sha256, is_thumbnail, self._order)

    def narrow(self, chunk: Chunk, first: int, count: int) -> JSON:
        """Return the span of some images of a chunk."""
        return {"images": list(_image_ids(chunk)[first : first + count])}

    def finish(
        self,
        item: ToEmbed[bool],
        picture: Picture,  # noqa: ARG002 -- only its vector counts
        vector: NDArray[np.float32],
        logit: float,  # noqa: ARG002 -- a descriptor has none
    ) -> ItemResult[NewEntry]:
        """Return the vector to add. The facts of its image are stored already."""
        device, precision, _ = self._describer.computation
        computed = Computation(device, precision + FROM_THUMBNAIL if item.payload else precision)
        facts = ImageFacts(item.sha256, None, None, None, None)
        new = NewEntry(facts, None, None, copy_vector=vector, copy_computation=computed)
        return Added(item.position, item.name, new)

    def store(self, results: Sequence[ItemResult[NewEntry]]) -> None:
        """Nothing is kept outside the database."""

    def write(self, conn: Connection, results: Sequence[ItemResult[NewEntry]]) -> ChunkResult:
        """Add the vectors; an image that was described in the meantime is skipped."""
        items = [result for result in results if isinstance(result, Added)]
        contents = [item.content for item in items]
        new = add_copy_vectors(conn, self._describer.space, contents) if items else frozenset()
        return count_embedded(results, new, "an ingest or another job described it in the meantime")

    def clean_up(self) -> None:
        """Nothing is kept outside the database."""

    def complete(self) -> None:
        """Nothing follows the last image."""

    def close(self) -> None:
        """Nothing is open between two chunks."""

    def _find_bytes(self, source: ImageSource) -> tuple[bytes | None, str]:
        most = self._order.limits.max_image_bytes
        try:
            return find_bytes(source, self._stores.originals, most)
        except BlobCorrupt as err:
            return None, f"the kept original is damaged: {err.reason}"

    def _find_thumbnail(self, sha256: str) -> tuple[bytes | None, str]:
        try:
            return self._stores.thumbnails.find(sha256), "no thumbnail is kept"
        except BlobCorrupt as err:
            return None, f"the thumbnail is damaged: {err.reason}"


def _image_ids(chunk: Chunk) -> list[int]:
    assert isinstance(chunk.span, Mapping)
    image_ids = chunk.span["images"]
    assert isinstance(image_ids, list)
    return image_ids
