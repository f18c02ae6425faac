"""`lineup jobs`: the jobs, what became of their items, and how to pause, resume and cancel them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.interpreter import tuned_interpreter
from api.terminal.application import REFERENCES, app
from api.terminal.console import csv_output, named, print_json, print_json_line, write
from api.terminal.global_options import settings_of
from api.terminal.options import Json, JsonLines
from api.terminal.progress import (
    let_waiting_threads_sleep,
    reported,
    resumable,
    stop_on_sigterm,
    suggest,
)
from api.terminal.tables import Column, print_table

if TYPE_CHECKING:
    from api.jobs.json import JobAnswer, JobItemAnswer
    from index.truth.databases.database import Database
    from index.truth.jobs.items import JobItem
    from index.truth.jobs.job import Job

JobId = Annotated[
    int, typer.Argument(min=1, help="Number of the job.", metavar="JOB", show_default=False)
]
STDOUT = "-"
jobs_app = typer.Typer(invoke_without_command=True)
app.add_typer(jobs_app, name="jobs", rich_help_panel=REFERENCES)


@jobs_app.callback()
def jobs(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Jobs to list.")] = 20,
    json: Json = False,
) -> None:
    """List, show, pause, resume and cancel jobs.

    Without a command, the jobs are listed, the newest first. A job is an ingest, a re-embedding or
    a calibration.
    """
    if ctx.invoked_subcommand is not None:
        return
    from api.jobs.catalogue import page_jobs
    from api.lineup import open_database

    with open_database(settings_of(ctx)) as database:
        page = page_jobs(database, None, limit, local=True)
    if json:
        print_json(page)
    else:
        print_jobs(page.jobs)


@jobs_app.command("show")
def show_job(ctx: typer.Context, job_id: JobId, json: Json = False) -> None:
    """Show the progress of a job, and why items were skipped or failed."""
    from api.ingest.uploads import describe_expiry
    from api.jobs.catalogue import describe_job
    from api.lineup import open_database

    settings = settings_of(ctx)
    with open_database(settings) as database:
        answer = describe_job(database, job_id, local=True)
    answer = describe_expiry(answer, settings.upload_dir, settings.failed_upload_days)
    if json:
        print_json(answer)
    else:
        print_job(answer, [])
        if answer.upload_kept_until:
            until = f"{answer.upload_kept_until:%Y-%m-%d %H:%M} UTC"
            write(f"its upload is kept until {until}", label="  ")


@jobs_app.command("failures")
def list_failures(
    ctx: typer.Context,
    job_id: JobId,
    every: Annotated[
        bool, typer.Option("--all", help="List skipped items and near duplicates too.")
    ] = False,
    csv: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write CSV to this file; - is standard output."),
    ] = None,
    json: JsonLines = False,
) -> None:
    """List the items that failed, each with its reason."""
    from api.jobs.catalogue import iterate_items, write_csv
    from api.jobs.json import JobItemAnswer
    from api.lineup import open_database
    from index.truth.jobs.items import Outcome

    with open_database(settings_of(ctx)) as database:
        items = iterate_items(database, job_id, None if every else Outcome.FAILED)
        if csv is not None and str(csv) != STDOUT:
            with csv.open("w", encoding="utf-8", newline="") as file:
                write_csv(items, file)
        elif csv is not None:
            write_csv(items, csv_output())
        else:
            for item in items:
                if json:
                    print_json_line(JobItemAnswer.of(item))
                else:
                    print_item(item)


@jobs_app.command("resume")
def resume_job(ctx: typer.Context, job_id: JobId, json: JsonLines = False) -> None:
    """Continue a job that was paused, was interrupted or has failed."""
    let_waiting_threads_sleep()
    from api.lineup import Lineup, open_database
    from api.worker.running import opened_for, work_watched
    from api.worker.starting import needs_network, reopen
    from index.truth.jobs.job import get_job

    settings = settings_of(ctx)
    with open_database(settings) as database, database.read() as conn:
        job = get_job(conn, job_id)
    with (
        stop_on_sigterm(settings.shutdown_grace_seconds),
        tuned_interpreter(),
        Lineup.open(settings, loads_network=needs_network(job)) as lineup,
    ):
        job = reopen(lineup.database, job_id)
        with (
            resumable(ctx, lineup.database, job_id),
            opened_for(lineup, job) as own,
            reported(job, json=json) as report,
        ):
            job = work_watched(own, job, report)
        finish(ctx, lineup.database, job, json=json)


@jobs_app.command("pause")
def pause_job(ctx: typer.Context, job_id: JobId) -> None:
    """Pause a job. Its workers finish what they have begun."""
    from api.jobs.catalogue import pause
    from api.lineup import open_database

    with open_database(settings_of(ctx)) as database:
        pause(database, job_id)
    write(f"job {job_id} is paused; resume it with: {suggest(ctx, 'jobs', 'resume', job_id)}")


@jobs_app.command("cancel")
def cancel_job(ctx: typer.Context, job_id: JobId) -> None:
    """Cancel a job for good. What it has added stays."""
    from api.lineup import open_database
    from api.worker.starting import cancel

    settings = settings_of(ctx)
    with open_database(settings) as database:
        cancel(database, settings.upload_dir, job_id)
    write(f"job {job_id} is cancelled; what it has added stays")


def finish(ctx: typer.Context, database: Database, job: Job, *, json: bool) -> None:
    """Print how a job ended, and what is missing after an ingest.

    The exit code is 3 if items failed or the job is not complete.
    """
    from api.calibrations.needs import add_next_step
    from api.jobs.catalogue import describe_job, list_first_failures
    from api.problems import EXIT_PARTIAL

    described = describe_job(database, job.id, local=True)
    answer = add_next_step(database, described, settings_of(ctx).false_match_rate)
    if json:
        print_json_line(answer)
    else:
        print_job(answer, list_first_failures(database, job.id))
    if answer.failed or answer.state != "completed":
        raise typer.Exit(EXIT_PARTIAL)


def print_jobs(jobs: Iterable[JobAnswer]) -> None:
    """Print a row for each job, and why jobs failed."""
    jobs = list(jobs)
    columns = (
        Column("job", align="right"),
        Column("kind"),
        Column("state"),
        Column("corpus", importance=5, shorten="end"),
        Column("found", align="right", importance=4),
        Column("succeeded", align="right"),
        Column("skipped", align="right", importance=2),
        Column("failed", align="right"),
        Column("last change", importance=3),
        Column("sources", importance=1, shorten="start"),
    )
    rows = [
        (
            str(job.id),
            job.kind,
            job.state,
            job.corpus or "",
            f"{job.found:,}",
            f"{job.added + job.linked + job.embedded:,}",
            f"{job.skipped:,}",
            f"{job.failed:,}",
            f"{job.updated_at:%Y-%m-%d %H:%M:%S}",
            describe_sources(job),
        )
        for job in jobs
    ]
    print_table(columns, rows, empty="there is no job yet")
    for job in jobs:
        if job.state == "failed" and job.error:
            write(job.error, label=f"job {job.id} failed: ", style="red")
        if job.obstacle:
            write(job.obstacle, label=f"job {job.id} waits: ", style="yellow")


def describe_sources(job: JobAnswer) -> str:
    """Return the name of the first source and the number of the others."""
    from api.server_paths import LIST_SUFFIX, STANDARD_INPUT

    sources = job.request.get("sources", [])
    if not sources:
        return ""
    first = Path(str(sources[0])).name
    first = STANDARD_INPUT if first.endswith(LIST_SUFFIX) else first
    return first + (f" and {len(sources) - 1} more" if len(sources) > 1 else "")


def print_job(answer: JobAnswer, failures: Sequence[JobItemAnswer]) -> None:
    """Print some failures, then the counts of a job and the reasons behind them."""
    for failure in failures:
        print_item(failure)
    if answer.failed > len(failures):
        more = "more " if failures else ""
        write(f"{answer.failed - len(failures):,} {more}failed: lineup jobs failures {answer.id}")
    where = f"{answer.corpus}: " if answer.corpus else ""
    left = answer.found - answer.done
    done = (
        f"{answer.embedded:,} described"  # nothing is added, and no embedding is made
        if answer.kind == "backfill"
        else f"{answer.added:,} added + {answer.linked:,} linked + {answer.embedded:,} embedded "
        "again"
    )
    write(
        f"{where}{answer.found:,} found = {done} + {answer.skipped:,} skipped + {answer.failed:,} "
        f"failed" + (f" + {left:,} to do" if left > 0 else ""),
        label=f"job {answer.id} {answer.state}  ",
    )
    for outcome, reasons in (answer.reasons or {}).items():
        counts = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
        write(counts, label=f"  {outcome}: ")
    if answer.near_duplicates:
        write(
            f"{answer.near_duplicates:,} look the same as another image of the corpus, by "
            "perceptual hash",
            label="  ",
        )
    if answer.finished_at:
        seconds = (answer.finished_at - answer.created_at).total_seconds()
        rate = answer.done / max(seconds, 0.001)
        write(f"{seconds:,.1f} s, {rate:,.1f} items/s", label="  ", style="dim")
    if answer.tried_again:
        write(
            f"{answer.tried_again:,} items wait for another attempt: the work on them ended in an "
            "error or with its process",
            label="  ",
        )
    if answer.obstacle:
        write(answer.obstacle, label="  waits: ", style="yellow")
    if answer.error:
        write(answer.error, label="  ", style="red")
    if answer.next_step:
        write(answer.next_step, label="next step  ")


def print_item(item: JobItem | JobItemAnswer) -> None:
    """Print an item that failed or was skipped, with its reason."""
    write(f"{item.reason}: {item.detail}", label=named(item.name))
