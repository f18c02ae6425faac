"""A process that ingests until it is killed, and the nursery that forks many. Run by `test_killed_ingest.py`.

The nursery imports once and forks a child for each task that it reads from standard input, so that loading a model
library is not paid for at every kill. A child is a whole ingest: database, model, job, leases, index.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from api.ingest import task as ingest_task
from api.ingest.request import IngestRequest
from api.jobs.running import start_ingest, work_on
from api.lineup import Lineup
from api.settings import Settings
from embedder import use_threads
from index import failpoints


def run(task: dict[str, Any]) -> None:
    """Ingest, and die at the n-th passing of a failpoint if the task names one."""
    passed = 0

    def die(point: failpoints.Failpoint) -> None:
        nonlocal passed
        if point == task["failpoint"]:
            passed += 1
            if passed == task["passing"]:
                os.kill(os.getpid(), signal.SIGKILL)

    failpoints.install(die)
    use_threads(1)
    ingest_task.CHUNK_ITEMS = task["chunk_items"]  # small chunks: many places to die at
    settings = Settings(
        data_dir=Path(task["data"]), database_url=task["url"], offline=True, device="cpu", precision="float32"
    )
    with Lineup.opened(settings) as lineup:
        request = IngestRequest(sources=task["sources"], corpus=task["corpus"], dedup=task["dedup"])
        job = work_on(lineup, start_ingest(lineup, request))
        print(job.id, job.state, file=sys.stderr)


def nurse(tasks: list[dict[str, Any]]) -> list[int]:
    """Fork a child for each task, side by side; kill those that have a time to live; return what each ended with."""
    children: dict[int, dict[str, Any]] = {}
    for task in tasks:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                with Path(task["log"]).open("a") as log:
                    os.dup2(log.fileno(), 2)
                    run(task)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        children[child] = task
    ends: dict[int, int] = {}
    deadline = {pid: time.monotonic() + task["seconds"] for pid, task in children.items()}
    while children.keys() - ends.keys():
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            ends[pid] = os.waitstatus_to_exitcode(status)
        for late in children.keys() - ends.keys():
            if time.monotonic() > deadline[late]:
                os.kill(late, signal.SIGKILL)
                deadline[late] += 60
        time.sleep(0.005)
    return [ends[pid] for pid in children]


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(nurse(json.loads(line))), flush=True)
