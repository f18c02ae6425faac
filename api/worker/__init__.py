"""Start and run jobs. The only room that knows every kind of job.

`starting` begins, resumes and cancels jobs, `submitting` accepts ingests for a server. `running`
works on jobs, `pool` does so in several processes, `background` in a thread of the server.
`reembed` is the re-embedding itself, `backfill` the description of existing images by a copy
descriptor. `upkeep` starts calibrations that are due, `current` holds the
product of the active model.
"""
