"""`lineup search`: images looked up, one in full, several with a line each."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from enum import StrEnum
from json import loads as parse_json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.terminal.answers import format_cosine, print_lookup
from api.terminal.application import LOOKUPS, app
from api.terminal.console import (
    output_width,
    print_failure,
    print_json,
    styled,
    verdict_text,
    write,
)
from api.terminal.global_options import settings_of
from api.terminal.options import Json, check_request
from api.terminal.tables import Cell, Column, Layout, print_left_out

if TYPE_CHECKING:
    from api.fields import FailedItem
    from api.lookups.answers.json import LookupAnswer, ProbeLookup
    from api.lookups.request import LookupQuery
    from api.settings import Settings
    from api.terminal.probes import ProbeFile
    from embedder.decoding.picture import Decoders


class Kinds(StrEnum):
    """Which kinds of corpora to search."""

    KNOWN_FAKE = "known_fake"
    KNOWN_REAL = "known_real"
    ANY = "any"


@app.command(rich_help_panel=LOOKUPS)
def search(
    ctx: typer.Context,
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE...",
            help="Questioned images, or folders with images.",
            show_default=False,
        ),
    ],
    k: Annotated[
        int,
        typer.Option(
            "-k",
            min=1,
            max=1000,
            help="Nearest entries to list. Entries that show the same picture are listed as well.",
        ),
    ] = 5,
    corpus: Annotated[
        list[str] | None, typer.Option(help="Search only this corpus. Repeat it for several.")
    ] = None,
    kind: Annotated[Kinds, typer.Option(help="Which kind of corpus to search.")] = Kinds.KNOWN_FAKE,
    generator: Annotated[
        list[str] | None, typer.Option(help="Search only this generator. Repeat it for several.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PLACE=VALUE",
            help="Search only entries with this value in their provenance. PLACE is a key or a "
            "JSON pointer such as /camera/model; VALUE is a JSON scalar, otherwise text. "
            "Repeated for one place, any of the values matches.",
        ),
    ] = None,
    exact: Annotated[
        bool,
        typer.Option("--exact", help="Compare every entry, even if that takes a long time."),
    ] = False,
    stability: Annotated[
        bool,
        typer.Option(
            "--stability",
            help="Also look up re-encoded copies of each image. A verdict that changes becomes "
            "inconclusive.",
        ),
    ] = False,
    false_match_rate: Annotated[
        float | None,
        typer.Option(
            help="The false-match rate that sets the similarity threshold, if a calibration has "
            "enough images for it (default: 0.01).",
            show_default=False,
        ),
    ] = None,
    details: Annotated[
        bool,
        typer.Option(
            "--details",
            help="Print the full answer of each image, not one line, with the hits of each "
            "generator and what each stage did that looks for copies.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Look up images: what does the classifier say, which known fakes are similar?

    One image is answered in full; several images, or a folder, with one line each. Similarity is
    not a probability of being fake, and neither answer is proof by itself.

    Folders are searched with their subfolders; hidden files, and files that are not images, are
    ignored. If an image cannot be read it is listed with the reason, the others are answered, and
    the exit code is 3.
    """
    from api.decoding import open_decoders

    settings = settings_of(ctx)
    with open_decoders(settings) as decoders:
        decoders.prepare()  # it starts beside what this process loads

        from api.lookups.request import LookupQuery, SearchFilter
        from api.problems import EXIT_PARTIAL
        from api.terminal.probes import find_probes
        from index.truth.corpora import CorpusKind

        chosen = check_request(
            SearchFilter,
            corpora=corpus,
            kind=None if kind is Kinds.ANY else CorpusKind(kind),
            generators=generator,
            provenance=parse_places(where),
        )
        query = check_request(
            LookupQuery,
            k=k,
            exact=exact,
            filter=chosen,
            stability=stability,
            false_match_rate=false_match_rate,
        )
        probes = list(find_probes(images))
        results = _look_up(settings, decoders, probes, query)
        if json:
            failed = _print_as_json(results)
        elif details or (len(images) == 1 and not images[0].is_dir()):
            failed = _print_in_full(results, in_detail=details)
        else:
            folder = images[0] if len(images) == 1 else None
            failed = print_overview(probes, results, folder)
    if failed:
        raise typer.Exit(EXIT_PARTIAL)


def parse_places(where: Sequence[str] | None) -> dict[str, list[Any]] | None:
    """Parse PLACE=VALUE: a JSON scalar, otherwise text. Raises `InvalidRequest`."""
    from api.errors import InvalidRequest

    places: dict[str, list[Any]] = {}
    for each in where or ():
        place, equals, text = each.partition("=")
        if not equals:
            raise InvalidRequest(f"--where {each!r}: PLACE=VALUE is needed")
        try:
            value = parse_json(text)
        except ValueError:
            value = text
        places.setdefault(place, []).append(text if isinstance(value, dict | list) else value)
    return places or None


def _look_up(
    settings: Settings, decoders: Decoders, probes: Sequence[ProbeFile], query: LookupQuery
) -> Iterator[ProbeLookup | FailedItem]:
    """Look up each probe; leave out the files of a folder that are no images."""
    from api.fields import FailedItem
    from api.lineup import Lineup
    from api.lookups.batches.files import look_up_files

    with (
        Lineup.open(settings, decoders=decoders) as lineup,
        closing(look_up_files(lineup, [probe.path for probe in probes], query)) as results,
    ):
        for probe, result in zip(probes, results, strict=True):
            if not (isinstance(result, FailedItem) and probe.may_be_ignored(result.reason)):
                yield result


def _print_as_json(results: Iterable[ProbeLookup | FailedItem]) -> bool:
    from api.fields import FailedItem
    from api.lookups.answers.json import ProbeLookup, SearchAnswer

    done = list(results)
    lookups = [each for each in done if isinstance(each, ProbeLookup)]
    failures = [each for each in done if isinstance(each, FailedItem)]
    print_json(SearchAnswer(lookups=lookups, failures=failures))
    return bool(failures)


def _print_in_full(results: Iterable[ProbeLookup | FailedItem], *, in_detail: bool) -> bool:
    from api.fields import FailedItem

    failed = False
    for result in results:
        if isinstance(result, FailedItem):
            failed = True
            print_failure(result)
        else:
            print_lookup(result.name, result.lookup, in_detail=in_detail)
    return failed


OVERVIEW = (
    Column("image", shorten="start", least=24),
    Column("classifier", importance=4),
    Column("verdict"),
    Column("relation", importance=3),
    Column("cosine", align="right", importance=5),
    Column("nearest generator", importance=2, shorten="end"),
    Column("look-up", importance=1),
)
# Each row is printed when it is known, so the widths are those of the longest words and ids, and
# of a long generator name.
OVERVIEW_WIDTHS = (0, 12, 22, 15, 7, 30, 36)


def print_overview(
    probes: Sequence[ProbeFile],
    results: Iterable[ProbeLookup | FailedItem],
    folder: Path | None = None,
) -> bool:
    """Print one line for each image as soon as it is answered; return whether one failed.

    Images are named relative to `folder`, where there is one.
    """
    from api.fields import FailedItem

    prefix = "" if folder is None else f"{folder}{os.sep}"
    longest = max((len(str(probe.path).removeprefix(prefix)) for probe in probes), default=0)
    layout = Layout.fit(OVERVIEW, (longest, *OVERVIEW_WIDTHS[1:]), output_width())
    answered, failures = 0, list[FailedItem]()
    for result in results:
        if isinstance(result, FailedItem):
            failures.append(result)
            continue
        if not answered:
            if result.lookup.caution:
                write(styled(result.lookup.caution, "bold"))
            layout.print_header()
        answered += 1
        layout.print_row(_overview_row(result.name.removeprefix(prefix), result.lookup))
    for failure in failures:
        print_failure(failure)
    if answered:
        print_left_out(layout)
    else:
        write("no image was looked up")
    return bool(failures)


def _overview_row(name: str, answer: LookupAnswer) -> tuple[Cell, ...]:
    first = next(iter(answer.similarity.neighbours), None)
    return (
        name,
        verdict_text(answer.classifier.verdict) if answer.classifier else "",
        verdict_text(answer.similarity.verdict),
        (first.relation or "") if first else "",
        format_cosine(first.cosine_similarity, answer.similarity.digits) if first else "",
        (first.entry.generator or "") if first else "",
        answer.id,
    )
