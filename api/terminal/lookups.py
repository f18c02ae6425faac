"""`lineup search` and `lineup show`: probes looked up, and earlier lookups read again."""

from __future__ import annotations

from enum import StrEnum
from json import loads as parse_json
from pathlib import Path
from typing import Annotated, Any

import typer

from api.terminal.application import Json, app, checked, settings_of


class Kinds(StrEnum):
    """Which corpora to search, in the terminal's words."""

    KNOWN_FAKE = "known_fake"
    KNOWN_REAL = "known_real"
    ANY = "any"


@app.command()
def search(
    ctx: typer.Context,
    images: Annotated[list[Path], typer.Argument(help="Questioned images.", show_default=False)],
    k: Annotated[
        int,
        typer.Option(
            "-k",
            min=1,
            max=1000,
            help="Nearest neighbours to show; near duplicates further away come on top.",
        ),
    ] = 5,
    corpus: Annotated[
        list[str] | None, typer.Option(help="Search this corpus only; may be repeated.")
    ] = None,
    kind: Annotated[Kinds, typer.Option(help="Which corpora to search.")] = Kinds.KNOWN_FAKE,
    generator: Annotated[
        list[str] | None, typer.Option(help="Search this generator only; may be repeated.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PLACE=VALUE",
            help="Search entries whose free provenance holds this: a key or a JSON pointer "
            "(/camera/model), and a JSON "
            "scalar or else text. Repeated for one place, any of the values will do.",
        ),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Compare every entry, however long that takes.")
    ] = False,
    stability: Annotated[
        bool,
        typer.Option(
            "--stability", help="Re-encode each image; a verdict that flips is inconclusive."
        ),
    ] = False,
    false_match_rate: Annotated[
        float | None,
        typer.Option(
            help="Rate whose similarity is the threshold of similar; default: "
            "LINEUP_FALSE_MATCH_RATE."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Ask of each image: what does the classifier say, and is it similar to known fakes?

    Similarity is not a probability of being fake. An image that cannot be read is named with its
    reason; the others are answered all the same, and the exit code is then 3.
    """
    from api.fields import FailedItem
    from api.lineup import Lineup
    from api.lookups.json import ProbeLookup, SearchAnswer
    from api.lookups.lookup import look_up_files
    from api.lookups.request import LookupQuery, SearchFilter
    from api.problems import EXIT_PARTIAL
    from api.terminal.lookup_tables import print_result
    from api.terminal.tables import print_json
    from index.truth.corpora import CorpusKind

    wanted = None if kind is Kinds.ANY else CorpusKind(kind)
    chosen = checked(
        SearchFilter, corpora=corpus, kind=wanted, generators=generator, provenance=_places(where)
    )
    query = checked(
        LookupQuery,
        k=k,
        exact=exact,
        filter=chosen,
        stability=stability,
        false_match_rate=false_match_rate,
    )
    lookups: list[ProbeLookup] = []
    failures: list[FailedItem] = []
    with Lineup.open(settings_of(ctx)) as lineup:
        for result in look_up_files(lineup, images, query):
            if isinstance(result, FailedItem):
                failures.append(result)
            else:
                lookups.append(result)
            if not json:
                print_result(result)
    if json:
        print_json(SearchAnswer(lookups=lookups, failures=failures))
    if failures:
        raise typer.Exit(EXIT_PARTIAL)


def _places(where: list[str] | None) -> dict[str, list[Any]] | None:
    """`PLACE=VALUE` as the API takes it; the first `=` ends the place."""
    from api.errors import InvalidRequest

    places: dict[str, list[Any]] = {}
    for told in where or ():
        place, equals, text = told.partition("=")
        if not equals:
            raise InvalidRequest(f"--where {told!r}: PLACE=VALUE is needed")
        try:
            value = parse_json(text)
        except ValueError:
            value = text
        places.setdefault(place, []).append(value if not isinstance(value, (dict, list)) else text)
    return places or None


@app.command()
def show(
    ctx: typer.Context,
    lookup_id: Annotated[str, typer.Argument(help="As `lineup search` printed it.")],
    json: Json = False,
) -> None:
    """Show an earlier lookup, as it was answered then."""
    from api.lineup import open_database
    from api.lookups.stored import find_answer
    from api.terminal.lookup_tables import print_lookup
    from api.terminal.tables import print_json

    with open_database(settings_of(ctx)) as database:
        answer = find_answer(database, lookup_id)
    if json:
        print_json(answer)
    else:
        print_lookup(f"lookup of {answer.created_at:%Y-%m-%d %H:%M:%S} UTC", answer)


@app.command("replay")
def replay_lookup(
    ctx: typer.Context,
    lookup_id: Annotated[str, typer.Argument(help="As `lineup search` printed it.")],
    json: Json = False,
) -> None:
    """Recompute an earlier lookup as of its generation, and say whether it comes out the same.

    Nothing is stored. Where it differs the exit code is 3.
    """
    from api.lineup import Lineup
    from api.lookups.replay import replay
    from api.problems import EXIT_PARTIAL
    from api.terminal.lookup_tables import print_replay
    from api.terminal.tables import print_json

    with Lineup.open(settings_of(ctx)) as lineup:
        answer = replay(lineup, lookup_id)
    (print_json if json else print_replay)(answer)
    if not answer.equal:
        raise typer.Exit(EXIT_PARTIAL)
