"""`lineup inspect`, `lineup quarantine`, `lineup release`: what deserves a look, taken out of the
answers and back.
"""

from __future__ import annotations

from typing import Annotated

import typer

from api.terminal.application import Json, app, settings_of

EntryArgument = Annotated[int, typer.Argument(min=1, metavar="ENTRY", help="Id of an entry.")]


@app.command()
def inspect(
    ctx: typer.Context,
    corpus: Annotated[str, typer.Argument(help="Name of the corpus.")],
    limit: Annotated[
        int, typer.Option(min=1, help="Items listed of each kind; all are counted.")
    ] = 10,
    quarantined: Annotated[
        bool,
        typer.Option("--quarantined", help="List what is in quarantine instead, page by page."),
    ] = False,
    cursor: Annotated[
        str | None, typer.Option(help="With --quarantined: as printed below the page before.")
    ] = None,
    json: Json = False,
) -> None:
    """List what deserves a look in a corpus: contradictions, fakes that look real, hubs,
    near-duplicate clusters.

    From stored embeddings, logits and perceptual hashes; no image is read, nothing is changed.
    """
    from api.inspection.inspecting import inspect, quarantine_page
    from api.lineup import Lineup, open_database
    from api.terminal.inspection_tables import print_inspection, print_quarantine
    from api.terminal.tables import print_json

    if quarantined:
        with open_database(settings_of(ctx)) as database:
            page = quarantine_page(database, corpus, cursor, limit)
        print_json(page) if json else print_quarantine(page)
        return
    with Lineup.open(settings_of(ctx)) as lineup:
        answer = inspect(lineup.database, lineup.space, lineup.classifier_policy, corpus, limit)
    print_json(answer) if json else print_inspection(answer)


@app.command()
def quarantine(
    ctx: typer.Context,
    entry: EntryArgument,
    reason: Annotated[str, typer.Option(help="For people; it stays with the entry.")],
    json: Json = False,
) -> None:
    """Put an entry into quarantine: it is in no answer of any process until it is released."""
    from api.inspection.inspecting import put_into_quarantine
    from api.lineup import open_database
    from api.terminal.tables import print_json

    with open_database(settings_of(ctx)) as database:
        answer = put_into_quarantine(database, entry, reason)
    if json:
        print_json(answer)
    else:
        typer.echo(
            f"entry {entry} of {answer.entry.corpus} is in quarantine; `lineup release {entry}` "
            f"brings it back"
        )


@app.command()
def release(ctx: typer.Context, entry: EntryArgument, json: Json = False) -> None:
    """Release an entry from quarantine: it comes back as a new entry, with the provenance that it
    had.
    """
    from api.inspection.inspecting import release
    from api.lineup import open_database
    from api.terminal.tables import print_json

    with open_database(settings_of(ctx)) as database:
        answer = release(database, entry)
    if json:
        print_json(answer)
        return
    what = "is back in" if answer.made else "was back already in"
    typer.echo(
        f"the image of entry {entry} {what} {answer.entry.corpus}, as entry {answer.entry.id}"
    )
