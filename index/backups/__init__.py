"""Backups: one verified archive of rows, index snapshots and thumbnails of exactly one generation,
and back.

`backup` writes one, `verification` checks one, `restore` brings one back; `archive` is the tar
file, `manifest` what it says of itself, `container` the SQLite file with the rows. Why so:
`docs/decisions/0004-backup.md`.
"""
