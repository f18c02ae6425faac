"""Vectors and rows: SQL is the truth, FAISS is a cache of it.

The rooms, from the ground up: `truth` holds the rows and their rules, `cache` answers quickly and
can be thrown away, `calibration` measures what a similarity is worth, `copies`, `view_hashes` and
`leads` say when a picture is an edited version of another, `evidence` and `verdict` judge a probe,
`proof` checks truth and cache, `backups` carries them away and back. This package knows no pixels,
no HTTP and no environment variables. Decision:
`docs/decisions/0001-generation-is-the-last-change.md`.
"""
