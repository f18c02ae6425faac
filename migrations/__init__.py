"""The schema: Alembic scripts that `lineup init` applies to SQLite and PostgreSQL."""
