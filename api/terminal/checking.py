"""`lineup doctor` and `lineup fsck`: what is missing, and whether the stored parts agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from api.terminal.application import CARE, app
from api.terminal.console import joined, print_json, styled, write
from api.terminal.global_options import settings_of
from api.terminal.options import Json
from api.terminal.progress import let_waiting_threads_sleep

if TYPE_CHECKING:
    from api.operations.checks_json import DoctorAnswer, FsckAnswer


@app.command(rich_help_panel=CARE)
def doctor(ctx: typer.Context, json: Json = False) -> None:
    """Say what works here, what is broken, and what is missing before answers are worth something.

    Database, model, index, corpora and calibrations are examined. The exit code is 0 if all parts
    work, also with advice, and 3 if one is broken.
    """
    let_waiting_threads_sleep()
    from api.operations.doctor import examine_installation
    from api.problems import EXIT_PARTIAL

    answer = examine_installation(settings_of(ctx))
    if json:
        print_json(answer)
    else:
        print_doctor(answer)
    if not answer.healthy:
        raise typer.Exit(EXIT_PARTIAL)


def print_doctor(answer: DoctorAnswer) -> None:
    """Print each finding, and below it what to do."""
    styles = {"ok": "green", "advice": "yellow", "broken": "bold red"}
    width = max(len(each.topic) for each in answer.findings)
    for finding in answer.findings:
        level = styled(f"{finding.level:6}", styles[finding.level])
        label = joined(level, f"  {finding.topic:{width}}  ")
        write(finding.words, label=label)
        if finding.next_step is not None:
            write(finding.next_step, label=" " * len(label.plain))


@app.command(rich_help_panel=CARE)
def fsck(
    ctx: typer.Context,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Repair what can be repaired; no entry is ever deleted."),
    ] = False,
    json: Json = False,
) -> None:
    """Check that database, index and stored images agree.

    Every difference is listed. The exit code is 3 if any of them remains open.
    """
    from api.operations.checking import check_installation
    from api.problems import EXIT_PARTIAL

    answer = check_installation(settings_of(ctx), repair=repair)
    if json:
        print_json(answer)
    else:
        print_fsck(answer)
    if not answer.clean:
        raise typer.Exit(EXIT_PARTIAL)


def print_fsck(answer: FsckAnswer) -> None:
    """Print each finding, then what was checked."""
    for finding in answer.findings:
        state = styled("repaired", "green") if finding.repaired else styled("open", "red")
        label = joined("  ", state, "  ")
        write(f"{finding.kind}  {finding.item}  {finding.message}", label=label)
    for upload in answer.uploads:
        whose = "of no job yet" if upload.job_id is None else f"of job {upload.job_id}"
        job_state = f", which is {upload.job_state}" if upload.job_state else ""
        until = f"; kept until {upload.kept_until:%Y-%m-%d %H:%M}" if upload.kept_until else ""
        write(
            f"{upload.name}  {upload.byte_size:,} bytes {whose}{job_state}{until}",
            label="  upload  ",
        )
    checked = ", ".join(f"{count:,} {what}" for what, count in answer.checked.items())
    result = styled("clean", "bold green") if answer.clean else styled("not clean", "bold red")
    write(joined(result, f": checked {checked}"))
