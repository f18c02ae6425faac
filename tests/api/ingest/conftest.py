"""A whole ingest without a model, over a real database and real files."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from api.copies.spaces import Describer, no_describer
from api.images import BlobStores
from api.ingest.request import IngestRequest
from api.ingest.task import IngestTask
from api.jobs.leases import Leases
from api.jobs.working import JobRun
from api.worker.starting import start_ingest
from index.truth.corpora import Keep
from index.truth.databases.database import Database
from index.truth.entries import Entry, list_entries
from index.truth.jobs.items import JobItem, list_items
from index.truth.jobs.job import Job
from tests.api.modelless import COMPUTATION, DECODERS, ORDER, SPACE, ImageEmbedder, stores_in


@dataclass
class Shelf:
    """A database, a folder of sources and the blobs, and ingests from one into the others."""

    database: Database
    folder: Path
    embedder: ImageEmbedder = field(default_factory=ImageEmbedder)
    find_describer: Callable[[], Describer | None] = no_describer

    @property
    def stores(self) -> BlobStores:
        return stores_in(self.folder / "data")

    @property
    def uploads(self) -> Path:
        return self.folder / "data" / "uploads"

    def write(self, name: str, data: bytes) -> Path:
        path = self.folder / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def request(self, **stated: Any) -> IngestRequest:
        return IngestRequest.read(
            {"sources": [str(self.folder / "in")], "corpus": "known"} | stated
        )

    def ingest(self, keep: Keep | None = None, **stated: Any) -> Job:
        job = start_ingest(self.database, SPACE, self.request(**stated), keep)
        task = IngestTask(
            self.database,
            SPACE,
            self.stores,
            DECODERS,
            ORDER,
            self.uploads,
            job,
            lambda: COMPUTATION,
            self.find_describer,
        )
        try:
            with Leases.held(self.database) as leases:
                return JobRun(
                    self.database,
                    self.embedder,
                    task,
                    leases,
                    lambda *_: None,
                    threading.Event(),
                ).run(job.id)
        finally:
            task.close()

    def items(self, job: Job) -> list[JobItem]:
        with self.database.read() as conn:
            return list(list_items(conn, job.id))

    def entries(self, corpus: str = "known") -> list[Entry]:
        with self.database.read() as conn:
            return list(list_entries(conn, corpus))


@pytest.fixture
def shelf(database: Database, tmp_path: Path) -> Shelf:
    (tmp_path / "in").mkdir()
    return Shelf(database, tmp_path)


@pytest.fixture
def sqlite_shelf(new_sqlite_url: Callable[[], str], tmp_path: Path) -> Any:
    (tmp_path / "in").mkdir()
    with Database.open(new_sqlite_url()) as database:
        yield Shelf(database, tmp_path)
