"""Start and run jobs. The only room that knows every kind of job.

`starting` begins, resumes and cancels jobs, `submitting` accepts ingests for a server. `running`
works on jobs, `pool` does so in several processes, `background` in a thread of the server.
`reembed` is the re-embedding itself. `upkeep` starts calibrations that are due, `current` holds the
product of the active model.
"""
