"""`lineup corpora`, `lineup entries` and `lineup export`: what the corpora hold."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.terminal.application import REFERENCES, app
from api.terminal.console import confirm, print_json, write
from api.terminal.global_options import settings_of
from api.terminal.options import (
    CorpusArgument,
    Cursor,
    EntryArgument,
    Json,
    KindOption,
    check_request,
    corpus_kind,
)
from api.terminal.tables import Column, print_table

if TYPE_CHECKING:
    from api.corpora.export import ExportAnswer
    from api.corpora.json import CorpusAnswer, EntryAnswer
    from api.images import BlobStores
    from index.truth.databases.database import Database
    from index.truth.jobs.job import Job

KeepOption = Annotated[
    str,
    typer.Option(help="What to store of each image: original, thumbnail or none.", metavar="WHAT"),
]
FEATURES_HELP = "Whether to store the local features of images, to verify edited copies by them."
corpora_app = typer.Typer(invoke_without_command=True)
entries_app = typer.Typer(help="List, show and remove entries.", no_args_is_help=True)
app.add_typer(corpora_app, name="corpora", rich_help_panel=REFERENCES)
app.add_typer(entries_app, name="entries", rich_help_panel=REFERENCES)


@corpora_app.callback()
def corpora(ctx: typer.Context, json: Json = False) -> None:
    """List, create, change and remove corpora.

    Without a command, the corpora are listed. A corpus is a named set of known fakes or of
    known-real images.
    """
    if ctx.invoked_subcommand is not None:
        return
    from api.corpora.catalogue import describe_corpora
    from api.corpora.json import CorpusPage
    from api.lineup import open_database

    with open_database(settings_of(ctx)) as database:
        listed = describe_corpora(database)
    if json:
        print_json(CorpusPage(corpora=listed, next_cursor=None))
    else:
        print_corpora(listed)


@corpora_app.command("create")
def create_corpus(
    ctx: typer.Context,
    name: CorpusArgument,
    kind: KindOption = "known_fake",
    keep: KeepOption = "thumbnail",
    features: Annotated[bool, typer.Option("--features/--no-features", help=FEATURES_HELP)] = False,
    description: Annotated[str, typer.Option(help="A description for people.")] = "",
) -> None:
    """Create an empty corpus. Its kind cannot be changed later."""
    from api.corpora.catalogue import add_corpus
    from api.corpora.json import NewCorpus
    from api.lineup import open_database

    new = check_request(
        NewCorpus,
        name=name,
        kind=corpus_kind(kind),
        keep=keep,
        features=features,
        description=description,
    )
    with open_database(settings_of(ctx), migrate=True) as database:
        print_corpora([add_corpus(database, new)])


@corpora_app.command("keep")
def keep_images(
    ctx: typer.Context,
    name: CorpusArgument,
    keep: Annotated[
        str,
        typer.Argument(metavar="WHAT", help="original, thumbnail or none.", show_default=False),
    ],
    features: Annotated[
        bool | None,
        typer.Option("--features/--no-features", help=FEATURES_HELP, show_default=False),
    ] = None,
) -> None:
    """Change what a corpus stores of its images.

    Stored files that no corpus keeps any more are deleted at once.
    """
    from api.corpora.catalogue import change_keep
    from api.corpora.json import NewCorpus
    from api.lineup import open_blob_stores, open_database

    settings, wanted = settings_of(ctx), check_request(NewCorpus, name=name, keep=keep).keep
    with open_database(settings) as database:
        stores = open_blob_stores(settings)
        corpus = change_keep(database, stores, name, wanted, features=features)
    write(f"{corpus.name} keeps {corpus.keep}{' and local features' if corpus.features else ''}")


@corpora_app.command("remove")
def remove_corpus(
    ctx: typer.Context,
    name: CorpusArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Remove a corpus and all its entries.

    Images that other corpora hold as well stay there. The entries of a large corpus leave every
    answer at once, and are removed in steps. If this is interrupted, a server or `lineup worker`
    removes the rest, and so does the same command.
    """
    from api.corpora.catalogue import describe_corpus
    from api.corpora.removing import find_unfinished, start_removing
    from api.lineup import open_blob_stores, open_database

    settings = settings_of(ctx)
    with open_database(settings) as database:
        stores = open_blob_stores(settings)
        started: Job | int | None = find_unfinished(database, name)
        if started is None:
            corpus = describe_corpus(database, name)
            if not yes:
                confirm(f"Remove {corpus.name} with {corpus.entry_count:,} entries?")
            started = start_removing(database, stores, name)
        removed = started if isinstance(started, int) else _finish(database, stores, started)
    write(f"{name} was removed with {removed:,} entries")


def _finish(database: Database, stores: BlobStores, job: Job) -> int:
    """Remove the entries of a corpus that are left, under a bar; return how many it had."""
    from api.corpora.removing import finish_removing
    from api.terminal.progress import reported
    from index.truth.jobs.chunks import ChunkResult

    with reported(job, json=False) as on_progress:
        done = finish_removing(
            database, stores, job, lambda batch: on_progress(batch.job, ChunkResult())
        )
    return done.counts.removed


@entries_app.command("list")
def list_entries(
    ctx: typer.Context,
    corpus: CorpusArgument,
    cursor: Cursor = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Entries on a page.")] = 50,
    json: Json = False,
) -> None:
    """List the entries of a corpus, page by page, the oldest first."""
    from api.corpora.catalogue import page_entries
    from api.lineup import open_database

    with open_database(settings_of(ctx)) as database:
        page = page_entries(database, corpus, cursor, limit)
    if json:
        print_json(page)
        return
    print_entries(page.entries)
    if page.next_cursor:
        write(f"more: --cursor {page.next_cursor}")


@entries_app.command("show")
def show_entry(ctx: typer.Context, entry_id: EntryArgument) -> None:
    """Show an entry and its provenance, as JSON."""
    from api.corpora.catalogue import describe_entry
    from api.lineup import open_database

    with open_database(settings_of(ctx)) as database:
        print_json(describe_entry(database, entry_id, local=True))


@entries_app.command("remove")
def remove_entry(ctx: typer.Context, entry_id: EntryArgument) -> None:
    """Remove an entry. From then on no look-up of any process finds it."""
    from api.corpora.catalogue import drop_entry
    from api.lineup import open_blob_stores, open_database

    settings = settings_of(ctx)
    with open_database(settings) as database:
        entry = drop_entry(database, open_blob_stores(settings), entry_id)
    write(f"entry {entry.id} was removed from {entry.corpus}")


@app.command(rich_help_panel=REFERENCES)
def export(
    ctx: typer.Context,
    corpus: CorpusArgument,
    to: Annotated[str, typer.Option(help="Format: parquet.", metavar="FORMAT")] = "parquet",
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="File to write; by default the corpus's name with .parquet."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    copies: Annotated[
        bool,
        typer.Option(
            "--copies",
            help="Write the vectors of the active copy descriptor too. `lineup ingest` does not "
            "read them.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Write a corpus to a Parquet file: provenance, hashes and embeddings.

    The images themselves are not included. `lineup ingest FILE --corpus NAME` reads the file into
    another installation that uses the same embedding space.
    """
    from api.corpora.export import export_corpus
    from api.lineup import find_space, open_database

    if to != "parquet":
        raise typer.BadParameter(f"{to!r} is not parquet", param_hint="--to")
    target = output or Path(f"{corpus}.parquet")
    settings = settings_of(ctx)
    with open_database(settings) as database:
        space = find_space(settings, database)
        answer = export_corpus(
            database, space, corpus, target, replace=force, local=True, copies=copies
        )
    if json:
        print_json(answer)
    else:
        print_export(answer)


def print_corpora(corpora: Iterable[CorpusAnswer]) -> None:
    """Print a row for each corpus."""
    columns = (
        Column("corpus", shorten="end"),
        Column("kind"),
        Column("entries", align="right"),
        Column("keeps", importance=2),
        Column("created", importance=1),
        Column("description", importance=3, shorten="end"),
    )
    rows = [
        (
            corpus.name,
            corpus.kind,
            f"{corpus.entry_count:,}",
            f"{corpus.keep}, features" if corpus.features else corpus.keep,
            f"{corpus.created_at:%Y-%m-%d %H:%M}",
            corpus.description,
        )
        for corpus in corpora
    ]
    print_table(columns, rows, empty="there is no corpus yet: `lineup ingest` creates one")


def print_entries(entries: Iterable[EntryAnswer]) -> None:
    """Print a row for each entry."""
    columns = (
        Column("entry", align="right"),
        Column("corpus", importance=3, shorten="end"),
        Column("generator", shorten="end"),
        Column("size", importance=2),
        Column("sha256", importance=1),
        Column("path or source", shorten="start"),
    )
    rows = [
        (
            str(entry.id),
            entry.corpus,
            entry.generator or "",
            f"{entry.width} x {entry.height}" if entry.width else "",
            entry.sha256[:12],
            where_from(entry),
        )
        for entry in entries
    ]
    print_table(columns, rows, empty="the corpus has no entries")


def where_from(entry: EntryAnswer) -> str:
    """Return the path of an entry's image, or the name of its source."""
    return str(entry.provenance.get("path") or entry.source or "")


def print_export(answer: ExportAnswer) -> None:
    """Print what an export wrote."""
    write(
        f"{answer.corpus}: {answer.entries:,} entries in {answer.file}, {answer.byte_size:,} "
        f"bytes, embedding space {answer.embedding_space[:16]}, generation {answer.generation:,}"
    )
