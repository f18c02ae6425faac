"""`lineup copies`: the vectors of copy descriptors, which find edited versions of pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from api.interpreter import tuned_interpreter
from api.terminal.application import CARE, app
from api.terminal.console import print_json, write
from api.terminal.global_options import settings_of
from api.terminal.jobs import finish
from api.terminal.options import Json, JsonLines
from api.terminal.progress import (
    let_waiting_threads_sleep,
    reported,
    resumable,
    stop_on_sigterm,
)
from api.terminal.tables import Column, print_table

if TYPE_CHECKING:
    from api.copies.json import CopyDescriptorsAnswer
    from api.operations.filling import ActivatedDescriptor

copies_app = typer.Typer(
    no_args_is_help=True,
    help="Find edited copies: list and choose descriptors, describe stored pictures.",
)
app.add_typer(copies_app, name="copies", rich_help_panel=CARE)
Descriptor = Annotated[
    str,
    typer.Argument(
        metavar="DESCRIPTOR", help="Name of a descriptor, or an ONNX file.", show_default=False
    ),
]


@copies_app.command("list")
def list_copy_descriptors(ctx: typer.Context, json: Json = False) -> None:
    """List the copy descriptors: which one is used, and what the others need.

    A copy descriptor recognises a picture after crops, captions, filters and screenshots.
    LINEUP_COPY_DESCRIPTOR chooses one.
    """
    from api.operations.copy_descriptors import list_descriptors_for

    answer = list_descriptors_for(settings_of(ctx))
    if json:
        print_json(answer)
    else:
        print_descriptors(answer)


@copies_app.command("backfill")
def backfill(
    ctx: typer.Context,
    descriptor: Annotated[
        str | None,
        typer.Option(
            "--descriptor",
            help="Name of a descriptor, or an ONNX file. By default the active one; where none is "
            "active, the first one that is installed becomes it.",
            show_default=False,
        ),
    ] = None,
    json: JsonLines = False,
) -> None:
    """Compute the vectors of a copy descriptor for all entries that have none.

    Images are read from stored originals, or from where they were ingested if the bytes are
    unchanged, or else from their thumbnails. Look-ups go on meanwhile. `lineup jobs failures` lists
    the entries of which nothing can be read.
    """
    let_waiting_threads_sleep()
    from api.lineup import Lineup
    from api.operations.filling import begin_backfill
    from api.worker.running import work_watched

    settings = settings_of(ctx)
    with (
        stop_on_sigterm(settings.shutdown_grace_seconds),
        tuned_interpreter(),
        Lineup.open(settings) as lineup,
    ):
        job = begin_backfill(lineup, descriptor)
        with resumable(ctx, lineup.database, job.id), reported(job, json=json) as report:
            job = work_watched(lineup, job, report)
        finish(ctx, lineup.database, job, json=json)


@copies_app.command("activate")
def activate(ctx: typer.Context, descriptor: Descriptor, json: Json = False) -> None:
    """Make a descriptor the one that look-ups search by and ingests fill.

    Entries without its vector are not found by it until `lineup copies backfill` has run. Running
    servers follow within a few seconds. An ingest that is running keeps the descriptor that it
    began with: back-fill once it has ended, for its entries too.
    """
    from api.lineup import open_database
    from api.operations.filling import activate_descriptor

    settings = settings_of(ctx)
    with open_database(settings) as database:
        answer = activate_descriptor(settings, database, descriptor)
    if json:
        print_json(answer)
    else:
        print_activated(answer)


@copies_app.command("deactivate")
def deactivate(ctx: typer.Context) -> None:
    """Search and fill no copy space from now on. Vectors that are stored stay."""
    from api.lineup import open_database
    from api.operations.filling import deactivate_descriptor

    with open_database(settings_of(ctx)) as database:
        deactivate_descriptor(database)
    write("no copy descriptor is active")


def print_activated(answer: ActivatedDescriptor) -> None:
    """Print which descriptor is active now, and how many entries it finds."""
    write(
        f"{answer.descriptor} is active: {answer.described:,} of {answer.entries:,} entries have "
        "a vector of it"
    )
    if answer.described < answer.entries:
        write("`lineup copies backfill` computes the others", style="dim")


def print_descriptors(answer: CopyDescriptorsAnswer) -> None:
    """Print a row for each descriptor, the active one first and marked."""
    columns = (
        Column(""),
        Column("descriptor"),
        Column("fingerprint", importance=3),
        Column("MB", "right", importance=4),
        Column("installed", importance=6),
        Column("to install", importance=5),
        Column("licence", importance=2, shorten="end"),
        Column("source", importance=1, shorten="end"),
    )
    rows = [
        (
            "*" if each.active else "",
            each.name,
            each.fingerprint[:16],
            f"{each.byte_size / 1e6:.1f}",
            "yes" if each.installed else "no",
            " ".join(each.missing),
            each.licence,
            each.source,
        )
        for each in answer.descriptors
    ]
    print_table(columns, rows)
    if answer.active is None:
        write(f"None is used: {answer.detail}.")
    else:
        write("* used by look-ups and ingests.", style="dim")
