"""A re-embedding reads exactly the bytes that were ingested, and embeds each image once."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from api.images import BlobStores
from api.jobs.leases import Leases
from api.jobs.working import JobRun
from api.worker.reembed import ReembedTask
from api.worker.starting import start_reembed
from index.truth.databases.database import Database
from index.truth.images import find_embedding
from index.truth.jobs.items import list_items
from index.truth.jobs.job import Job, JobCounts, JobState
from tests.api.modelless import (
    COMPUTATION,
    ORDER,
    OTHER_SPACE,
    ImageEmbedder,
    fill,
    jpeg_of,
    picture_of,
    png,
    sha256_of,
    stores_in,
    vector_of,
)


def reembed(database: Database, stores: BlobStores, embedder: ImageEmbedder) -> Job:
    job = start_reembed(database, OTHER_SPACE, "other")
    task = ReembedTask(database, OTHER_SPACE, stores.originals, ORDER, COMPUTATION)
    with Leases.held(database) as leases:
        run = JobRun(database, embedder, task, leases, lambda *_: None, threading.Event())
        return run.run(job.id)


def test_images_are_read_from_originals_or_their_files_and_other_bytes_are_refused(
    database: Database, tmp_path: Path
) -> None:
    stores = stores_in(tmp_path)
    kept, there, changed, gone = range(4)
    for seed in (there, changed):
        (tmp_path / f"{seed}.png").write_bytes(png(seed))
    (tmp_path / f"{changed}.png").write_bytes(jpeg_of(changed))
    stores.originals.put(sha256_of(png(kept)), png(kept))
    fill(database, "known", [kept])
    for seed in (there, changed, gone):
        fill(database, "known", [seed], extra={"location": str(tmp_path / f"{seed}.png")})

    done = reembed(database, stores, ImageEmbedder())

    assert (done.state, done.counts) == (
        JobState.COMPLETED,
        JobCounts(found=4, embedded=2, failed=2),
    )
    with database.read() as conn:
        items = list_items(conn, done.id)
        for seed in (kept, there):
            found = find_embedding(conn, OTHER_SPACE, sha256_of(png(seed)))
            assert found is not None
            expected = vector_of(picture_of(png(seed)))
            np.testing.assert_array_equal(found.vector, expected)
            assert found.computation == COMPUTATION
        assert find_embedding(conn, OTHER_SPACE, sha256_of(png(changed))) is None
    assert [(item.reason, Path(item.name).name) for item in items] == [
        ("image_gone", f"{changed}.png"),
        ("image_gone", f"{gone}.png"),
    ]
    assert "gone, changed or cannot be read" in items[0].detail


def test_only_what_is_missing_is_embedded(database: Database, tmp_path: Path) -> None:
    stores, embedder = stores_in(tmp_path), ImageEmbedder()
    fill(database, "known", [0, 1])
    fill(database, "known", [0], space=OTHER_SPACE)
    for seed in (0, 1):
        stores.originals.put(sha256_of(png(seed)), png(seed))

    done = reembed(database, stores, embedder)

    assert done.counts == JobCounts(found=1, embedded=1)
    assert embedder.embedded == [sha256_of(png(1))]


def test_an_image_that_was_embedded_in_the_meantime_is_skipped(
    database: Database, tmp_path: Path
) -> None:
    stores = stores_in(tmp_path)
    fill(database, "known", [0])
    stores.originals.put(sha256_of(png(0)), png(0))

    class Overtaken(ImageEmbedder):
        def embed_stream(self, items):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
            for outcome in super().embed_stream(items):
                fill(database, "known", [0], space=OTHER_SPACE)
                yield outcome

    done = reembed(database, stores, Overtaken())

    assert done.counts == JobCounts(found=1, skipped=1)
    with database.read() as conn:
        assert [item.reason for item in list_items(conn, done.id)] == ["already_there"]
