"""`lineup inspect`, `quarantine` and `release`: suspicious entries, taken out and put back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from api.terminal.application import REFERENCES, app
from api.terminal.console import print_json, styled, write
from api.terminal.global_options import settings_of
from api.terminal.options import CorpusArgument, Cursor, EntryArgument, Json
from api.terminal.tables import Cell, Column, print_table

if TYPE_CHECKING:
    from api.inspection.json import (
        HubsAnswer,
        InspectedEntry,
        InspectionAnswer,
        QuarantinePage,
    )

SHOWN_MEMBERS = 4  # of a cluster, on its line; the JSON has more
ENTRY_COLUMNS = (
    Column("entry", align="right"),
    Column("generator", importance=2, shorten="end"),
    Column("path or source", importance=3, shorten="start"),
)


@app.command(rich_help_panel=REFERENCES)
def inspect(
    ctx: typer.Context,
    corpus: CorpusArgument,
    limit: Annotated[
        int, typer.Option(min=1, help="Findings of each kind to list; all of them are counted.")
    ] = 10,
    quarantined: Annotated[
        bool, typer.Option("--quarantined", help="List the entries in quarantine instead.")
    ] = False,
    cursor: Cursor = None,
    json: Json = False,
) -> None:
    """List the entries of a corpus that may not belong there.

    These are: images that are also in a corpus of the other kind, known fakes that look real,
    entries that are the nearest one of too many images (hubs), and groups of near duplicates. No
    image is read, and nothing is changed.
    """
    from api.inspection.inspecting import inspect, quarantine_page
    from api.lineup import Lineup, open_database

    if quarantined:
        with open_database(settings_of(ctx)) as database:
            page = quarantine_page(database, corpus, cursor, limit)
        if json:
            print_json(page)
        else:
            print_quarantine(page)
        return
    with Lineup.open(settings_of(ctx)) as lineup:
        answer = inspect(lineup.database, lineup.space, lineup.classifier_policy, corpus, limit)
    if json:
        print_json(answer)
    else:
        print_inspection(answer)


@app.command(rich_help_panel=REFERENCES)
def quarantine(
    ctx: typer.Context,
    entry: EntryArgument,
    reason: Annotated[
        str, typer.Option(help="Why; it is stored with the entry.", show_default=False)
    ],
    json: Json = False,
) -> None:
    """Take an entry out of all answers until it is released.

    Ingesting the same image again does not bring it back.
    """
    from api.inspection.inspecting import put_into_quarantine
    from api.lineup import open_database

    with open_database(settings_of(ctx)) as database:
        answer = put_into_quarantine(database, entry, reason)
    if json:
        print_json(answer)
    else:
        write(
            f"entry {entry} of {answer.entry.corpus} is in quarantine; `lineup release {entry}` "
            "brings it back"
        )


@app.command(rich_help_panel=REFERENCES)
def release(ctx: typer.Context, entry: EntryArgument, json: Json = False) -> None:
    """Bring an entry back from quarantine, as a new entry with its old provenance."""
    from api.inspection.inspecting import release
    from api.lineup import open_database

    with open_database(settings_of(ctx)) as database:
        answer = release(database, entry)
    if json:
        print_json(answer)
        return
    what = "is back in" if answer.made else "was already back in"
    write(f"the image of entry {entry} {what} {answer.entry.corpus}, as entry {answer.entry.id}")


def print_quarantine(page: QuarantinePage) -> None:
    """Print a row for each entry in quarantine."""
    columns = (
        Column("entry", align="right"),
        Column("since", importance=2),
        Column("generator", importance=3, shorten="end"),
        Column("sha256", importance=1),
        Column("path or source", importance=4, shorten="start"),
        Column("reason", shorten="end"),
    )
    rows = [
        (
            str(each.entry.id),
            f"{each.quarantined_at:%Y-%m-%d %H:%M}",
            each.entry.generator or "",
            each.entry.sha256[:12],
            str(each.entry.provenance.get("path") or each.entry.source or ""),
            each.reason,
        )
        for each in page.entries
    ]
    print_table(columns, rows, empty="no entry is in quarantine")
    if page.next_cursor:
        write(f"more: --cursor {page.next_cursor}")


def print_inspection(answer: InspectionAnswer) -> None:
    """Print what was compared, then each kind of finding with its number and a row for each one."""
    write(
        f"{answer.compared:,} of {answer.entry_count:,} entries, {answer.hashed:,} of them also by "
        f"perceptual hash, compared with {answer.known_real:,} known-real images and "
        f"{answer.known_fake:,} known fakes of other corpora",
        label=f"{answer.corpus}: ",
    )
    missing = answer.entry_count - answer.compared
    if missing:
        write(
            f"{missing:,} have no embedding of the active model and were not inspected", label="  "
        )
    _print_contradictions(answer)
    _print_suspects(answer)
    _print_hubs(answer)
    _print_clusters(answer)
    write(
        "These are reasons to look, not proofs. `lineup quarantine ENTRY --reason TEXT` takes an "
        "entry out of all answers."
    )


def _print_contradictions(answer: InspectionAnswer) -> None:
    found = answer.contradictions
    other_kind = "known_real" if answer.kind == "known_fake" else "known_fake"
    columns = (
        Column("relation", importance=2),
        *ENTRY_COLUMNS,
        Column("other entry", align="right"),
        Column("corpus", importance=4, shorten="end"),
        Column("path there", importance=1, shorten="start"),
    )
    rows = [
        (
            each.relation,
            *_entry_cells(each.entry),
            str(each.other.id),
            each.other.corpus,
            each.other.location,
        )
        for each in found.items
    ]
    _print_section(
        f"contradictions: the same picture is also {other_kind}", found.total, columns, rows
    )


def _print_suspects(answer: InspectionAnswer) -> None:
    found = answer.looks_real
    if found is None:
        if answer.kind == "known_fake":
            write("look real: not judged, because this model has no limit for no_traces")
        return
    columns = (
        Column("logit", align="right"),
        Column("to nearest real", align="right"),
        Column("to nearest fake", align="right"),
        *ENTRY_COLUMNS,
    )
    rows = [
        (
            f"{each.logit:+.2f}",
            f"{each.nearest_real.cosine_similarity:.3f}",
            f"{each.nearest_fake.cosine_similarity:.3f}",
            *_entry_cells(each.entry),
        )
        for each in found.items
    ]
    title = (
        f"look real: logit up to {found.no_traces_logit:+.2f}, and nearer to a known-real image "
        "than to another known fake"
    )
    _print_section(title, found.total, columns, rows)


def _print_hubs(answer: InspectionAnswer) -> None:
    for found, probes in (
        (answer.hubs_for_photographs, "known-real images"),
        (answer.hubs_within, "other entries of the corpus"),
    ):
        if found is not None:
            title = (
                f"hubs: the nearest entry of at least {found.limit_count:,} of "
                f"{found.pictures:,} {probes} ({found.expected:.2f} expected, skewness "
                f"{found.skewness:.1f})"
            )
            columns = (Column("count", align="right"), *ENTRY_COLUMNS)
            _print_section(title, found.total, columns, _hub_rows(found))


def _hub_rows(found: HubsAnswer) -> list[tuple[str, ...]]:
    return [(f"{each.count:,}", *_entry_cells(each.entry)) for each in found.items]


def _print_clusters(answer: InspectionAnswer) -> None:
    found = answer.clusters
    rows = []
    for each in found.items:
        shown = each.entries[:SHOWN_MEMBERS]
        more = f" and {each.size - len(shown):,} more" if each.size > len(shown) else ""
        members = ", ".join(f"{one.id} {one.location}".strip() for one in shown)
        rows.append((f"{each.size:,}", members + more))
    columns = (Column("size", align="right"), Column("entries", shorten="end"))
    title = f"groups of near duplicates, with {found.entry_count:,} entries"
    _print_section(title, found.total, columns, rows)


def _entry_cells(entry: InspectedEntry) -> tuple[str, str, str]:
    return str(entry.id), entry.generator or "", entry.location


def _print_section(
    title: str, total: int, columns: Sequence[Column], rows: Iterable[Sequence[Cell]]
) -> None:
    """Print how many findings there are, a row for each that is listed, and how to see the rest."""
    rows = list(rows)
    write(styled(f"{total:,} {title}", "bold"))
    if not rows:
        return
    print_table(columns, rows)
    if total > len(rows):
        write(f"  {len(rows):,} of {total:,} are listed; --limit {total} lists all", style="dim")
