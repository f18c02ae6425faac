"""`lineup ingest` and `lineup worker`: sources into corpora, by one process or many."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from api.interpreter import tuned_interpreter
from api.settings import Settings
from api.terminal.application import (
    Json,
    KindOption,
    app,
    checked,
    corpus_kind,
    errors,
    settings_of,
)

if TYPE_CHECKING:
    from api.ingest.request import IngestRequest
    from api.jobs.task import Progress as OnProgress
    from index.truth.jobs import ChunkResult, Job

REPORT_SECONDS = 1.0  # between two lines of --json
STDIN = "-"


@app.command()
def ingest(
    ctx: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Folders, archives (zip, tar, WebDataset), Parquet tables, manifests (CSV, TSV, "
            "JSONL), ready "
            "embeddings (Parquet, .npy, .safetensors), single images, URLs; - reads a list of "
            "paths.",
            show_default=False,
        ),
    ],
    corpus: Annotated[
        str, typer.Option(help="Corpus to ingest into; created when it does not exist.")
    ],
    kind: KindOption = "known_fake",
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT",
            help="What to keep of the images: original, thumbnail (default) or none.",
        ),
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(help="Provenance in the names of items, such as '{generator}/{split}/*'."),
    ] = None,
    generator: Annotated[
        str | None, typer.Option(help="What made the images, for all of them.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="Free label, for all of them.")] = None,
    licence: Annotated[str | None, typer.Option(help="Licence, for all of them.")] = None,
    origin: Annotated[
        str | None, typer.Option(help="Where they come from; default: the source's name.")
    ] = None,
    acquired_at: Annotated[
        datetime | None, typer.Option(help="When they were acquired, UTC.")
    ] = None,
    dedup: Annotated[
        str,
        typer.Option(
            metavar="HOW", help="near: leave out pictures that the corpus has, by perceptual hash."
        ),
    ] = "exact",
    path_column: Annotated[
        str | None, typer.Option(help="Of a manifest: the column with the paths.")
    ] = None,
    image_column: Annotated[
        str | None, typer.Option(help="Of a Parquet table: the column with the images.")
    ] = None,
    embedding_space: Annotated[
        str | None, typer.Option(help="Of ready embeddings that do not say it themselves (.npy).")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes to work with.")] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and report; write nothing.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print progress as JSON, a document a line.")
    ] = False,
) -> None:
    """Take every image of the sources into a corpus, as a durable job.

    Items are taken by content; hidden ones (a leading dot) and links to folders are left out.
    Ctrl-C pauses; the same command, or `lineup jobs resume`, goes on, also after a crash. What the
    corpus has already is skipped, what another corpus has is linked without computing anything. An
    item that cannot be taken is counted and listed by `lineup jobs failures`, and the exit code is
    then 3.
    """
    let_waiting_threads_sleep()
    from api.ingest.request import IngestRequest

    settings = settings_of(ctx)
    request = checked(
        IngestRequest,
        sources=[_located(source, settings) for source in sources],
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
        _ingest_together(settings, request, keep, workers, json=json)
    else:
        _ingest(settings, request, keep, json=json)


@app.command()
def worker(
    ctx: typer.Context,
    job: Annotated[int | None, typer.Option(min=1, help="Work on this job only.")] = None,
    once: Annotated[bool, typer.Option("--once", help="End when there is nothing to do.")] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the model; default: all cores.")
    ] = None,
) -> None:
    """Work on the jobs of a database, beside others; ends on Ctrl-C or SIGTERM and gives back what
    it was at.

    The sources must be readable from here under the same paths, and the folder of thumbnails
    shared.
    """
    let_waiting_threads_sleep()
    from api.lineup import Lineup
    from api.worker.running import help_with, work_on_open_jobs
    from embedder.network.device import use_threads

    if threads is not None:
        use_threads(threads)
    with ended_softly(), tuned_interpreter(), Lineup.open(settings_of(ctx)) as lineup:
        if job is None:
            work_on_open_jobs(lineup, threading.Event(), helping=True, once=once)
        else:
            help_with(lineup, job)


def _ingest(settings: Settings, request: IngestRequest, keep: str | None, *, json: bool) -> None:
    from api.lineup import Lineup
    from api.worker.running import work_on
    from api.worker.starting import start_ingest

    with ended_softly(), tuned_interpreter(), Lineup.open(settings, migrate=True) as lineup:
        job = start_ingest(lineup.database, lineup.space, request, _keep(keep))
        with reported(job, json=json) as report:
            job = work_on(lineup, job, report)
        finish(lineup.database, job, json=json)


def _ingest_together(
    settings: Settings, request: IngestRequest, keep: str | None, workers: int, *, json: bool
) -> None:
    from api.lineup import Lineup, open_database
    from api.worker.pool import work_together
    from api.worker.starting import start_ingest

    with Lineup.open(settings, migrate=True) as lineup:
        job = start_ingest(lineup.database, lineup.space, request, _keep(keep))
    with open_database(settings) as database, reported(job, json=json) as report:
        job = work_together(settings, database, job, workers, report)
        finish(database, job, json=json)


def _try_out(settings: Settings, request: IngestRequest, *, json: bool) -> None:
    from api.ingest.dry_run import dry_run
    from api.problems import EXIT_PARTIAL
    from api.terminal.tables import print_dry_run, print_json_line

    answer = dry_run(settings, request)
    if json:
        print_json_line(answer)
    else:
        print_dry_run(answer)
    if answer.failed:
        raise typer.Exit(EXIT_PARTIAL)


def finish(database: Any, job: Job, *, json: bool) -> None:  # noqa: ANN401 -- index is imported late
    """The last word on a job, and its exit code."""
    from api.jobs.catalogue import one_job, some_failures
    from api.problems import EXIT_PARTIAL
    from api.terminal.tables import print_job, print_json_line

    answer = one_job(database, job.id)
    if json:
        print_json_line(answer)
    else:
        print_job(answer, some_failures(database, job.id))
    if answer.failed or answer.state != "completed":
        raise typer.Exit(EXIT_PARTIAL)


@contextmanager
def reported(job: Job, *, json: bool) -> Iterator[OnProgress]:
    """Progress: for a person a bar with rate, remaining time and failures by reason; for a machine
    a line a second.
    """
    if json:
        yield _lines()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.1f}/s"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]}"),
    )
    with Progress(*columns, console=errors, disable=not errors.is_terminal) as bar:
        task = bar.add_task(f"job {job.id}", total=None, rate=0.0, failed="")
        reasons: Counter[str] = Counter()

        def on_progress(now: Job, ended: ChunkResult) -> None:
            reasons.update(item.reason for item in ended.items if item.outcome == "failed")
            failed = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common(4))
            doing = "ingesting" if now.listed else "listing"
            bar.update(
                task,
                description=f"job {now.id} {doing}",
                total=now.counts.found if now.listed else None,
                completed=now.counts.done,
                rate=bar.tasks[0].speed or 0.0,
                failed=failed or (f"{now.counts.failed} failed" if now.counts.failed else ""),
            )

        yield on_progress


def _lines() -> OnProgress:
    from api.jobs.json import JobAnswer
    from api.terminal.tables import print_json_line

    began = last = perf_counter()
    done_here = 0

    def on_progress(job: Job, ended: ChunkResult) -> None:
        nonlocal last, done_here
        done_here += ended.counts.done
        now = perf_counter()
        if now - last >= REPORT_SECONDS:
            last = now
            print_json_line(
                JobAnswer.of(job, images_per_second=round(done_here / (now - began), 2))
            )

    return on_progress


def _located(source: str, settings: Settings) -> str:
    """A source as it is kept with the job."""
    from api.ingest.spool import keep_list
    from api.sources.locations import resolved

    if source == STDIN:
        return str(keep_list(sys.stdin.buffer, settings.upload_dir.absolute()))
    return resolved(source)


def _keep(text: str | None) -> Any:  # noqa: ANN401 -- index is imported late
    from index.truth.corpora import Keep

    if text is None:
        return None
    try:
        return Keep(text)
    except ValueError as err:
        raise typer.BadParameter(
            f"{text!r} is none of {', '.join(Keep)}", param_hint="--keep"
        ) from err


def let_waiting_threads_sleep() -> None:
    """Before torch is loaded: by default its threads spin while they wait, on cores that decode the
    next images.

    With the built-in model on two cores, beside other work: 300 images/s instead of 100; alone the
    forward is slower.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@contextmanager
def ended_softly() -> Iterator[None]:
    """Let SIGTERM end the command as Ctrl-C does: what was finished is written, the rest is given
    back.
    """

    def interrupt(_number: int, _frame: Any) -> None:  # noqa: ANN401 -- as signal calls it
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@app.command()
def reembed(
    ctx: typer.Context,
    model: Annotated[str, typer.Option(help="A named model or a checkpoint directory.")],
    json: Annotated[
        bool, typer.Option("--json", help="Print progress as JSON, a document a line.")
    ] = False,
) -> None:
    """Compute another model's embeddings, beside the old ones, for every entry whose image can
    still be read.

    An image is read from its kept original, or where it came from, if the very same bytes are
    there. Those that cannot be read are listed by `lineup jobs failures`. Lookups go on by the
    active model until `lineup models activate`.
    """
    let_waiting_threads_sleep()
    from api.lineup import Lineup
    from api.operations.activating import named
    from api.worker.running import work_on
    from api.worker.starting import start_reembed

    settings = settings_of(ctx).model_copy(update={"model": model})
    with ended_softly(), tuned_interpreter(), Lineup.open(settings, as_named=True) as lineup:
        job = start_reembed(lineup.database, lineup.space, named(model))
        with reported(job, json=json) as report:
            job = work_on(lineup, job, report)
        finish(lineup.database, job, json=json)


@app.command()
def export(
    ctx: typer.Context,
    corpus: Annotated[str, typer.Argument(help="Name of the corpus.")],
    to: Annotated[str, typer.Option(help="Format: parquet.", metavar="FORMAT")] = "parquet",
    output: Annotated[
        Path | None, typer.Option(help="File to write; default: the corpus' name.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file if it is there.")
    ] = False,
    json: Json = False,
) -> None:
    """Write a corpus as one Parquet file: provenance, hashes, logits and vectors, without images.

    `lineup ingest FILE --corpus NAME` takes it back wherever the same embedding space is used.
    """
    from api.corpora.export import export_corpus
    from api.lineup import find_space, open_database
    from api.terminal.tables import print_json

    if to != "parquet":
        raise typer.BadParameter(f"{to!r} is not parquet", param_hint="--to")
    target = output or Path(f"{corpus}.parquet")
    settings = settings_of(ctx)
    with open_database(settings) as database:
        space = find_space(settings, database)
        answer = export_corpus(database, space, corpus, target, replace=force)
    if json:
        print_json(answer)
    else:
        typer.echo(
            f"{answer.corpus}: {answer.entries:,} entries in {answer.file}, {answer.byte_size:,} "
            f"bytes, "
            f"embedding space {answer.embedding_space[:16]}, generation {answer.generation:,}"
        )
