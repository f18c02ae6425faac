"""Ingest sources into a corpus.

`request` is what is asked; `opening` opens its sources, `spool` keeps uploads until they are read.
`task` is the job: `provenance` and `patterns` join what is stated about an item, `ready` reads
embeddings made elsewhere, `near` finds near duplicates, `tally` counts. `single` adds one image
without a job, `dry_run` reports what an ingest would do.
"""
