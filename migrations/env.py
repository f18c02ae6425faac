"""Alembic's entry point: runs the scripts on the connection that it gets from
`index.truth.databases.revisions`.

The caller owns the transaction and holds the lock that lets only one process migrate. There is no
offline mode.
"""

from alembic import context
from alembic.util import CommandError

from index.truth.schema import metadata

connection = context.config.attributes.get("connection")
if context.is_offline_mode() or connection is None:
    raise CommandError("only Lineup can run its migrations: use `lineup init`")

context.configure(connection=connection, target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
