"""A worker whose items end or hang its process. Run by `test_poison.py`.

A child of the nursery works on every open job of the database, and ends. The request of a job names
its items: `exit` ends the process, at the `point` that the request names, as a decoder does that
was taken over; `hang` never returns from native code, and somebody then stops the process or
cancels the job, as the task says.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from api.jobs.task import ItemResult, ToEmbed
from api.terminal.progress import stop_on_sigterm
from api.worker.expendable import exit_now, has_left_threads, run_expendable
from api.worker.running import ignore_progress, is_cancelled, run_task
from api.worker.taking import take_open_jobs
from index.truth.databases.database import Database
from index.truth.jobs.chunks import Chunk
from index.truth.jobs.job import Job, cancel_job
from tests.api.modelless import SPACE, ImageEmbedder, TinyTask
from tests.functional.nursery import Task, nurse_tasks

GRACE_SECONDS = 1.0


class DeadlyTask(TinyTask):
    """Corpora from names, some of which end the process or hang."""

    point = "read"
    on_hang: Callable[[], None]

    def read(self, chunk: Chunk) -> Iterator[ToEmbed[str] | ItemResult[str]]:
        for step in super().read(chunk):
            if isinstance(step, ToEmbed):
                self._meet(step.name, "read")
            yield step

    def store(self, results: Sequence[ItemResult[str]]) -> None:
        for result in results:
            self._meet(self.names[result.position], "store")
        super().store(results)

    def _meet(self, name: str, point: str) -> None:
        if point != self.point:
            return
        if name == "exit":
            os.kill(os.getpid(), signal.SIGKILL)
        if name == "hang":
            threading.Thread(target=self.on_hang).start()
            hang_in_native_code()


def hang_in_native_code() -> None:
    """Hang here, and in a thread that the interpreter waits for at its end."""
    ThreadPoolExecutor().submit(ctypes.CDLL(None).sleep, 1000)
    ctypes.CDLL(None).sleep(1000)


def work_on_all(database: Database, told: Task) -> None:
    stop = threading.Event()

    def open_task(job: Job) -> DeadlyTask:
        task = DeadlyTask(job.request["names"], chunk_items=job.request["chunk_items"])
        task.point = job.request["point"]
        task.on_hang = partial(disturb, job)
        return task

    def disturb(job: Job) -> None:
        if told["on_hang"] == "cancel":
            with database.write() as conn:
                cancel_job(conn, job.id)
        else:
            os.kill(os.getpid(), signal.SIGTERM)

    def work(job: Job, *, owner: bool) -> None:
        run_expendable(
            lambda own_stop: run_task(
                database,
                ImageEmbedder(),
                partial(open_task, job),
                job.id,
                ignore_progress,
                own_stop,
                owner=owner,
            ),
            partial(is_cancelled, database, job.id),
            stop,
            grace_seconds=GRACE_SECONDS,
        )

    take_open_jobs(database, SPACE, work, stop, helping=False, once=True, idle_seconds=0.1)


def run(task: Task) -> None:
    logging.basicConfig(stream=sys.stderr)
    with stop_on_sigterm(GRACE_SECONDS), Database.open(task["url"]) as database:
        try:
            work_on_all(database, task)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
    if has_left_threads():
        print("threads are left behind", file=sys.stderr)
        exit_now(0)


if __name__ == "__main__":
    nurse_tasks(run)
