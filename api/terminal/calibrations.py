"""`lineup calibrate` and `lineup calibrations`: how often a photograph comes as near as a known
fake.
"""

from __future__ import annotations

from typing import Annotated

import typer

from api.terminal.application import Json, app, checked, settings_of

calibrations_app = typer.Typer(help="List and show calibrations.", invoke_without_command=True)
app.add_typer(calibrations_app, name="calibrations")


@app.command()
def calibrate(
    ctx: typer.Context,
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="CORPUS", help="A corpus of known fakes; repeat it. Default: all."),
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CORPUS", help="A corpus of known-real images; repeat it. Default: all."
        ),
    ] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            help="A kind of delivery to measure: as_is, jpeg90, ...; repeat it. Default: all."
        ),
    ] = None,
    max_images: Annotated[
        int,
        typer.Option(
            help="Known-real images, and known fakes, that are embedded again after each delivery."
        ),
    ] = 500,
    seed: Annotated[int, typer.Option(help="Of the choice of images and of the bootstrap.")] = 0,
    json: Annotated[
        bool, typer.Option("--json", help="Print progress and the calibration as JSON lines.")
    ] = False,
) -> None:
    """Measure how often a known-real image comes as near to the known fakes as a probe, and what
    that is worth.

    Stored with its inputs and never changed; lookups in these corpora state its rates and ratios
    from then on. Images are also re-encoded as messengers and pages do, for which their files must
    still be there (exit code 3 where one is not, or becomes too small for the model). Ctrl-C
    pauses, the same command goes on.
    """
    from api.calibrations.json import calibration_of_job
    from api.calibrations.request import CalibrationRequest
    from api.jobs.catalogue import one_job, some_failures
    from api.lineup import Lineup
    from api.problems import EXIT_PARTIAL
    from api.terminal.calibration_tables import print_calibration
    from api.terminal.ingest import ended_softly, let_waiting_threads_sleep, reported
    from api.terminal.tables import print_job, print_json_line

    let_waiting_threads_sleep()
    told = {} if condition is None else {"conditions": condition}
    request = checked(
        CalibrationRequest,
        against=against,
        reference=reference,
        max_images=max_images,
        seed=seed,
        **told,
    )
    from api.worker.running import work_on
    from api.worker.starting import start_calibration

    with ended_softly(), Lineup.open(settings_of(ctx)) as lineup:
        job = start_calibration(lineup.database, lineup.space, request)
        with reported(job, json=json) as report:
            job = work_on(lineup, job, report)
        done = one_job(lineup.database, job.id)
        answer = calibration_of_job(lineup.database, job.id)
        if json:
            print_json_line(done)
        elif done.found:
            print_job(done, some_failures(lineup.database, job.id))
        if answer is not None:
            (print_json_line if json else print_calibration)(answer)
    if done.failed or answer is None:
        raise typer.Exit(EXIT_PARTIAL)


@calibrations_app.callback()
def calibrations(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Calibrations to list.")] = 20,
    json: Json = False,
) -> None:
    """List the calibrations, the newest first."""
    if ctx.invoked_subcommand is not None:
        return
    from api.calibrations.json import calibrations_page
    from api.lineup import open_database
    from api.terminal.calibration_tables import print_calibrations
    from api.terminal.tables import print_json

    with open_database(settings_of(ctx)) as database:
        page = calibrations_page(database, None, limit)
    if json:
        print_json(page)
    else:
        print_calibrations(page.calibrations)


@calibrations_app.command("show")
def show_calibration(
    ctx: typer.Context, calibration_id: Annotated[int, typer.Argument(min=1)], json: Json = False
) -> None:
    """Show what a calibration measured, by kind of delivery."""
    from api.calibrations.json import one_calibration
    from api.lineup import open_database
    from api.terminal.calibration_tables import print_calibration
    from api.terminal.tables import print_json

    with open_database(settings_of(ctx)) as database:
        answer = one_calibration(database, calibration_id)
    if json:
        print_json(answer)
    else:
        print_calibration(answer)
