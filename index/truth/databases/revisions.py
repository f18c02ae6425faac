"""The schema revision of a database, and migrations by Alembic.

Everything runs on the caller's connection, and the caller commits. The scripts are in the installed
package `migrations`, so any installation of Lineup can create a database. Only a migration loads
Alembic, which takes a third of a second: most processes find the schema that they need.
"""

from __future__ import annotations

import threading
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from sqlalchemy import Column, Connection, MetaData, String, Table, inspect, select, text

from index.errors import NoData, SchemaOutdated

if TYPE_CHECKING:
    from alembic.config import Config

# Where Alembic keeps the revision of a database.
_VERSION = Table("alembic_version", MetaData(), Column("version_num", String(32)))
# The key of an advisory lock: "lineup" in ASCII. Any number works that no other program in the same
# PostgreSQL database uses.
MIGRATION_LOCK = int.from_bytes(b"lineup", "big")
_alembic_lock = threading.Lock()  # a process has only one `alembic.context`


def configuration(conn: Connection | None = None) -> Config:
    """Return Alembic's configuration, from which `migrations/env.py` takes the connection."""
    from alembic.config import Config  # noqa: PLC0415 -- see the module's docstring

    config = Config()
    config.set_main_option("script_location", str(files("migrations")).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = conn
    return config


@cache
def known_revisions() -> tuple[str, ...]:
    """Return the revisions of this release, oldest first. The file of each begins with it."""
    names = (file.name for file in (files("migrations") / "versions").iterdir())
    return tuple(sorted(name[:4] for name in names if name[:4].isdecimal()))


def head() -> str:
    """Return the schema revision that this release needs."""
    return known_revisions()[-1]


def current(conn: Connection) -> str | None:
    """Return the schema revision of a database, or None if it was never migrated."""
    if not inspect(conn).has_table(_VERSION.name):
        return None
    return conn.execute(select(_VERSION.c.version_num)).scalar_one_or_none()


def is_known(revision: str) -> bool:
    """Return whether a revision belongs to this release or to an older one."""
    return revision in known_revisions()


def check(conn: Connection, place: str) -> None:
    """Require exactly the schema of this release; `place` names the database in messages.

    Raises:
        NoData: the database was never migrated.
        SchemaOutdated: the schema is that of an older or newer release.

    """
    found = current(conn)
    if found is None:
        raise NoData(f"the database {place} has none of Lineup's tables")
    if found != head():
        raise SchemaOutdated(found, head(), newer=not is_known(found))


def upgrade(conn: Connection) -> None:
    """Upgrade the schema to this release, in the caller's transaction.

    Processes that upgrade at the same time wait for each other: on SQLite the caller is the only
    writer, on PostgreSQL a lock lasts until the transaction ends. The later one has nothing to do.

    Raises:
        SchemaOutdated: the schema is that of a newer release.

    """
    if conn.dialect.name == "postgresql":
        conn.execute(text("SET LOCAL lock_timeout = 0"))  # another process may migrate for minutes
        conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
    found = current(conn)
    if found == head():
        return
    if found is not None and not is_known(found):
        raise SchemaOutdated(found, head(), newer=True)
    from alembic import command  # noqa: PLC0415 -- see the module's docstring

    with _alembic_lock:
        command.upgrade(configuration(conn), "head")


def downgrade(conn: Connection, revision: str) -> None:
    """Downgrade the schema to a revision (`base` removes every table), in the caller's transaction.

    Data that the older schema cannot hold are lost.
    """
    from alembic import command  # noqa: PLC0415 -- see the module's docstring

    with _alembic_lock:
        command.downgrade(configuration(conn), revision)
