"""Alembic's entry: runs the scripts on the connection that `index.truth.revisions` passes. Online
only.

The transaction belongs to the caller, who also holds the lock that lets only one process migrate.
"""

from alembic import context
from alembic.util import CommandError

from index.truth.schema import metadata

connection = context.config.attributes.get("connection")
if context.is_offline_mode() or connection is None:
    raise CommandError("migrations run through Lineup only: `lineup init`")

context.configure(connection=connection, target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
