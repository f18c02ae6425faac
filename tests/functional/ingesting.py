"""A process that ingests until it is killed. Run by `test_killed_ingest.py`.

A child of the nursery is a whole ingest: database, model, job, leases, index.
"""

from __future__ import annotations

import sys
from pathlib import Path

from api.ingest import task as ingest_task
from api.ingest.request import IngestRequest
from api.lineup import Lineup
from api.settings import Settings
from api.worker.running import work_on
from api.worker.starting import start_ingest
from embedder.network.device import set_thread_count
from tests.functional.nursery import Task, die_as_told, nurse_tasks


def run(task: Task) -> None:
    """Ingest, and die at the n-th passing of a failpoint if the task names one."""
    die_as_told(task)
    set_thread_count(1)
    ingest_task.CHUNK_ITEMS = task["chunk_items"]  # small chunks: many places to die at
    settings = Settings(
        data_dir=Path(task["data"]),
        database_url=task["url"],
        offline=True,
        device="cpu",
        precision="float32",
    )
    with Lineup.open(settings) as lineup:
        request = IngestRequest(sources=task["sources"], corpus=task["corpus"], dedup=task["dedup"])
        job = work_on(lineup, start_ingest(lineup.database, lineup.space, request))
        print(job.id, job.state, file=sys.stderr)


if __name__ == "__main__":
    nurse_tasks(run)
