"""`lineup backup`, `restore` and `verify-backup`: one file that holds everything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.terminal.application import CARE, app
from api.terminal.console import joined, print_json, styled, write
from api.terminal.global_options import settings_of
from api.terminal.options import Json

if TYPE_CHECKING:
    from api.operations.backups_json import BackupAnswer, RestoreAnswer

Archive = Annotated[
    Path, typer.Argument(metavar="FILE", help="The backup, a tar file.", show_default=False)
]


@app.command(rich_help_panel=CARE)
def backup(
    ctx: typer.Context,
    archive: Archive,
    no_thumbnails: Annotated[
        bool, typer.Option("--no-thumbnails", help="Leave the thumbnails out.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False,
    json: Json = False,
) -> None:
    """Write database, index and thumbnails to one verified file.

    Lineup can run and write meanwhile: the file holds exactly one generation. It can be restored
    into SQLite and into PostgreSQL. It is not encrypted; only its owner may read it. Stored
    originals and local features are not included: copy the folders `originals` and `features`
    beside it.
    """
    from api.operations.backups import make_backup

    answer = make_backup(settings_of(ctx), archive, thumbnails=not no_thumbnails, replace=force)
    if json:
        print_json(answer)
    else:
        print_backup(answer, "backed up")


@app.command(rich_help_panel=CARE)
def restore(ctx: typer.Context, archive: Archive, json: Json = False) -> None:
    """Restore a backup into an empty database.

    Every byte is compared with the digests in the backup first. If the command is interrupted the
    database stays empty, and the same command starts again.
    """
    from api.operations.backups import restore_backup

    answer = restore_backup(settings_of(ctx), archive)
    if json:
        print_json(answer)
    else:
        print_restore(answer)


@app.command("verify-backup", rich_help_panel=CARE)
def verify_backup(archive: Archive, json: Json = False) -> None:
    """Verify a backup without restoring it.

    Every byte is compared with the digests in the backup. This needs space for its tables in
    TMPDIR.
    """
    from api.operations.backups import check_backup

    answer = check_backup(archive)
    if json:
        print_json(answer)
    else:
        print_backup(answer, "verified")


def print_backup(answer: BackupAnswer, result: str) -> None:
    """Print what a backup holds, one line a fact, and the result of the command."""
    space_labels = [
        f"{'copy space' if space.kind == 'copy' else 'space'} {space.embedding_space[:16]}"
        for space in answer.spaces
    ]
    width = max(map(len, [*space_labels, "thumbnails"])) + 2

    def fact(label: str, text: str) -> None:
        write(text, label=f"{label:<{width}}")

    fact("archive", f"{answer.archive}, {answer.byte_size:,} bytes")
    fact("made", f"{answer.created_at:%Y-%m-%d %H:%M:%S} UTC by Lineup {answer.lineup_version}")
    fact(
        "from",
        f"{answer.database}, schema {answer.schema_revision}, generation {answer.generation:,}",
    )
    for label, space in zip(space_labels, answer.spaces, strict=True):
        snapshot = "with" if space.embedding_space[:16] in answer.snapshots else "without"
        fact(label, f"{space.model}, {snapshot} index snapshot, digest {space.digest}")
    counts = {name: count for name, count in answer.row_counts.items() if name != "change_counter"}
    fact("rows", ", ".join(f"{count:,} {name}" for name, count in counts.items()))
    fact("thumbnails", "left out" if answer.thumbnails is None else f"{answer.thumbnails:,}")
    for warning in answer.warnings:
        write(warning, style="yellow")
    write(joined(styled(result, "bold green"), f": all digests agree; {answer.seconds:.1f} s"))


def print_restore(answer: RestoreAnswer) -> None:
    """Print what was restored and where it is now."""
    where = f"{answer.database}; index and {answer.thumbnails:,} thumbnails in {answer.data_dir}"
    print_backup(answer.backup, f"restored into {where}")
