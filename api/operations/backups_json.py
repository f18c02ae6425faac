"""The JSON of backups and restores."""

from __future__ import annotations

from pydantic import Field

from api.fields import Answer, Instant
from api.operations.checks_json import SpaceDigestAnswer


class BackupAnswer(Answer):
    """A backup archive. Every digest in it was verified."""

    archive: str = Field(description="Path of the archive.")
    byte_size: int = Field(description="Size of the archive in bytes.")
    created_at: Instant = Field(description="When the backup was made, in UTC.")
    lineup_version: str = Field(description="Version of Lineup that wrote the backup.")
    database: str = Field(
        description="Kind of database that was backed up: sqlite or postgresql. The backup can be"
        " restored into either."
    )
    schema_revision: str = Field(description="Revision of the database schema.")
    generation: int = Field(description="Number of the last change in the backup.")
    spaces: list[SpaceDigestAnswer] = Field(description="The embedding spaces in the backup.")
    row_counts: dict[str, int] = Field(description="Number of rows in each table.")
    snapshots: list[str] = Field(
        description="The embedding spaces whose index snapshot is in the backup, by the first 16 "
        "digits of the fingerprint."
    )
    thumbnails: int | None = Field(
        description="Number of thumbnails in the backup. Null if thumbnails were left out."
    )
    warnings: list[str] = Field(
        description="Files that could not be read and were left out. Database rows are never left"
        " out."
    )
    seconds: float = Field(description="Duration in seconds.")


class RestoreAnswer(Answer):
    """The result of restoring a backup."""

    backup: BackupAnswer = Field(description="The backup that was restored.")
    database: str = Field(
        description="Kind of database that it was restored into: sqlite or postgresql."
    )
    data_dir: str = Field(description="Data folder that it was restored into.")
    thumbnails: int = Field(description="Number of thumbnails restored.")
