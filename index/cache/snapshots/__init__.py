"""The index on disk: `snapshot` writes and reads the files that `manifest` names, `folder` opens
the last one that agrees with the database, `building` makes a new one, and `planning` measures
what its plans cost.
"""
