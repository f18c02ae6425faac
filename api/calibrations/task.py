"""The long part of a calibration, as a job: reference images embedded as they look after each kind
of delivery.

What is embedded once is kept (`reference_embeddings`), so that a later calibration computes only
what is new. When all of it is there the calibration is measured from what SQL holds, in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from api.calibrations.measuring import measure_and_save, sampled
from api.calibrations.request import CalibrationRequest
from api.corpora.originals import bytes_of
from api.jobs.task import End, Left, Taken, ToEmbed
from api.lineup import Lineup
from api.sources.item import Item, Span
from embedder.pictures.decode import DecodedImage
from embedder.pictures.delivery import Condition
from index.truth.calibrations import add_delivered, missing_deliveries
from index.truth.coverage import ImageSource, image_sources
from index.truth.entries import NewEntry
from index.truth.jobs import Chunk, ChunkResult, Job, JobCounts, JobItem, Outcome

CHUNK_IMAGES = 16


class CalibrateTask:
    """One worker's view of a calibration. Implements `api.jobs.task.Task`."""

    def __init__(self, lineup: Lineup, job: Job) -> None:
        self._lineup = lineup
        self._job = job
        self._request = CalibrationRequest.model_validate(job.request)
        self._pairs: dict[
            int, tuple[ImageSource, int, Condition]
        ] = {}  # by position, from reading to writing

    def spans(self) -> Iterator[Span]:
        """The images of the sample with the conditions that they are not embedded under yet."""
        wanted = [each.value for each in self._request.conditions if each is not Condition.AS_IS]
        with self._lineup.database.read() as conn:
            images = sampled(conn, self._lineup.space, self._request)
            missing = missing_deliveries(
                conn, self._lineup.space, [*images.reals, *images.fakes], wanted
            )
        for start in range(0, len(missing), CHUNK_IMAGES):
            some = missing[start : start + CHUNK_IMAGES]
            yield Span(
                sum(len(conditions) for _, conditions in some),
                {"images": [list(each) for each in some]},
            )

    def read(self, chunk: Chunk) -> Iterator[ToEmbed | End]:
        """Each image delivered in each way; one that cannot be read ends for every way."""
        assert isinstance(chunk.span, Mapping)
        images = chunk.span["images"]
        assert isinstance(images, list)
        with self._lineup.database.read() as conn:
            sources = image_sources(conn, [image_id for image_id, _ in images])
        position = chunk.first_position
        for (image_id, conditions), source in zip(images, sources, strict=True):
            yield from self._deliveries(
                position, source, image_id, [Condition(each) for each in conditions]
            )
            position += len(conditions)

    def derive(self, item: ToEmbed, decoded: DecodedImage) -> None:
        """Nothing is needed beside the embedding."""

    def embedded(
        self, item: ToEmbed, _derived: None, vector: NDArray[np.float32], logit: float
    ) -> End:
        source, _, _ = self._pairs[item.position]
        return Taken(item.position, item.item.name, NewEntry(source.image, vector, logit))

    def write(self, conn: Connection, ends: Sequence[End]) -> ChunkResult:
        """Embeddings; one that somebody else made meanwhile is skipped."""
        new, rows = [], list[JobItem]()
        for end in ends:
            if isinstance(end, Left):
                rows.append(end.item)
            elif isinstance(end, Taken):
                _, image_id, condition = self._pairs[end.position]
                assert end.entry.vector is not None
                assert end.entry.logit is not None
                new.append(
                    (
                        end.position,
                        end.name,
                        (image_id, condition.value, end.entry.vector, end.entry.logit),
                    )
                )
        added = add_delivered(conn, self._lineup.space, [each for _, _, each in new])
        rows += [
            JobItem(position, name, Outcome.SKIPPED, "already_there", "it was embedded meanwhile")
            for position, name, each in new
            if each[:2] not in added
        ]
        for end in ends:
            self._pairs.pop(end.item.position if isinstance(end, Left) else end.position, None)
        skipped = sum(row.outcome is Outcome.SKIPPED for row in rows)
        return ChunkResult(
            JobCounts(embedded=len(added), skipped=skipped, failed=len(rows) - skipped), rows
        )

    def written(self) -> None:
        """Nothing is kept beside the database."""

    def completed(self) -> None:
        """Every image is there that can be had: measure. Raises `NothingToCalibrate`."""
        measure_and_save(self._lineup, self._request, self._job.id)

    def close(self) -> None:
        """Nothing is open between two chunks."""

    def _deliveries(
        self, position: int, source: ImageSource, image_id: int, conditions: Sequence[Condition]
    ) -> Iterator[ToEmbed | End]:
        data, why = bytes_of(self._lineup, source)
        for number, condition in enumerate(conditions, position):
            name = (
                f"{source.locations[0] if source.locations else source.image.sha256} as {condition}"
            )
            if data is None:
                yield Left.failed(number, name, "image_gone", why)
                continue
            self._pairs[number] = (source, image_id, condition)
            yield ToEmbed(
                number, Item(name, lambda _: b""), data, source.image.sha256, delivery=condition
            )
