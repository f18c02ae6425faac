"""One job worked on by several processes of this machine, each with a model of its own.

The processes are `lineup worker`s like any other: one that dies loses its leases, and the others
take over what it had.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess

from api.interpreter import tuned_interpreter
from api.jobs.task import Progress
from api.lineup import Lineup
from api.settings import Settings
from api.worker.running import help_with, pause_if_open
from embedder.network.device import use_threads
from index.truth.database import Database
from index.truth.jobs import OPEN_STATES, ChunkResult, Job, fail_job, get_job

POLL_SECONDS = 0.5
FAREWELL_SECONDS = 30.0  # to finish the batch in the model and to give back what was claimed


def work_together(
    settings: Settings, database: Database, job: Job, workers: int, on_progress: Progress
) -> Job:
    """Work on a job with so many processes until it rests; how it stands then.

    Ctrl-C pauses it. Without any worker left the job fails with that reason. Raises
    KeyboardInterrupt.
    """
    spawn = multiprocessing.get_context("spawn")  # a forked torch may hang
    threads = max(1, (os.cpu_count() or 1) // workers)
    processes = [
        spawn.Process(target=_work, args=(settings, job.id, threads), name=f"worker-{number}")
        for number in range(workers)
    ]
    for process in processes:
        process.start()
    try:
        return _watched(database, job, processes, on_progress)
    except KeyboardInterrupt:
        pause_if_open(database, job.id)
        raise
    finally:
        _end(processes)


def _watched(
    database: Database, job: Job, processes: Sequence[BaseProcess], on_progress: Progress
) -> Job:
    seen = job.counts
    while True:
        alive = any(
            process.is_alive() for process in processes
        )  # before the look: nothing may come after it
        with database.read() as conn:
            now = get_job(conn, job.id)
        if now.counts != seen:
            on_progress(now, ChunkResult(now.counts - seen))
            seen = now.counts
        if now.state not in OPEN_STATES:
            return now
        if not alive:
            with database.write() as conn:
                codes = sorted(
                    {process.exitcode for process in processes if process.exitcode is not None}
                )
                fail_job(
                    conn, job.id, f"every worker ended before the job did, with the codes {codes}"
                )
            continue
        time.sleep(POLL_SECONDS)


def _end(processes: Sequence[BaseProcess]) -> None:
    """Ask the workers to end, and make them."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + FAREWELL_SECONDS
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()


def _work(settings: Settings, job_id: int, threads: int) -> None:
    """What a process does. It stops between two items when it is told to."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole group; the first process decides
    use_threads(threads)
    with tuned_interpreter(), Lineup.open(settings) as lineup:
        help_with(lineup, job_id, stop)
