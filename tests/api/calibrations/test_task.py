from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import func, select

from api.calibrations.catalogue import describe_calibration_of_job
from api.calibrations.request import CalibrationRequest
from api.calibrations.task import CHUNK_IMAGES, CalibrateTask
from api.jobs.task import Added, NotTaken, ToEmbed
from api.lineup import Lineup
from api.worker.starting import start_calibration
from embedder.decoding.picture import Picture
from embedder.pictures.delivery import Condition
from index.truth.jobs.chunks import Chunk
from index.truth.jobs.items import Outcome
from index.truth.jobs.job import JobCounts
from index.truth.schema import computations, reference_embeddings

REQUEST = CalibrationRequest(
    conditions=[Condition.AS_IS, Condition.JPEG75, Condition.HALF], max_images=5
)
VECTOR = np.eye(12, dtype=np.float32)[0]


def open_task(lineup: Lineup, request: CalibrationRequest = REQUEST) -> CalibrateTask:
    job = start_calibration(lineup.database, lineup.space, request)
    stores = lineup.blob_stores
    return CalibrateTask(
        lineup.database,
        lineup.space,
        stores.originals,
        lineup.picture_order,
        job,
        lineup.computation,
    )


def chunks(task: CalibrateTask) -> Iterator[Chunk]:
    position = 0
    for number, span in enumerate(task.spans(), start=1):
        yield Chunk(1, number, "worker", position, span.count, span.where)
        position += span.count


def embed(task: CalibrateTask, items: Any) -> list[Any]:
    return [
        task.finish(item, Picture("png"), VECTOR, 0.5) if isinstance(item, ToEmbed) else item
        for item in items
    ]


def count_embedded(lineup: Lineup) -> int:
    with lineup.database.read() as conn:
        return conn.execute(select(func.count()).select_from(reference_embeddings)).scalar_one()


def test_each_image_of_the_sample_is_listed_with_what_is_missing(lineup: Lineup) -> None:
    (chunk,) = chunks(open_task(lineup))
    images = chunk.span["images"]  # type: ignore[index, call-overload]
    assert len(images) == 10  # five of each kind
    assert {tuple(conditions) for _, conditions in images} == {("jpeg75", "half")}
    assert chunk.item_count == 20  # unchanged, their embeddings are stored

    many = open_task(lineup, CalibrationRequest(conditions=[Condition.JPEG75], max_images=12))
    assert [chunk.item_count for chunk in chunks(many)] == [CHUNK_IMAGES, 24 - CHUNK_IMAGES]


def test_an_image_is_read_once_for_each_delivery(lineup: Lineup) -> None:
    task = open_task(lineup)
    (chunk,) = chunks(task)
    items = list(task.read(chunk))
    assert [item.position for item in items] == list(range(20))
    assert all(isinstance(item, ToEmbed) for item in items)
    assert [item.order.delivery for item in items[:4]] == [Condition.JPEG75, Condition.HALF] * 2
    assert items[0].data == items[1].data != items[2].data
    assert items[0].name == f"{items[0].sha256} as jpeg75"
    assert (items[0].payload.condition, items[1].payload.condition) == ("jpeg75", "half")
    assert {item.order.preprocessing for item in items} == {lineup.picture_order.preprocessing}


def test_embeddings_are_written_and_not_listed_again(lineup: Lineup) -> None:
    task = open_task(lineup)
    (chunk,) = chunks(task)
    results = embed(task, task.read(chunk))
    assert all(isinstance(result, Added) for result in results)
    with lineup.database.write() as conn:
        written = task.write(conn, results)
    assert (written.counts, list(written.items)) == (JobCounts(embedded=20), [])
    assert count_embedded(lineup) == 20
    with lineup.database.read() as conn:
        query = select(computations.c.device, computations.c.precision).join(reference_embeddings)
        assert set(conn.execute(query).all()) == {("cpu", "float32")}
    assert list(task.spans()) == []
    task.clean_up()
    task.close()


def test_what_another_job_embedded_meanwhile_is_skipped(lineup: Lineup) -> None:
    task = open_task(lineup)
    (chunk,) = chunks(task)
    results = embed(task, task.read(chunk))
    with lineup.database.write() as conn:
        task.write(conn, results[:3])
        again = task.write(conn, results)
    assert again.counts == JobCounts(embedded=17, skipped=3)
    assert [(item.position, item.outcome, item.reason) for item in again.items] == [
        (position, Outcome.SKIPPED, "already_there") for position in range(3)
    ]


def test_an_image_without_bytes_fails_for_each_delivery(lineup: Lineup) -> None:
    task = open_task(lineup)
    (chunk,) = chunks(task)
    first = next(iter(task.read(chunk)))
    Path(lineup.blob_stores.originals.path(first.sha256)).unlink()
    results = embed(task, task.read(chunk))
    gone, others = results[:2], results[2:]
    assert all(isinstance(each, NotTaken) for each in gone)
    assert all(isinstance(each, Added) for each in others)
    with lineup.database.write() as conn:
        written = task.write(conn, results)
    assert written.counts == JobCounts(embedded=18, failed=2)
    assert [(each.name, each.reason) for each in written.items] == [
        (f"{first.sha256} as {condition}", "image_gone") for condition in ("jpeg75", "half")
    ]


def test_a_completed_job_has_its_calibration(lineup: Lineup) -> None:
    request = CalibrationRequest(conditions=[Condition.JPEG75], max_images=12)
    job = start_calibration(lineup.database, lineup.space, request)
    task = open_task(lineup, request)
    assert describe_calibration_of_job(lineup.database, job.id) is None
    with lineup.database.write() as conn:
        for chunk in list(chunks(task)):
            task.write(conn, embed(task, task.read(chunk)))
    task.complete()
    task.complete()  # by another worker

    answer = describe_calibration_of_job(lineup.database, job.id)
    assert answer is not None
    assert [each.condition for each in answer.strata] == ["as_is", "jpeg75", "any_delivery"]
    assert answer.request["job"] == job.id
    assert answer.request["asked"] == request.model_dump(mode="json")
