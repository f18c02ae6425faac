"""The long part of a calibration, as a job: embed the sample after each kind of delivery.

The embeddings are kept (table `reference_embeddings`), so a later calibration embeds only what is
new. When all are there, the calibration is measured from stored embeddings in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from api.calibrations.measuring import choose_sample, measure_and_save
from api.calibrations.request import CalibrationRequest
from api.calibrations.shipped import ShippedPhotographs
from api.calibrations.stored_pictures import PictureReader
from api.corpora.originals import find_bytes
from api.jobs.task import Added, ItemResult, NotTaken, ToEmbed
from api.sources.item import Span
from embedder.decoding.picture import Picture, PictureOrder
from embedder.pictures.delivery import Condition
from index.blobs import BlobStore
from index.jsontext import JSON
from index.truth.calibrations import add_delivered, find_missing_deliveries
from index.truth.computations import Computation
from index.truth.coverage import ImageSource, image_sources
from index.truth.databases.database import Database
from index.truth.jobs.chunks import Chunk, ChunkResult
from index.truth.jobs.items import JobItem, Outcome
from index.truth.jobs.job import Job, JobCounts
from index.truth.spaces import Space

CHUNK_IMAGES = 16
# Image id, condition, vector `(d,)` and logit.
DeliveredEmbedding = tuple[int, str, NDArray[np.float32], float]


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """An image of the sample and the condition that it is embedded under."""

    image_id: int
    condition: Condition


class CalibrateTask:
    """One worker's part of a calibration. Implements `api.jobs.task.Task`."""

    def __init__(
        self,
        database: Database,
        space: Space,
        originals: BlobStore,
        order: PictureOrder,
        job: Job,
        computation: Computation,
        shipped: ShippedPhotographs | None = None,
        reader: PictureReader | None = None,
    ) -> None:
        """`reader` reads the images again that are looked up as copies; without it, no rate of
        copies is measured.
        """
        self._database = database
        self._space = space
        self._computation = computation
        self._shipped = shipped
        self._originals = originals
        self._order = order
        self._job_id = job.id
        self._reader = reader
        self._request = CalibrationRequest.read(job.request)

    def spans(self) -> Iterator[Span]:
        """List the images of the sample with the conditions that they are not embedded under."""
        wanted = [each.value for each in self._request.conditions if each is not Condition.AS_IS]
        with self._database.read(unlimited=True) as conn:
            images = choose_sample(conn, self._space, self._request)
            missing = find_missing_deliveries(
                conn, self._space, [*images.reals, *images.fakes], wanted
            )
        for start in range(0, len(missing), CHUNK_IMAGES):
            some = missing[start : start + CHUNK_IMAGES]
            yield Span(
                sum(len(conditions) for _, conditions in some),
                {"images": [list(each) for each in some]},
            )

    def read(self, chunk: Chunk) -> Iterator[ToEmbed[Delivery] | ItemResult[DeliveredEmbedding]]:
        """Yield each image once for each condition; an image without bytes fails for each."""
        assert isinstance(chunk.span, Mapping)
        images = chunk.span["images"]
        assert isinstance(images, list)
        with self._database.read(unlimited=True) as conn:
            sources = image_sources(conn, [image_id for image_id, _ in images])
        position = chunk.first_position
        for (image_id, conditions), source in zip(images, sources, strict=True):
            yield from self._deliveries(
                position, source, image_id, [Condition(each) for each in conditions]
            )
            position += len(conditions)

    def narrow(self, chunk: Chunk, first: int, count: int) -> JSON:
        """Return the span of some items of a chunk: each is an image under one condition."""
        assert isinstance(chunk.span, Mapping)
        images = chunk.span["images"]
        assert isinstance(images, list)
        each = [
            (image_id, condition) for image_id, conditions in images for condition in conditions
        ]
        chosen = groupby(each[first : first + count], key=itemgetter(0))
        return {
            "images": [
                [image_id, [condition for _, condition in together]]
                for image_id, together in chosen
            ]
        }

    def finish(
        self, item: ToEmbed[Delivery], _picture: Picture, vector: NDArray[np.float32], logit: float
    ) -> ItemResult[DeliveredEmbedding]:
        """Return the embedding with the image and the condition that it belongs to."""
        delivery = item.payload
        content = (delivery.image_id, delivery.condition.value, vector, logit)
        return Added(item.position, item.name, content)

    def store(self, results: Sequence[ItemResult[DeliveredEmbedding]]) -> None:
        """Nothing is kept outside the database."""

    def write(
        self, conn: Connection, results: Sequence[ItemResult[DeliveredEmbedding]]
    ) -> ChunkResult:
        """Add the embeddings; one that another job added in the meantime is skipped."""
        new = [result for result in results if isinstance(result, Added)]
        rows = [result.item for result in results if isinstance(result, NotTaken)]
        added = add_delivered(conn, self._space, [each.content for each in new], self._computation)
        rows += [
            JobItem(
                each.position,
                each.name,
                Outcome.SKIPPED,
                "already_there",
                "another job embedded it in the meantime",
            )
            for each in new
            if each.content[:2] not in added
        ]
        skipped = sum(row.outcome is Outcome.SKIPPED for row in rows)
        return ChunkResult(
            JobCounts(embedded=len(added), skipped=skipped, failed=len(rows) - skipped), rows
        )

    def clean_up(self) -> None:
        """Nothing is kept outside the database."""

    def complete(self) -> None:
        """Measure and store the calibration. Raises `NothingToCalibrate`."""
        measure_and_save(
            self._database,
            self._space,
            self._request,
            self._job_id,
            self._computation,
            self._shipped,
            self._reader,
        )

    def close(self) -> None:
        """Nothing is open between two chunks."""

    def _deliveries(
        self, position: int, source: ImageSource, image_id: int, conditions: Sequence[Condition]
    ) -> Iterator[ToEmbed[Delivery] | NotTaken]:
        data, reason = find_bytes(source, self._originals, self._order.limits.max_image_bytes)
        image_name = source.locations[0] if source.locations else source.image.sha256
        for number, condition in enumerate(conditions, position):
            name = f"{image_name} as {condition}"
            if data is None:
                yield NotTaken.failed(number, name, "image_gone", reason)
                continue
            delivery = Delivery(image_id, condition)
            order = replace(self._order, delivery=condition)
            yield ToEmbed(number, name, data, source.image.sha256, delivery, order)
