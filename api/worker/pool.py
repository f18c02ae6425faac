"""Work on one job with several processes of this machine, each with a model of its own.

The processes are workers like any `lineup worker`: one that dies loses its leases, and the others
take over its chunks. It is started again.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from api.interpreter import tuned_interpreter
from api.jobs.failures import Patience
from api.jobs.task import Progress
from api.lineup import Lineup, open_database
from api.settings import Settings
from api.worker.running import help_with, pause_if_open
from api.worker.starting import needs_network
from embedder.decoding.budget import LEAST_BUDGET_BYTES, choose_budget
from embedder.decoding.threads import count_cores
from index.truth.databases.database import Database
from index.truth.jobs.chunks import ChunkResult
from index.truth.jobs.job import OPEN_STATES, Job, fail_job, get_job

POLL_SECONDS = 0.5
MOST_RESTARTS = 12  # four items that end their process three times


class WorkerProcess(Protocol):
    """What is watched of a process: `multiprocessing.Process`."""

    @property
    def exitcode(self) -> int | None: ...

    def is_alive(self) -> bool: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...
    def join(self, timeout: float | None = ...) -> None: ...


def work_together(
    settings: Settings, database: Database, job: Job, workers: int, on_progress: Progress
) -> Job:
    """Work on a job with this many processes until it has ended, failed or is paused.

    Ctrl-C pauses the job. The job fails if every process ends before it. Returns the job as it then
    stands. Raises KeyboardInterrupt.
    """
    spawn = multiprocessing.get_context("spawn")  # a forked torch may hang
    threads = max(1, count_cores() // workers)
    budget = settings.memory_budget_bytes or choose_budget()
    shares = settings.model_copy(
        update={
            "decoders": settings.decoders or threads,
            # An image that is larger than the whole share is refused.
            "memory_budget_bytes": max(budget // workers, min(budget, LEAST_BUDGET_BYTES)),
        }
    )

    def start(number: int) -> WorkerProcess:
        process = spawn.Process(
            target=_work, args=(shares, job.id, threads), name=f"worker-{number}"
        )
        process.start()
        return process

    processes = [start(number) for number in range(workers)]
    try:
        return watch(database, job, processes, on_progress, start=start)
    except KeyboardInterrupt:
        pause_if_open(database, job.id)
        raise
    finally:
        end(processes, settings.shutdown_grace_seconds)


def watch(
    database: Database,
    job: Job,
    processes: list[WorkerProcess],
    on_progress: Progress,
    sleep: Callable[[float], None] = time.sleep,
    start: Callable[[int], WorkerProcess] | None = None,
) -> Job:
    """Report the progress of a job until it has ended, failed or is paused; return it then.

    A process that ended with an error is started again, some times in all: an item that ends its
    process three times is found. `start` starts the process of a number.
    """
    persist, restarts, seen = Patience(threading.Event()), 0, job.counts

    def read() -> Job:
        with database.read() as conn:
            return get_job(conn, job.id)

    while True:
        # Looked at before the job, so that no progress comes after the last look.
        alive = [process.is_alive() for process in processes]
        is_alive = any(alive)
        now = persist(read)
        if now.counts != seen:
            on_progress(now, ChunkResult(now.counts - seen))
            seen = now.counts
        if now.state not in OPEN_STATES:
            return now
        for number, lives in enumerate(alive):
            if start is not None and not lives and processes[number].exitcode:
                if restarts == MOST_RESTARTS:
                    break
                restarts += 1
                processes[number] = start(number)
                is_alive = True
        if is_alive:
            sleep(POLL_SECONDS)
            continue
        codes = sorted({each.exitcode for each in processes if each.exitcode is not None})
        with database.write() as conn:
            fail_job(
                conn, job.id, f"every worker ended before the job did, with the exit codes {codes}"
            )


def end(processes: Sequence[WorkerProcess], grace_seconds: float) -> None:
    """Ask the processes to finish the batch in the model and to give back their leases; kill those
    that are still alive after the grace period.
    """
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + grace_seconds
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()


def _work(settings: Settings, job_id: int, threads: int) -> None:
    """Run in each process; SIGTERM stops it between two items."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    # Ctrl-C reaches the whole process group; the first process decides what follows.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open_database(settings) as database, database.read() as conn:
        embeds = needs_network(get_job(conn, job_id))
    if embeds:
        from embedder.network.device import set_thread_count  # noqa: PLC0415 -- loads torch

        set_thread_count(threads)
    with tuned_interpreter(), Lineup.open(settings, loads_network=embeds) as lineup:
        help_with(lineup, job_id, stop)
