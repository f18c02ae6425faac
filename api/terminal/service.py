"""`lineup init` and `lineup serve`: a data folder, and a server over it."""

from __future__ import annotations

from typing import Annotated

import typer

from api.terminal.application import SETUP, app
from api.terminal.console import write
from api.terminal.global_options import settings_of


@app.command(rich_help_panel=SETUP)
def init(ctx: typer.Context) -> None:
    """Create the data folder and database, or upgrade an older database.

    Running it again changes nothing. `lineup ingest` and `lineup serve` do the same by themselves.
    """
    from api.lineup import open_database

    settings = settings_of(ctx)
    with open_database(settings, migrate=True) as database:
        write(
            f"{database.dialect}: schema {database.revision()}; index and thumbnails in "
            f"{settings.data_dir}"
        )


@app.command(rich_help_panel=SETUP)
def serve(
    ctx: typer.Context,
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen on (default: 127.0.0.1).", show_default=False),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Port to listen on; 0 takes a free one (default: 8787).",
            show_default=False,
        ),
    ] = None,
    allow_unauthenticated: Annotated[
        bool,
        typer.Option(
            "--allow-unauthenticated",
            help="Accept other machines although there is no authentication: everybody who "
            "reaches the port can read and change everything.",
        ),
    ] = False,
) -> None:
    """Serve the web page and the HTTP API until Ctrl-C.

    The server also works on jobs that were queued over HTTP. If the address cannot be used, for
    example because another program uses the port, the exit code is 9.
    """
    from api.http.serving import serve as run

    given = {
        name: value for name, value in {"host": host, "port": port}.items() if value is not None
    }
    run(settings_of(ctx).model_copy(update=given), allow_unauthenticated=allow_unauthenticated)
