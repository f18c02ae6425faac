"""`lineup show` and `replay`: earlier answers read again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from api.terminal.answers import print_lookup
from api.terminal.application import LOOKUPS, app
from api.terminal.console import joined, print_json, styled, write
from api.terminal.global_options import settings_of
from api.terminal.options import Json

if TYPE_CHECKING:
    from api.lookups.replays.json import ReplayAnswer

LookupId = Annotated[
    str,
    typer.Argument(
        metavar="LOOKUP",
        help="Id of the look-up, as `lineup search` prints it.",
        show_default=False,
    ),
]

ReplayedImage = Annotated[
    str | None,
    typer.Option(
        "--image",
        metavar="FILE",
        help="The image that was looked up: embed it again, and compare the embeddings.",
        show_default=False,
    ),
]


@app.command(rich_help_panel=LOOKUPS)
def show(ctx: typer.Context, lookup_id: LookupId, json: Json = False) -> None:
    """Show an earlier look-up as it was answered, in today's words."""
    from api.lineup import open_database
    from api.lookups.stored import find_answer

    with open_database(settings_of(ctx)) as database:
        answer = find_answer(database, lookup_id)
    if json:
        print_json(answer)
    else:
        print_lookup(f"look-up of {answer.created_at:%Y-%m-%d %H:%M:%S} UTC", answer)


@app.command("replay", rich_help_panel=LOOKUPS)
def replay_lookup(
    ctx: typer.Context, lookup_id: LookupId, image: ReplayedImage = None, json: Json = False
) -> None:
    """Repeat an earlier look-up on the same state of the data and compare.

    The search, the figures and the verdicts are computed again from the stored embedding; no image
    is read. With --image, the probe's file is embedded again too, and the embeddings are compared.

    Nothing is stored. The exit code is 0 if every value is equal, or equal within what rounding
    explains, and 3 otherwise. If the rules of verdicts have changed, only values are compared, and
    the verdicts of then and of today are both printed.
    """
    from api.lineup import Lineup
    from api.lookups.replays.replay import replay
    from api.problems import EXIT_PARTIAL
    from api.sources.access import read_any_file

    with Lineup.open(settings_of(ctx)) as lineup:
        data = None if image is None else read_any_file(image, lineup.limits.max_image_bytes)
        answer = replay(lineup, lookup_id, data)
    if json:
        print_json(answer)
    else:
        print_replay(answer)
    is_equal = answer.within is not None
    if not is_equal or (answer.reembedded is not None and not answer.reembedded.equal_within):
        raise typer.Exit(EXIT_PARTIAL)


def print_replay(answer: ReplayAnswer) -> None:
    """Print whether the repeated look-up is equal, and where it differs."""
    if answer.equal:
        result = styled("equal", "bold green")
    elif answer.within is not None:
        result = styled(f"equal within {answer.within:.1e}", "bold green")
    else:
        result = styled("not equal", "bold red")
    write(
        joined(
            result,
            f": look-up {answer.lookup_id} was repeated on generation {answer.generation:,}",
            ""
            if answer.exact
            else "; the look-up used compressed codes, the repetition compared every entry",
        )
    )
    for each in answer.differences:
        write(f"{each.place}: {each.then} then, {each.now} now", label="  ")
    if answer.rules is not None:
        write(answer.rules.words, label="  ")
    if answer.reembedded is not None:
        write(answer.reembedded.words, label="  ")
    write(
        f"evidence {answer.evidence_sha256 or 'without a digest'}, repeated "
        f"{answer.replayed_sha256}",
        label="  ",
    )
