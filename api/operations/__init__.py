"""Keeping an installation: models, indexes, backups, checks and health."""
