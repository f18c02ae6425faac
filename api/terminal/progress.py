"""A job that works while somebody watches: its progress, its end, and what Ctrl-C does."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from api.terminal.application import EXIT_INTERRUPTED
from api.terminal.console import ShownColumn, errors, print_json_line
from api.terminal.global_options import options_of

if TYPE_CHECKING:
    from api.jobs.task import Progress as OnProgress
    from index.truth.databases.database import Database
    from index.truth.jobs.chunks import ChunkResult
    from index.truth.jobs.job import Job

REPORT_SECONDS = 1.0  # between two lines of --json
SHOWN_REASONS = 4  # beside the bar
DOING = {
    "ingest": "ingesting",
    "reembed": "embedding",
    "calibrate": "embedding",
    "remove": "removing",
    "backfill": "describing",
}
# What is done once all items are: it may take seconds.
AFTERWARDS = dict.fromkeys(DOING, "bringing the index up to date") | {"calibrate": "measuring"}


def suggest(ctx: typer.Context, *words: object) -> str:
    """Return a command line that works on the same data as this one, to be copied."""
    return shlex.join([program(), *map(str, words), *options_of(ctx).command_line])


def program() -> str:
    """Return how this program is called: `lineup`, or its path where that is not on the PATH."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "lineup" and not shutil.which("lineup") else "lineup"


@contextmanager
def resumable(ctx: typer.Context, database: Database, job_id: int) -> Iterator[None]:
    """On Ctrl-C, say how to resume the job and end the command with exit code 130.

    A job that has ended by then is not resumed.
    """
    from index.truth.jobs.job import get_job

    try:
        yield
    except KeyboardInterrupt:
        with database.read() as conn:
            state = get_job(conn, job_id).state
        if state.ended:
            errors.print(f"interrupted: job {job_id} is {state}")
            raise typer.Exit(EXIT_INTERRUPTED) from None
        errors.print(
            f"interrupted: job {job_id} is paused and keeps what is finished; resume it with"
        )
        errors.print(f"  {suggest(ctx, 'jobs', 'resume', job_id)}")
        raise typer.Exit(EXIT_INTERRUPTED) from None


@contextmanager
def stop_on_sigterm(grace_seconds: float) -> Iterator[None]:
    """Let SIGTERM end the command as Ctrl-C does: finished work is stored, the rest given back.

    The process ends some seconds after the grace period at the latest, whatever it does.
    """
    from api.worker.expendable import CLOSE_SECONDS, exit_at_latest, forget_exit

    def interrupt(_number: int, _frame: Any) -> None:  # noqa: ANN401 -- as signal calls it
        exit_at_latest(grace_seconds + CLOSE_SECONDS)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        forget_exit()


def let_waiting_threads_sleep() -> None:
    """Call this before torch is loaded: its threads otherwise spin while they wait, on cores that
    decode the next images.

    With the built-in model on two busy cores: 300 images/s instead of 100. A forward that has the
    machine to itself is slower.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def progress_bar(*, rate: str = "", after: str = "") -> Progress:
    """Return a bar on standard error, disabled if that is no terminal.

    `rate` and `after` are formats over the task, for text within the bar and at its end.
    """
    return Progress(
        ShownColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        *([ShownColumn(rate)] if rate else []),
        TimeRemainingColumn(),
        *([ShownColumn(after)] if after else []),
        console=errors,
        disable=not errors.is_terminal,
    )


@contextmanager
def reported(job: Job, *, json: bool) -> Iterator[OnProgress]:
    """Give a function that reports progress: a bar for a person, a line a second for a program.

    Where there is no bar, standard error says what is done after the last item.
    """
    if json or not errors.is_terminal:
        yield report_without_bar(report_lines() if json else None)
        return
    with progress_bar(rate="{task.fields[rate]:.1f}/s", after="{task.fields[failures]}") as bar:
        task = bar.add_task(describe(job), total=None, rate=0.0, failures="")
        reasons: Counter[str] = Counter()

        def on_progress(now: Job, result: ChunkResult) -> None:
            reasons.update(item.reason for item in result.items if item.outcome == "failed")
            bar.update(
                task,
                description=describe(now),
                total=now.counts.found if now.listed else None,
                completed=now.counts.done,
                rate=bar.tasks[0].speed or 0.0,
                failures=describe_failures(now, reasons),
            )

        yield on_progress


def report_without_bar(report: OnProgress | None) -> OnProgress:
    """Return a function that reports, and once all items are done says what still goes on."""
    is_said = False

    def on_progress(job: Job, result: ChunkResult) -> None:
        nonlocal is_said
        if report is not None:
            report(job, result)
        if not is_said and all_items_are_done(job):
            is_said = True
            errors.print(describe(job))

    return on_progress


def all_items_are_done(job: Job) -> bool:
    """Whether only that is left to do which follows the last item."""
    return job.listed and 0 < job.counts.found == job.counts.done


def describe(job: Job) -> str:
    """Return what a job is doing, as the bar shows it."""
    if not job.listed:
        return f"job {job.id}: listing sources: {job.counts.found:,} found"
    if all_items_are_done(job):
        return f"job {job.id}: {AFTERWARDS[job.kind]}"
    return f"job {job.id}: {DOING[job.kind]}"


def describe_failures(job: Job, reasons: Counter[str]) -> str:
    """Return the most frequent reasons of failures; other workers' failures have only a number."""
    if reasons:
        return ", ".join(
            f"{count} {reason}" for reason, count in reasons.most_common(SHOWN_REASONS)
        )
    return f"{job.counts.failed} failed" if job.counts.failed else ""


def report_lines(clock: Callable[[], float] = perf_counter) -> OnProgress:
    """Return a function that prints a JSON line about the job, once a second at most."""
    from api.jobs.json import JobAnswer

    began = last = clock()
    done_here = 0

    def on_progress(job: Job, result: ChunkResult) -> None:
        nonlocal last, done_here
        done_here += result.counts.done
        now = clock()
        if now - last >= REPORT_SECONDS:
            last = now
            rate = round(done_here / (now - began), 2)
            print_json_line(JobAnswer.of(job, images_per_second=rate, local=True))

    return on_progress
