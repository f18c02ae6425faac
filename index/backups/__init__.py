"""Backups: one verified archive of the rows, index snapshots and thumbnails of one generation.

`backup` writes an archive, `verification` checks it and `restore` restores it. `archive` is the tar
file, `manifest` describes it, and `container` is the SQLite file with the rows.
`docs/decisions/0004-backup.md` gives the reasons.
"""
