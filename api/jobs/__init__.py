"""The engine of durable jobs: chunks, leases, commits. It knows no kind of job.

`task` states what a kind of job provides, `working` runs it chunk by chunk, `leases` keeps other
workers away from a chunk, `committer` writes, `catalogue` lists, pauses and resumes, `json` holds
the answers.
"""
