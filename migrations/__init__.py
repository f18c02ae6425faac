"""The schema's one source:

Alembic scripts, applied by `lineup init`, on SQLite and PostgreSQL alike.
"""
