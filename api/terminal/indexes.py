"""`lineup index plan`, `build` and `compact`: how look-ups search, and maintenance by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from api.terminal.application import CARE, app
from api.terminal.console import print_json, styled, write
from api.terminal.global_options import settings_of
from api.terminal.options import Json

if TYPE_CHECKING:
    from api.operations.indexes_json import IndexAnswer, IndexesAnswer
    from api.settings import Settings

index = typer.Typer(no_args_is_help=True, help="Show and maintain the index that look-ups search.")
app.add_typer(index, name="index", rich_help_panel=CARE)


@index.command()
def plan(ctx: typer.Context, json: Json = False) -> None:
    """Show how the index searches now, and why.

    Small corpora are compared vector by vector. For larger ones, the time and the recall of every
    plan were measured when the index was built: flat compares every vector, codes every compressed
    code, lists the codes of the nearest lists. The quickest that has the required recall is used.
    """
    from api.operations.indexes import plan_indexes

    _run(plan_indexes, ctx, json=json)


@index.command()
def build(ctx: typer.Context, json: Json = False) -> None:
    """Write the index to disk now, and train its compressed codes if they are missing or outdated.

    A running server does this by itself.
    """
    from api.operations.indexes import build_indexes

    _run(build_indexes, ctx, json=json)


@index.command()
def compact(ctx: typer.Context, json: Json = False) -> None:
    """Write the index without the positions of removed entries.

    A running server does this by itself when there are many of them.
    """
    from api.operations.indexes import compact_indexes

    _run(compact_indexes, ctx, json=json)


def _run(work: Callable[[Settings], IndexesAnswer], ctx: typer.Context, *, json: bool) -> None:
    answer = work(settings_of(ctx))
    if json:
        print_json(answer)
    else:
        print_indexes(answer)


def print_indexes(answer: IndexesAnswer) -> None:
    """Print each index: its plan and the reason, its size and its recall."""
    if not answer.indexes:
        write("no embedding is stored yet, so there is no index")
    for each in answer.indexes:
        _print_index(each)


def _print_index(index: IndexAnswer) -> None:
    from api.operations.indexes import describe_comparison

    write(styled(f"{index.model}, {_name_kind(index)} {index.embedding_space[:16]}", "bold"))
    write(f"{index.plan}: {index.reason}", label="  plan      ")
    write(
        f"{index.entries:,} entries at generation {index.generation:,}: {index.rows:,} positions "
        f"({index.dead:,} belong to removed entries) and {index.tail:,} entries added since it was "
        "written",
        label="  holds     ",
    )
    if index.recall and index.code_bytes:
        write(
            f"{index.code_bytes} bytes each; recall measured "
            f"{index.recall.measured_at:%Y-%m-%d %H:%M:%S} UTC on {index.recall.rows:,} positions",
            label="  codes     ",
        )
    if index.comparison:
        write(
            f"{describe_comparison(index.comparison)}; "
            f"{index.comparison.measured_at:%Y-%m-%d %H:%M:%S} UTC on {index.comparison.rows:,} "
            "positions",
            label="  measured  ",
        )
    saved = index.snapshot_generation
    write("none" if saved is None else f"generation {saved:,}", label="  snapshot  ")


def _name_kind(index: IndexAnswer) -> str:
    return "copy space" if index.kind == "copy" else "embedding space"
