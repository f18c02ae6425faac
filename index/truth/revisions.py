"""The schema revision of a database, and migrations by Alembic.

Everything runs on the caller's connection, and the caller commits. The scripts are in the installed
package `migrations`, so any installation of Lineup can create a database.
"""

from __future__ import annotations

import threading
from functools import cache
from importlib.resources import files

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from index.errors import NoData, SchemaOutdated

# The key of an advisory lock: "lineup" in ASCII. Any number works that no other program in the same
# PostgreSQL database uses.
MIGRATION_LOCK = int.from_bytes(b"lineup", "big")
_alembic_lock = threading.Lock()  # a process has only one `alembic.context`


def configuration(conn: Connection | None = None) -> Config:
    """Return Alembic's configuration, from which `migrations/env.py` takes the connection."""
    config = Config()
    config.set_main_option("script_location", str(files("migrations")).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = conn
    return config


def _scripts() -> ScriptDirectory:
    return _read_scripts(str(files("migrations")))


@cache
def _read_scripts(folder: str) -> ScriptDirectory:
    return ScriptDirectory(folder)


def head() -> str:
    """Return the schema revision that this release needs."""
    revision = _scripts().get_current_head()
    assert revision is not None
    return revision


def current(conn: Connection) -> str | None:
    """Return the schema revision of a database, or None if it was never migrated."""
    return MigrationContext.configure(conn).get_current_revision()


def is_known(revision: str) -> bool:
    """Return whether a revision belongs to this release or to an older one."""
    return revision in {script.revision for script in _scripts().walk_revisions()}


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
    with _alembic_lock:
        command.upgrade(configuration(conn), "head")


def downgrade(conn: Connection, revision: str) -> None:
    """Downgrade the schema to a revision (`base` removes every table), in the caller's transaction.

    Data that the older schema cannot hold are lost.
    """
    with _alembic_lock:
        command.downgrade(configuration(conn), revision)
