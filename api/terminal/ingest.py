"""`lineup ingest` and `lineup worker`: sources into corpora, by one process or several."""

from __future__ import annotations

import logging
import sys
import threading
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.interpreter import tuned_interpreter
from api.terminal.application import REFERENCES, app
from api.terminal.console import print_failure, print_json_line, write
from api.terminal.global_options import settings_of
from api.terminal.jobs import finish
from api.terminal.options import JsonLines, KindOption, check_request, corpus_kind
from api.terminal.progress import (
    let_waiting_threads_sleep,
    reported,
    resumable,
    stop_on_sigterm,
)

if TYPE_CHECKING:
    from api.ingest.dry_run import DryRunAnswer
    from api.ingest.request import IngestRequest
    from api.settings import Settings
    from index.truth.corpora import Keep

STDIN = "-"
log = logging.getLogger(__name__)


@app.command(rich_help_panel=REFERENCES)
def ingest(
    ctx: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Folders, images, archives (zip, tar, WebDataset), Parquet tables, manifests "
            "(CSV, TSV, JSONL), ready embeddings (Parquet, .npy, .safetensors) or URLs; - reads "
            "a list of paths from standard input.",
            show_default=False,
        ),
    ],
    corpus: Annotated[
        str,
        typer.Option(
            help="Corpus to add the images to; created if it does not exist.", show_default=False
        ),
    ],
    kind: KindOption = "known_fake",
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT",
            help="What to store of each image: original, thumbnail or none (default: thumbnail).",
            show_default=False,
        ),
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(help="Read provenance from file names, for example '{generator}/{split}/*'."),
    ] = None,
    generator: Annotated[
        str | None, typer.Option(help="The generator that made all the images.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="A free label for all the images.")] = None,
    licence: Annotated[str | None, typer.Option(help="The licence of all the images.")] = None,
    origin: Annotated[
        str | None, typer.Option(help="Where the images come from; by default the source's name.")
    ] = None,
    acquired_at: Annotated[
        datetime | None, typer.Option(help="When the images were acquired, in UTC.")
    ] = None,
    dedup: Annotated[
        str,
        typer.Option(
            metavar="HOW",
            help="exact: skip images whose bytes the corpus has. near: also skip images that "
            "look the same, by perceptual hash.",
        ),
    ] = "exact",
    path_column: Annotated[
        str | None, typer.Option(help="The column of a manifest that holds the paths.")
    ] = None,
    image_column: Annotated[
        str | None, typer.Option(help="The column of a Parquet table that holds the images.")
    ] = None,
    embedding_space: Annotated[
        str | None,
        typer.Option(help="The embedding space of ready embeddings whose file does not name it."),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Number of processes that work on it.")
    ] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read the sources and report; write nothing.")
    ] = False,
    json: JsonLines = False,
) -> None:
    """Add images to a corpus of known fakes or known-real images.

    Files are recognised by their content, not by their names. Hidden files and links to folders
    are ignored. Images that the corpus already has are skipped; images of other corpora are linked
    without computing anything.

    An ingest is a job. Ctrl-C pauses it, and the same command or `lineup jobs resume` continues it,
    also after a crash. The exit code is 3 if an item failed; `lineup jobs failures` lists the
    reasons.
    """
    let_waiting_threads_sleep()
    from api.ingest.request import IngestRequest

    settings = settings_of(ctx)
    request = check_request(
        IngestRequest,
        sources=[_locate(source, settings) for source in sources],
        folder=str(Path.cwd()) if STDIN in sources else None,
        corpus=corpus,
        kind=corpus_kind(kind),
        pattern=pattern,
        generator=generator,
        label=label,
        licence=licence,
        origin=origin,
        acquired_at=acquired_at,
        dedup=dedup,
        path_column=path_column,
        image_column=image_column,
        embedding_space=embedding_space,
    )
    if dry_run:
        _try_out(settings, request, json=json)
    elif workers > 1:
        _ingest_together(ctx, request, _parse_keep(keep), workers, json=json)
    else:
        _ingest(ctx, request, _parse_keep(keep), json=json)


@app.command(rich_help_panel=REFERENCES)
def worker(
    ctx: typer.Context,
    job: Annotated[int | None, typer.Option(min=1, help="Work on this job only.")] = None,
    once: Annotated[
        bool, typer.Option("--once", help="End when there is nothing left to do.")
    ] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the model; by default all cores.")
    ] = None,
) -> None:
    """Work on queued jobs, beside other workers, until Ctrl-C.

    Start it on as many machines as you like: all of them need the same database, the same folder
    for stored images, and the sources under the same paths. On Ctrl-C or SIGTERM unfinished work
    is given back to the other workers.
    """
    let_waiting_threads_sleep()
    from api.decoding import log_confinement
    from api.lineup import Lineup
    from api.worker.running import find_job, work_watched
    from api.worker.taking import work_on_open_jobs
    from embedder.network.device import set_thread_count

    if threads is not None:
        set_thread_count(threads)
    settings = settings_of(ctx)
    with (
        stop_on_sigterm(settings.shutdown_grace_seconds),
        tuned_interpreter(),
        Lineup.open(settings) as lineup,
    ):
        log_confinement(lineup.decoders, log)
        if job is None:
            work_on_open_jobs(lineup, threading.Event(), helping=True, once=once)
        else:
            work_watched(lineup, find_job(lineup, job), owner=False)


def _ingest(ctx: typer.Context, request: IngestRequest, keep: Keep | None, *, json: bool) -> None:
    from api.ingest.opening import holds_only_embeddings
    from api.lineup import Lineup
    from api.worker.running import work_watched
    from api.worker.starting import start_ingest

    settings = settings_of(ctx)
    with (
        stop_on_sigterm(settings.shutdown_grace_seconds),
        tuned_interpreter(),
        Lineup.open(
            settings, migrate=True, loads_network=not holds_only_embeddings(request)
        ) as lineup,
    ):
        job = start_ingest(lineup.database, lineup.space, request, keep)
        with resumable(ctx, lineup.database, job.id), reported(job, json=json) as report:
            job = work_watched(lineup, job, report)
        finish(ctx, lineup.database, job, json=json)


def _ingest_together(
    ctx: typer.Context, request: IngestRequest, keep: Keep | None, workers: int, *, json: bool
) -> None:
    from api.ingest.opening import holds_only_embeddings
    from api.lineup import Lineup, open_database
    from api.worker.pool import work_together
    from api.worker.starting import start_ingest

    settings = settings_of(ctx)
    embeds = not holds_only_embeddings(request)
    with Lineup.open(settings, migrate=True, loads_network=embeds) as lineup:
        job = start_ingest(lineup.database, lineup.space, request, keep)
    with open_database(settings) as database:
        with resumable(ctx, database, job.id), reported(job, json=json) as report:
            job = work_together(settings, database, job, workers, report)
        finish(ctx, database, job, json=json)


def _try_out(settings: Settings, request: IngestRequest, *, json: bool) -> None:
    from api.ingest.dry_run import dry_run
    from api.problems import EXIT_PARTIAL

    answer = dry_run(settings, request)
    if json:
        print_json_line(answer)
    else:
        print_dry_run(answer)
    if answer.failed:
        raise typer.Exit(EXIT_PARTIAL)


def print_dry_run(answer: DryRunAnswer) -> None:
    """Print what an ingest would do."""
    for failure in answer.failures:
        print_failure(failure)
    write(
        f"dry run  {answer.corpus}: {answer.found:,} found = {answer.new:,} to add + "
        f"{answer.linked:,} to link + {answer.skipped:,} to skip + {answer.failed:,} failed; "
        "nothing was written"
    )
    write(
        f"{answer.duplicates:,} duplicates and {answer.near_duplicates:,} near duplicates within "
        "the sources",
        label="  ",
    )


def _locate(source: str, settings: Settings) -> str:
    """Return a source as it is stored with the job; standard input is stored as a file."""
    from api.ingest.spool import keep_list
    from api.sources.locations import make_absolute

    if source == STDIN:
        return str(keep_list(sys.stdin.buffer, settings.upload_dir.absolute()))
    return make_absolute(source)


def _parse_keep(text: str | None) -> Keep | None:
    from index.truth.corpora import Keep

    if text is None:
        return None
    try:
        return Keep(text)
    except ValueError as err:
        raise typer.BadParameter(
            f"{text!r} is none of {', '.join(Keep)}", param_hint="--keep"
        ) from err
