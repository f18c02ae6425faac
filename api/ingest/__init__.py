"""Bulk ingest: sources into corpora, by durable jobs that any number of processes work on.

`request` says what is wanted, `running` makes a job of it and works on it, `worker` claims chunks and keeps their
leases, `images` and `ready` know what to do with a chunk, `provenance` joins what everybody says of an item.
"""
