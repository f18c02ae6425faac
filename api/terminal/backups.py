"""`lineup backup`, `restore` and `verify-backup`: one file that holds everything, and the way
back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api.terminal.application import Json, app, settings_of

Archive = Annotated[
    Path, typer.Argument(metavar="FILE", help="The archive, a tar file.", show_default=False)
]


@app.command()
def backup(
    ctx: typer.Context,
    archive: Archive,
    no_thumbnails: Annotated[
        bool, typer.Option("--no-thumbnails", help="Leave the thumbnails out.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")] = False,
    json: Json = False,
) -> None:
    """Write database, index and thumbnails to one verified file, while the service runs and others
    write.

    The file holds exactly one generation, and restores into SQLite and PostgreSQL alike. Only its
    owner can read it.
    """
    from api.operations.backups import make_backup
    from api.terminal.tables import print_backup, print_json

    answer = make_backup(settings_of(ctx), archive, thumbnails=not no_thumbnails, replace=force)
    if json:
        print_json(answer)
    else:
        print_backup(answer, "backed up")


@app.command()
def restore(ctx: typer.Context, archive: Archive, json: Json = False) -> None:
    """Restore a backup into the data folder and a database without rows, after comparing every
    digest.

    Interrupted, it leaves the database empty, and the same command begins anew.
    """
    from api.operations.backups import restore_backup
    from api.terminal.tables import print_json, print_restore

    answer = restore_backup(settings_of(ctx), archive)
    if json:
        print_json(answer)
    else:
        print_restore(answer)


@app.command("verify-backup")
def verify_backup(archive: Archive, json: Json = False) -> None:
    """Compare every byte and every digest of a backup without restoring it; needs room for its
    tables in TMPDIR.
    """
    from api.operations.backups import check_backup
    from api.terminal.tables import print_backup, print_json

    answer = check_backup(archive)
    if json:
        print_json(answer)
    else:
        print_backup(answer, "verified")
