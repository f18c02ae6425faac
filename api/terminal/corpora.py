"""`lineup corpora` and `lineup entries`: what the corpora hold, and how it gets out again."""

from __future__ import annotations

from typing import Annotated

import typer

from api.terminal.application import Json, KindOption, app, checked, corpus_kind, settings_of

CorpusArgument = Annotated[str, typer.Argument(help="Name of the corpus.")]

KeepOption = Annotated[
    str,
    typer.Option(help="What to keep of the images: original, thumbnail or none.", metavar="WHAT"),
]
corpora_app = typer.Typer(help="List, create and remove corpora.", invoke_without_command=True)
entries_app = typer.Typer(help="List, show and remove entries.", no_args_is_help=True)


@corpora_app.callback()
def corpora(ctx: typer.Context, json: Json = False) -> None:
    """List the corpora, with their kinds and the number of their entries."""
    if ctx.invoked_subcommand is not None:
        return
    from api.corpora.catalogue import all_corpora
    from api.corpora.json import CorpusPage
    from api.lineup import open_database
    from api.terminal.tables import print_corpora, print_json

    with open_database(settings_of(ctx)) as database:
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
    keep: KeepOption = "thumbnail",
    description: Annotated[str, typer.Option(help="For people.")] = "",
) -> None:
    """Create an empty corpus; its kind cannot be changed later."""
    from api.corpora.catalogue import add_corpus
    from api.corpora.json import NewCorpus
    from api.lineup import open_database
    from api.terminal.tables import print_corpora

    new = checked(NewCorpus, name=name, kind=corpus_kind(kind), keep=keep, description=description)
    with open_database(settings_of(ctx), migrate=True) as database:
        print_corpora([add_corpus(database, new)])


@corpora_app.command("keep")
def keep_images(
    ctx: typer.Context,
    name: CorpusArgument,
    keep: Annotated[str, typer.Argument(metavar="WHAT", help="original, thumbnail or none.")],
) -> None:
    """Change what a corpus keeps of its images from now on; what nobody keeps any more is removed
    at once.
    """
    from api.corpora.catalogue import change_keep
    from api.corpora.json import NewCorpus
    from api.lineup import open_blob_stores, open_database

    settings, wanted = settings_of(ctx), checked(NewCorpus, name=name, keep=keep).keep
    with open_database(settings) as database:
        corpus = change_keep(database, open_blob_stores(settings), name, wanted)
    typer.echo(f"{corpus.name} keeps {corpus.keep}")


@corpora_app.command("remove")
def remove_corpus(
    ctx: typer.Context,
    name: CorpusArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove a corpus and all its entries; images that other corpora hold stay there."""
    from api.corpora.catalogue import drop_corpus, one_corpus
    from api.lineup import open_blob_stores, open_database

    settings = settings_of(ctx)
    with open_database(settings) as database:
        corpus = one_corpus(database, name)
        _ = yes or typer.confirm(
            f"Remove {corpus.name} with {corpus.entry_count:,} entries?", abort=True
        )
        removed = drop_corpus(database, open_blob_stores(settings), name)
    typer.echo(f"{name} was removed with {removed:,} entries")


@entries_app.command("list")
def list_entries(
    ctx: typer.Context,
    corpus: CorpusArgument,
    cursor: Annotated[str | None, typer.Option(help="As printed below the page before.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Entries a page.")] = 50,
    json: Json = False,
) -> None:
    """List a corpus' entries, in the order of their ingest."""
    from api.corpora.catalogue import entries_page
    from api.lineup import open_database
    from api.terminal.tables import print_entries, print_json

    with open_database(settings_of(ctx)) as database:
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
    from api.corpora.catalogue import one_entry
    from api.lineup import open_database
    from api.terminal.tables import print_json

    with open_database(settings_of(ctx)) as database:
        print_json(one_entry(database, entry_id))


@entries_app.command("remove")
def remove_entry(ctx: typer.Context, entry_id: Annotated[int, typer.Argument(min=1)]) -> None:
    """Remove one entry; it is gone from every answer at once, in every process."""
    from api.corpora.catalogue import drop_entry
    from api.lineup import open_blob_stores, open_database

    settings = settings_of(ctx)
    with open_database(settings) as database:
        entry = drop_entry(database, open_blob_stores(settings), entry_id)
    typer.echo(f"entry {entry.id} removed from {entry.corpus}")


app.add_typer(corpora_app, name="corpora")
app.add_typer(entries_app, name="entries")
