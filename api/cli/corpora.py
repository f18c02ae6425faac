"""`lineup ingest`, `lineup corpora` and `lineup entries`: what the corpora hold, and how it gets in and out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from api.cli.application import Json, app, checked, errors, settings_of

if TYPE_CHECKING:
    from api.ingest import Progress as IngestProgress
    from index import CorpusKind

CorpusArgument = Annotated[str, typer.Argument(help="Name of the corpus.")]
KindOption = Annotated[str, typer.Option(help="known_fake or known_real.", metavar="KIND")]

corpora_app = typer.Typer(help="List, create and remove corpora.", invoke_without_command=True)
entries_app = typer.Typer(help="List, show and remove entries.", no_args_is_help=True)


@app.command()
def ingest(
    ctx: typer.Context,
    source: Annotated[Path, typer.Argument(help="A folder, with all folders in it, or one image.")],
    corpus: Annotated[str, typer.Option(help="Corpus to ingest into; created when it does not exist.")],
    kind: KindOption = "known_fake",
    generator: Annotated[str | None, typer.Option(help="What made the images, for all of them.")] = None,
    label: Annotated[str | None, typer.Option(help="Free label, for all of them.")] = None,
    licence: Annotated[str | None, typer.Option(help="Licence, for all of them.")] = None,
    origin: Annotated[str | None, typer.Option(help="Where they come from; default: the folder's name.")] = None,
    acquired_at: Annotated[datetime | None, typer.Option(help="When they were acquired, UTC.")] = None,
    json: Json = False,
) -> None:
    """Embed every image under SOURCE and add it to a corpus.

    Files are taken by content; hidden ones (a leading dot) and links to folders are left out. What is already there is
    skipped, so the same command continues after an interruption. A file that cannot be taken
    is listed with its reason, and the exit code is then 3.
    """
    from api.cli.tables import print_ingest, print_json
    from api.files import walk
    from api.ingest import ingest as take
    from api.lineup import Lineup
    from api.problems import EXIT_PARTIAL
    from index import Provenance

    wanted = _kind(kind)
    told = Provenance(
        generator=generator,
        label=label,
        licence=licence,
        source=origin or source.resolve().name,
        acquired_at=acquired_at and acquired_at.replace(tzinfo=UTC),
    )
    total = sum(1 for _ in walk(source))  # before the model is loaded, so that a wrong path is told at once
    with Lineup.opened(settings_of(ctx), migrate=True) as lineup, _progress(total, hidden=json) as on_progress:
        answer = take(lineup, walk(source), corpus, wanted, told, on_progress)
    if json:
        print_json(answer)
    else:
        print_ingest(answer)
    if answer.failed:
        raise typer.Exit(EXIT_PARTIAL)


@corpora_app.callback()
def corpora(ctx: typer.Context, json: Json = False) -> None:
    """List the corpora, with their kinds and the number of their entries."""
    if ctx.invoked_subcommand is not None:
        return
    from api.answers import CorpusPage
    from api.catalogue import all_corpora
    from api.cli.tables import print_corpora, print_json
    from api.lineup import opened_database

    with opened_database(settings_of(ctx)) as database:
        listed = all_corpora(database)
    if json:
        print_json(CorpusPage(corpora=listed, next_cursor=None))
    else:
        print_corpora(listed)


@corpora_app.command("create")
def create_corpus(
    ctx: typer.Context,
    name: CorpusArgument,
    kind: KindOption = "known_fake",
    description: Annotated[str, typer.Option(help="For people.")] = "",
) -> None:
    """Create an empty corpus; its kind cannot be changed later."""
    from api.answers import NewCorpus
    from api.catalogue import add_corpus
    from api.cli.tables import print_corpora
    from api.lineup import opened_database

    new = checked(NewCorpus, name=name, kind=_kind(kind), description=description)
    with opened_database(settings_of(ctx), migrate=True) as database:
        print_corpora([add_corpus(database, new)])


@corpora_app.command("remove")
def remove_corpus(
    ctx: typer.Context,
    name: CorpusArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove a corpus and all its entries; images that other corpora hold stay there."""
    from api.catalogue import drop_corpus, one_corpus
    from api.lineup import opened_database, thumbnails_of

    settings = settings_of(ctx)
    with opened_database(settings) as database:
        corpus = one_corpus(database, name)
        _ = yes or typer.confirm(f"Remove {corpus.name} with {corpus.entry_count:,} entries?", abort=True)
        typer.echo(f"{drop_corpus(database, thumbnails_of(settings), name):,} entries removed with {name}")


@entries_app.command("list")
def list_entries(
    ctx: typer.Context,
    corpus: CorpusArgument,
    cursor: Annotated[str | None, typer.Option(help="As printed below the page before.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Entries a page.")] = 50,
    json: Json = False,
) -> None:
    """List a corpus' entries, in the order of their ingest."""
    from api.catalogue import entries_page
    from api.cli.tables import print_entries, print_json
    from api.lineup import opened_database

    with opened_database(settings_of(ctx)) as database:
        page = entries_page(database, corpus, cursor, limit)
    if json:
        print_json(page)
        return
    print_entries(page.entries)
    if page.next_cursor:
        typer.echo(f"more: --cursor {page.next_cursor}")


@entries_app.command("show")
def show_entry(ctx: typer.Context, entry_id: Annotated[int, typer.Argument(min=1)]) -> None:
    """Print one entry with its provenance, as JSON."""
    from api.catalogue import one_entry
    from api.cli.tables import print_json
    from api.lineup import opened_database

    with opened_database(settings_of(ctx)) as database:
        print_json(one_entry(database, entry_id))


@entries_app.command("remove")
def remove_entry(ctx: typer.Context, entry_id: Annotated[int, typer.Argument(min=1)]) -> None:
    """Remove one entry; it is gone from every answer at once, in every process."""
    from api.catalogue import drop_entry
    from api.lineup import opened_database, thumbnails_of

    settings = settings_of(ctx)
    with opened_database(settings) as database:
        entry = drop_entry(database, thumbnails_of(settings), entry_id)
    typer.echo(f"entry {entry.id} removed from {entry.corpus}")


def _kind(text: str) -> CorpusKind:
    """The kind of a corpus; typer ends the command with code 2 on anything else."""
    from index import CorpusKind

    try:
        return CorpusKind(text)
    except ValueError as err:
        raise typer.BadParameter(f"{text!r} is neither known_fake nor known_real", param_hint="--kind") from err


@contextmanager
def _progress(total: int, *, hidden: bool) -> Iterator[Callable[[IngestProgress], None]]:
    """A bar with rate and remaining time on standard error; nothing where that is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.1f} images/s"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]}"),
    )
    with Progress(*columns, console=errors, disable=hidden or not errors.is_terminal) as bar:
        task = bar.add_task("ingesting", total=total, rate=0.0, failed="")

        def on_progress(progress: IngestProgress) -> None:
            failed = f"{len(progress.failures)} failed" if progress.failures else ""
            bar.update(task, completed=progress.done, rate=bar.tasks[0].speed or 0.0, failed=failed)

        yield on_progress


app.add_typer(corpora_app, name="corpora")
app.add_typer(entries_app, name="entries")
