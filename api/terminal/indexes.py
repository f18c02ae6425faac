"""`lineup index plan`, `build` and `compact`: how lookups are answered from the index, and its
maintenance by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from api.terminal.application import Json, app, settings_of

if TYPE_CHECKING:
    from api.operations.json import IndexesAnswer
    from api.settings import Settings

index = typer.Typer(
    no_args_is_help=True,
    help="How lookups are answered from the index, and its maintenance by hand.",
)
app.add_typer(index, name="index")


@index.command()
def plan(ctx: typer.Context, json: Json = False) -> None:
    """Say how each index answers now and why: its plan, its recall and when that was measured."""
    from api.operations.indexes import plan_indexes

    _print(plan_indexes, ctx, json=json)


@index.command()
def build(ctx: typer.Context, json: Json = False) -> None:
    """Write each index as a snapshot and train its codes where they are due, as a running server
    does by itself.
    """
    from api.operations.indexes import build_indexes

    _print(build_indexes, ctx, json=json)


@index.command()
def compact(ctx: typer.Context, json: Json = False) -> None:
    """Write each index without the positions of removed entries, as a running server does when they
    are many.
    """
    from api.operations.indexes import compact_indexes

    _print(compact_indexes, ctx, json=json)


def _print(work: Callable[[Settings], IndexesAnswer], ctx: typer.Context, *, json: bool) -> None:
    from api.terminal.tables import print_indexes, print_json

    answer = work(settings_of(ctx))
    if json:
        print_json(answer)
    else:
        print_indexes(answer)
