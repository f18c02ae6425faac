"""Which schema a database has and which it needs: Alembic, run on a connection that somebody else
commits.

The scripts are in the installed package `migrations`, so a database can be made wherever Lineup is
installed.
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

# Any number will do, as long as no other program in the same PostgreSQL database locks it: "lineup"
# in ASCII.
MIGRATION_LOCK = int.from_bytes(b"lineup", "big")
_alembic_is_global = threading.Lock()  # `alembic.context` is one per process


def configuration(conn: Connection | None = None) -> Config:
    """Return Alembic's configuration;

    `migrations/env.py` takes the connection from its attributes.
    """
    config = Config()
    config.set_main_option("script_location", str(files("migrations")).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = conn
    return config


@cache
def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(configuration())


def head() -> str:
    """Return the revision that this release works with."""
    revision = _scripts().get_current_head()
    assert revision is not None
    return revision


def current(conn: Connection) -> str | None:
    """Return the revision of a database, None where it was never migrated."""
    return MigrationContext.configure(conn).get_current_revision()


def is_known(revision: str) -> bool:
    """Return whether a revision is that of this release or of an older one."""
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
    """Bring the schema to the head, in the caller's transaction.

    SQLite: the caller holds the one writer. PostgreSQL: a lock that ends with the transaction.
    Whoever comes second finds nothing left to do.

    Raises:
        SchemaOutdated: the database is of a newer release.

    """
    if conn.dialect.name == "postgresql":
        conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
    found = current(conn)
    if found == head():
        return
    if found is not None and not is_known(found):
        raise SchemaOutdated(found, head(), newer=True)
    with _alembic_is_global:
        command.upgrade(configuration(conn), "head")


def downgrade(conn: Connection, revision: str) -> None:
    """Take the schema back to a revision (`base` for none), in the caller's transaction.

    Data in it are lost.
    """
    with _alembic_is_global:
        command.downgrade(configuration(conn), revision)
