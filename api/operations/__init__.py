"""Maintenance of an installation: models, indexes, backups, checks and health."""
