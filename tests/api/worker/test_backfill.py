"""A back-fill describes each image once, from the best bytes there are, and says which."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sqlalchemy import select

from api.copies.spaces import DescriberOf
from api.images import BlobStores
from api.jobs.leases import Leases
from api.jobs.working import JobRun
from api.worker.backfill import FROM_THUMBNAIL, BackfillTask, DescriptorStream
from api.worker.starting import start_backfill
from embedder.decoding.picture import PictureOrder, make_picture
from embedder.decoding.threads import ThreadDecoders
from index.cache.live import LiveIndex
from index.truth.adding import NewEntry, add_entries
from index.truth.corpora import CorpusKind, ensure_corpus
from index.truth.coverage import coverage
from index.truth.databases.database import Database
from index.truth.images import ImageFacts
from index.truth.jobs.items import list_items
from index.truth.jobs.job import Job, JobCounts, JobKind, JobState
from index.truth.schema import computations, embeddings, images
from index.truth.spaces import find_space_id
from index.truth.vectors import HALF
from tests.api.copies.colours import INPUT, Colours
from tests.api.modelless import (
    DIMENSION,
    LIMITS,
    SPACE,
    encode,
    fill,
    jpeg_of,
    png,
    sha256_of,
    stores_in,
)

DECODERS = ThreadDecoders(1)


def backfill(database: Database, stores: BlobStores, colours: Colours | None = None) -> Job:
    describer = DescriberOf.of(colours or Colours())
    job = start_backfill(database, describer.space, "colours")
    task = BackfillTask(database, describer, stores, LIMITS)
    stream = DescriptorStream(DECODERS, describer)
    with Leases.held(database) as leases:
        run = JobRun(database, stream, task, leases, lambda *_: None, threading.Event())
        return run.run(job.id)


def thumbnail_of(seed: int) -> bytes:
    thumbnail = make_picture(png(seed), PictureOrder(LIMITS, thumbnail_pixels=32)).thumbnail
    assert thumbnail is not None
    return thumbnail


def pixels_of(data: bytes) -> np.ndarray:
    pixels = make_picture(data, PictureOrder(LIMITS, descriptor=INPUT)).descriptor_pixels
    assert pixels is not None
    return pixels


def vector_of(data: bytes) -> np.ndarray:
    return Colours().describe(pixels_of(data)[np.newaxis])[0].astype(HALF)


def stored(database: Database) -> dict[str, tuple[bytes, str]]:
    """The copy vectors by sha256, and the precision that each names."""
    with database.read() as conn:
        query = (
            select(images.c.sha256, embeddings.c.vector, computations.c.precision)
            .join(images, images.c.id == embeddings.c.image_id)
            .join(computations, computations.c.id == embeddings.c.computation_id)
            .where(embeddings.c.space_id == find_space_id(conn, DescriberOf.of(Colours()).space))
        )
        return {row.sha256: (bytes(row.vector), row.precision) for row in conn.execute(query)}


def test_the_original_comes_before_the_file_and_the_thumbnail_last(
    database: Database, tmp_path: Path
) -> None:
    stores = stores_in(tmp_path)
    kept, there, changed, gone, damaged = range(5)
    for seed in (there, changed):
        (tmp_path / f"{seed}.png").write_bytes(png(seed))
    (tmp_path / f"{changed}.png").write_bytes(jpeg_of(changed))
    stores.originals.put(sha256_of(png(kept)), png(kept))
    for seed in (there, changed):
        stores.thumbnails.put(sha256_of(png(seed)), thumbnail_of(seed))
    stores.thumbnails.put(sha256_of(png(damaged)), b"no picture")
    fill(database, "known", [kept])
    for seed in (there, changed, gone, damaged):
        fill(database, "known", [seed], extra={"location": str(tmp_path / f"{seed}.png")})

    done = backfill(database, stores)

    assert (done.kind, done.state) == (JobKind.BACKFILL, JobState.COMPLETED)
    assert done.counts == JobCounts(found=5, embedded=3, failed=2)
    assert stored(database) == {
        sha256_of(png(kept)): (vector_of(png(kept)).tobytes(), "onnx"),
        sha256_of(png(there)): (vector_of(png(there)).tobytes(), "onnx"),
        sha256_of(png(changed)): (
            vector_of(thumbnail_of(changed)).tobytes(),
            "onnx" + FROM_THUMBNAIL,
        ),
    }
    with database.read() as conn:
        items = list_items(conn, done.id)
    assert [(item.reason, Path(item.name).name) for item in items] == [
        ("image_gone", f"{gone}.png"),
        ("not_an_image", f"{damaged}.png"),
    ]
    assert "no thumbnail is kept" in items[0].detail


def test_only_what_is_missing_is_described_and_the_same_request_is_the_same_job(
    database: Database, tmp_path: Path
) -> None:
    stores, colours = stores_in(tmp_path), Colours()
    for seed in range(3):
        stores.originals.put(sha256_of(png(seed)), png(seed))
    fill(database, "known", [0, 1])
    assert backfill(database, stores, colours).counts == JobCounts(found=2, embedded=2)
    fill(database, "known", [2])
    assert backfill(database, stores, colours).counts == JobCounts(found=1, embedded=1)
    assert colours.described == 3
    space = DescriberOf.of(colours).space
    assert start_backfill(database, space, "colours") == start_backfill(database, space, "colours")
    with database.read() as conn:
        assert coverage(conn, space).missing == 0


def test_a_picture_without_a_vector_does_not_end_a_back_fill(
    database: Database, tmp_path: Path
) -> None:
    stores, colours = stores_in(tmp_path), Colours(refused=pixels_of(png(1)).tobytes())
    for seed in range(3):
        stores.originals.put(sha256_of(png(seed)), png(seed))
    fill(database, "known", [0, 1, 2])

    done = backfill(database, stores, colours)

    assert (done.state, done.counts) == (
        JobState.COMPLETED,
        JobCounts(found=3, embedded=2, failed=1),
    )
    assert set(stored(database)) == {sha256_of(png(seed)) for seed in (0, 2)}
    with database.read() as conn:
        (item,) = list_items(conn, done.id)
    assert "it gives no vector with a norm" in item.detail


CHILD = """
import sys, threading, time
from pathlib import Path
from api.copies.spaces import DescriberOf
from api.jobs.leases import Leases
from api.jobs.working import JobRun
from api.worker.backfill import BackfillTask, DescriptorStream
from embedder.decoding.threads import ThreadDecoders
from index.truth.databases.database import Database
from tests.api.copies.colours import Colours
from tests.api.modelless import LIMITS, stores_in

class Slow(Colours):
    def describe(self, pixels):
        if self.described >= 70:  # in the second chunk
            print("described", flush=True)
            time.sleep(60)
        return super().describe(pixels)

with Database.open(sys.argv[1]) as database:
    describer = DescriberOf.of(Slow())
    task = BackfillTask(database, describer, stores_in(Path(sys.argv[2])), LIMITS)
    stream = DescriptorStream(ThreadDecoders(1), describer)
    with Leases.held(database) as leases:
        run = JobRun(database, stream, task, leases, lambda *_: None, threading.Event())
        run.run(int(sys.argv[3]))
"""


def test_a_back_fill_that_is_killed_is_continued_and_loses_no_vector(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    stores = stores_in(tmp_path)
    seeds = range(80)
    for seed in seeds:
        stores.originals.put(sha256_of(png(seed, 24)), png(seed, 24))
    fill_small(database, seeds)
    space = DescriberOf.of(Colours()).space
    job = start_backfill(database, space, "colours")
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, database_url, str(tmp_path), str(job.id)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"described\n"
        end = time.monotonic() + 20
        while len(stored(database)) < 64:  # the committer of the first chunk is another thread
            assert time.monotonic() < end
            time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
    assert len(stored(database)) == 64  # the first chunk is committed, the second is not

    done = backfill(database, stores)

    assert (done.id, done.state, done.counts.embedded) == (job.id, JobState.COMPLETED, 80)
    assert len(stored(database)) == 80
    with LiveIndex.open(database, space, tmp_path / "index") as live:
        assert live.count == 80
        assert live.verify().agrees


def fill_small(database: Database, seeds: Any) -> None:
    with database.write() as conn:
        ensure_corpus(conn, "known", CorpusKind.KNOWN_FAKE)
        new = [
            NewEntry(
                ImageFacts(sha256_of(png(seed, 24)), 10, 24, 24, "png"),
                np.eye(DIMENSION, dtype=np.float32)[seed % DIMENSION],
                0.5,
            )
            for seed in seeds
        ]
        add_entries(conn, "known", SPACE, new)


def test_the_narrow_thumbnail_of_a_long_strip_is_described(
    database: Database, tmp_path: Path
) -> None:
    stores = stores_in(tmp_path)
    strip = Image.new("RGB", (64, LIMITS.min_image_side - 1), "teal")
    stores.thumbnails.put(sha256_of(png(1)), encode(strip, "WEBP"))
    fill(database, "known", [1])
    done = backfill(database, stores)
    assert done.counts == JobCounts(found=1, embedded=1)
    assert stored(database)[sha256_of(png(1))][1] == "onnx" + FROM_THUMBNAIL
