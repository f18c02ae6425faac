"""`lineup jobs`: what long work came to, and how it is steered."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from api.terminal.application import Json, app, settings_of

JobId = Annotated[int, typer.Argument(min=1, help="Number of the job.")]
jobs_app = typer.Typer(
    help="List, show, pause, resume and cancel jobs.", invoke_without_command=True
)


@jobs_app.callback()
def jobs(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Jobs to list.")] = 20,
    json: Json = False,
) -> None:
    """List the jobs, the newest first."""
    if ctx.invoked_subcommand is not None:
        return
    from api.jobs.catalogue import jobs_page
    from api.lineup import open_database
    from api.terminal.tables import print_jobs, print_json

    with open_database(settings_of(ctx)) as database:
        page = jobs_page(database, None, limit)
    if json:
        print_json(page)
    else:
        print_jobs(page.jobs)


@jobs_app.command("show")
def show_job(ctx: typer.Context, job_id: JobId, json: Json = False) -> None:
    """Show how far a job has come, and why items were skipped or failed."""
    from api.jobs.catalogue import one_job
    from api.lineup import open_database
    from api.terminal.tables import print_job, print_json

    with open_database(settings_of(ctx)) as database:
        answer = one_job(database, job_id)
    if json:
        print_json(answer)
    else:
        print_job(answer, [])


@jobs_app.command("failures")
def list_failures(
    ctx: typer.Context,
    job_id: JobId,
    every: Annotated[
        bool, typer.Option("--all", help="Skipped items and near duplicates too.")
    ] = False,
    csv: Annotated[
        Path | None, typer.Option(help="Write CSV to this file; - is standard output.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document a line.")] = False,
) -> None:
    """List the items that could not be taken, each with its reason."""
    from api.jobs.catalogue import every_item, write_csv
    from api.jobs.json import JobItemAnswer
    from api.lineup import open_database
    from api.terminal.tables import print_item, print_json_line
    from index.truth.jobs import Outcome

    with open_database(settings_of(ctx)) as database:
        items = every_item(database, job_id, None if every else Outcome.FAILED)
        if csv is not None and str(csv) != "-":
            with csv.open("w", encoding="utf-8", newline="") as file:
                write_csv(items, file)
        elif csv is not None:
            sys.stdout.reconfigure(newline="")  # type: ignore[union-attr]  # a text file always is one that can be
            write_csv(items, sys.stdout)
        else:
            for item in items:
                if json:
                    print_json_line(JobItemAnswer.of(item))
                else:
                    print_item(item)


@jobs_app.command("resume")
def resume_job(ctx: typer.Context, job_id: JobId, json: Json = False) -> None:
    """Go on with a job that was paused, interrupted or has failed, and work on it here."""
    from api.terminal.ingest import finish, let_waiting_threads_sleep, reported

    let_waiting_threads_sleep()
    from api.interpreter import tuned_interpreter
    from api.lineup import Lineup
    from api.worker.running import opened_for, work_on
    from api.worker.starting import reopen

    with tuned_interpreter(), Lineup.open(settings_of(ctx)) as lineup:
        job = reopen(lineup.database, job_id)
        with opened_for(lineup, job) as own, reported(job, json=json) as report:
            job = work_on(own, job, report)
        finish(lineup.database, job, json=json)


@jobs_app.command("pause")
def pause_job(ctx: typer.Context, job_id: JobId) -> None:
    """Let nobody begin anything more of a job; what is in flight is finished."""
    from api.jobs.catalogue import pause
    from api.lineup import open_database

    with open_database(settings_of(ctx)) as database:
        typer.echo(
            f"job {pause(database, job_id).id} is paused; `lineup jobs resume {job_id}` goes on"
        )


@jobs_app.command("cancel")
def cancel_job(ctx: typer.Context, job_id: JobId) -> None:
    """End a job for good; what it has added stays."""
    from api.lineup import open_database
    from api.worker.starting import cancel

    settings = settings_of(ctx)
    with open_database(settings) as database:
        typer.echo(
            f"job {cancel(database, settings.upload_dir, job_id).id} is cancelled; what it added "
            f"stays"
        )


app.add_typer(jobs_app, name="jobs")
