"""`lineup init`, `models`, `serve`, `demo` and `fsck`: the service around the lookups."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from api.terminal.application import Json, app, errors, settings_of


@app.command()
def init(ctx: typer.Context) -> None:
    """Create the data folder and the database, or bring an older database up to this release."""
    from api.lineup import open_database

    settings = settings_of(ctx)
    with open_database(settings, migrate=True) as database:
        typer.echo(
            f"{database.dialect}: schema {database.revision()}; index and thumbnails in "
            f"{settings.data_dir}"
        )


models_app = typer.Typer(
    help="List the models, and choose the active one.", invoke_without_command=True
)


@models_app.callback()
def models(ctx: typer.Context, json: Json = False) -> None:
    """Show the models: which is active, its fingerprint, device and precision."""
    if ctx.invoked_subcommand is not None:
        return
    from api.errors import EarlierWeights
    from api.lineup import choose_settings, load_embedder
    from api.operations.activating import models as listing
    from api.problems import EXIT_MODEL
    from api.terminal.tables import print_json, print_models
    from embedder.errors import EmbedderError
    from embedder.network.embed import Embedder

    settings = settings_of(ctx)
    active: Embedder | None = None
    refused: EmbedderError | EarlierWeights | None = None
    try:
        settings = choose_settings(settings)
        active = load_embedder(settings)
    except (EmbedderError, EarlierWeights) as err:  # the others are listed all the same
        refused = err
    answer = listing(settings, active)
    if json:
        print_json(answer)
    else:
        print_models(answer)
    if refused is not None:
        errors.print(f"{settings.model}: {refused}", markup=False, style="red")
        raise typer.Exit(EXIT_MODEL)


@models_app.command("activate")
def activate_model(
    ctx: typer.Context,
    model: Annotated[str, typer.Argument(help="A named model or a checkpoint directory.")],
    incomplete: Annotated[
        bool,
        typer.Option(
            "--incomplete",
            help="Although entries are not embedded by it: no lookup will find them.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Make a model the one that lookups and ingests use where none is named; `lineup reembed` comes
    first.

    A running server follows within seconds. LINEUP_MODEL and --model win over this.
    """
    from api.operations.activating import activate
    from api.terminal.tables import print_json

    answer = activate(settings_of(ctx), model, incomplete=incomplete)
    if json:
        print_json(answer)
    else:
        typer.echo(
            f"{answer.model} is active: {answer.embedded:,} of {answer.entries:,} entries are "
            f"embedded by it"
        )
        if not answer.in_force:
            errors.print(
                "here LINEUP_MODEL or --model names a model, which wins over the active one",
                style="yellow",
            )


app.add_typer(models_app, name="models")


@app.command()
def serve(
    ctx: typer.Context,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on.")] = None,
    allow_unauthenticated: Annotated[
        bool,
        typer.Option(
            help="Listen beyond loopback although there are no keys yet: whoever reaches the port "
            "changes everything."
        ),
    ] = False,
) -> None:
    """Serve the page and the HTTP API."""
    from api.http.serving import serve as run

    told = {
        name: value for name, value in {"host": host, "port": port}.items() if value is not None
    }
    run(settings_of(ctx).model_copy(update=told), allow_unauthenticated=allow_unauthenticated)


@app.command()
def demo(
    ctx: typer.Context,
    directory: Annotated[
        Path, typer.Option("--dir", help="Folder for the demonstration's images and data.")
    ] = Path("lineup-demo"),
    json: Json = False,
) -> None:
    """Make fakes, ingest them, look up held-out probes and print one table.

    No network, no server.
    """
    from api.terminal.demo import run_demo
    from api.terminal.tables import print_demo, print_json

    answer = run_demo(
        settings_of(ctx), directory, say=lambda line: errors.print(line, markup=False)
    )
    if json:
        print_json(answer)
    else:
        print_demo(answer, command=sys.argv[0])


@app.command()
def fsck(
    ctx: typer.Context,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair", help="Heal what can be healed; the truth in SQL is never deleted."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Prove that database, index and thumbnails agree, or name what does not.

    Exit code 3 when findings stay open.
    """
    from api.operations.checking import check
    from api.problems import EXIT_PARTIAL
    from api.terminal.tables import print_fsck, print_json

    answer = check(settings_of(ctx), repair=repair)
    if json:
        print_json(answer)
    else:
        print_fsck(answer)
    if not answer.clean:
        raise typer.Exit(EXIT_PARTIAL)
